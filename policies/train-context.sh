#!/usr/bin/env bash
# Trains policies/context in the loop, on conditions of the suite's training
# part.  Needs .libtorch (scripts/libtorch.sh) and about half an hour on two
# cores, plus the build.  It trains with one thread, so the same machine gives
# the same bytes.  If L4SLLM is an absolute path, that program is used instead of
# a new build.
#   policies/train-context.sh [OUTPUT]    work files go to out/context
# An interrupted training resumes when the script runs again.
set -euo pipefail
cd "$(dirname "$0")/.."
to=${1:-policies/context}
work=out/context
mkdir -p "$work" "$to"

if [ -z "${L4SLLM:-}" ]; then
    cargo build --release --package l4sllm --features torch
fi
l4sllm() { "${L4SLLM:-${CARGO_TARGET_DIR:-target}/release/l4sllm}" "$@"; }

l4sllm train --online --out "$work" --resume --name context --threads 1 \
    --max-rate 1000 --iterations 12 --fresh-conditions 7 --eval-conditions 7 --caution 0.6
cp "$work/best/config.json" "$work/best/model.safetensors" "$to/"
