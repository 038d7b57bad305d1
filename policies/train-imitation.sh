#!/usr/bin/env bash
# Makes policies/imitation: collects pools in the testbed, then trains, with one
# thread, so the same machine gives the same bytes; about ten minutes.  The
# build needs .libtorch (scripts/libtorch.sh).  If L4SLLM is an absolute path,
# that program is used instead of a new build.
#   policies/train-imitation.sh [OUTPUT]    work files go to out/imitation
set -euo pipefail
cd "$(dirname "$0")/.."
to=${1:-policies/imitation}
work=out/imitation
mkdir -p "$work" "$to"

if [ -z "${L4SLLM:-}" ]; then
    cargo build --release --package l4sllm --features torch
fi
l4sllm() { "${L4SLLM:-${CARGO_TARGET_DIR:-target}/release/l4sllm}" "$@"; }

l4sllm collect --force --out "$work/testbed.parquet" --episodes 20 \
    --scenario scenarios/paper.toml scenarios/paper-prague.toml scenarios/rates.toml
l4sllm collect --force --out "$work/headroom.parquet" --episodes 20 --duration 15s \
    --scenario scenarios/headroom.toml
l4sllm train "$work/testbed.parquet" "$work/headroom.parquet" \
    --restart --name imitation --out "$work" --steps 3000 --threads 1
cp "$work/best/config.json" "$work/best/model.safetensors" "$to/"
l4sllm eval "$to" "$work/testbed.parquet" "$work/headroom.parquet"
