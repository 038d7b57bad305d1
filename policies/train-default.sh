#!/usr/bin/env bash
# Makes policies/default: collects a pool from policies/curriculum.toml, trains,
# and compares the policy on conditions outside the pool.  It trains with one
# thread, so the same machine gives the same bytes; about ten minutes on two
# cores, plus the build, which needs .libtorch (scripts/libtorch.sh).  If L4SLLM
# is an absolute path, that program is used instead of a new build.
#   policies/train-default.sh [OUTPUT]    work files go to out/policy
set -euo pipefail
cd "$(dirname "$0")/.."
to=${1:-policies/default}
work=out/policy
mkdir -p "$work" "$to"

if [ -z "${L4SLLM:-}" ]; then
    cargo build --release --package l4sllm --features torch
fi
l4sllm() { "${L4SLLM:-${CARGO_TARGET_DIR:-target}/release/l4sllm}" "$@"; }

rm -rf "$work/train"
l4sllm collect policies/curriculum.toml --force --out "$work/curriculum.parquet"
l4sllm train "$work/curriculum.parquet" --out "$work/train" \
    --steer tuned high low t5 t7 t14 --caution 1 --entropy 0.05 \
    --window 8 --steps 1500 --batch 64 --eval-steps 250 --threads 1
cp "$work/train/best/config.json" "$work/train/best/model.safetensors" "$to/"
l4sllm collect policies/unseen.toml --force --seed 2 --each --out "$work/unseen.parquet"
