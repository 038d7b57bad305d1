#!/usr/bin/env bash
# How policies/default was made: a pool drawn from policies/curriculum.toml,
# training, and the comparison on what it was not trained on.  One thread
# trains, so that the same machine makes the same bytes; about ten minutes on
# two cores, plus the build, which needs .libtorch (scripts/libtorch.sh).
# L4SLLM, an absolute path, names a program to use in place of a new build.
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
