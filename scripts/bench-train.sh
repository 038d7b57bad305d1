#!/usr/bin/env bash
# Compares training and decisions with the same model in Python, alternating in one
# run.
# PYTHON names a Python with torch, transformers and peft; arguments are passed to
# scripts/bench-train.py.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}
if ! "$python" -c 'import torch, transformers, peft' 2>/dev/null; then
    echo "bench-train: $python lacks torch, transformers or peft;" \
        "PYTHON=FILE names one with these packages (pip install torch transformers peft)" >&2
    exit 77
fi
scripts/libtorch.sh
cargo build --locked --release -p l4sllm --features torch
exec "$python" scripts/bench-train.py "${CARGO_TARGET_DIR:-target}/release/l4sllm" "$@"
