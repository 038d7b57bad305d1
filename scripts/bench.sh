#!/usr/bin/env bash
# Speed as ratios, each measured in one run on this machine: queue operations
# with records over without, instructions that weights of flows take, emulated
# over real time, decision latency.  Most of it is real time, so nothing else
# should run.  Exit status 1 when one misses its aim.
set -euo pipefail
cd "$(dirname "$0")/.."
status=0
make -s -C tests/kmod bench || status=1
./target/release/l4sllm bench "$@" || status=1
exit $status
