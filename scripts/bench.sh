#!/usr/bin/env bash
# Speed as ratios, each measured in one run on this machine: queue operations
# with records over without, instructions for flow weights, emulated over real
# time, decision latency, the userspace router next to Linux with tbf (root
# only), and the environment in Python next to the Rust loop.  Most of it runs in
# real time, so the machine should be idle.  Exit status 1 if a ratio misses its
# aim.
set -euo pipefail
cd "$(dirname "$0")/.."
status=0
make -s -C tests/kmod bench || status=1
./target/release/l4sllm bench "$@" || status=1
./target/release/l4sllm bench router || status=1
./target/release/l4sllm bench remote || status=1
# Skipped without PyPI.
scripts/python.sh bench || [ $? -eq 77 ] || status=1
exit $status
