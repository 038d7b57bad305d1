#!/usr/bin/env bash
# Speed as ratios, each measured in one run on this machine: queue operations
# with records over without, emulated over real time, decision latency.
set -euo pipefail
cd "$(dirname "$0")/.."
make -s -C tests/kmod bench
./target/release/l4sllm bench "$@"
