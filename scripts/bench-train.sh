#!/usr/bin/env bash
# Training and decisions, compared with the same model in Python, in turns in one
# run.
# PYTHON names a Python that has torch, transformers and peft; arguments go to
# scripts/bench-train.py.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}
if ! "$python" -c 'import torch, transformers, peft' 2>/dev/null; then
    echo "bench-train: $python lacks torch, transformers or peft;" \
        "PYTHON=FILE names one that has them (pip install torch transformers peft)" >&2
    exit 77
fi
scripts/libtorch.sh
cargo build --locked --release -p l4sllm --features torch
exec "$python" scripts/bench-train.py "${CARGO_TARGET_DIR:-target}/release/l4sllm" "$@"
