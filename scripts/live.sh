#!/bin/bash
# Shows the queue on a web page until Ctrl-C: with real packets between network
# namespaces as root, otherwise emulated in real time.  Options go to `l4sllm live'.
#   scripts/live.sh [OPTION...]
set -euo pipefail
cd "$(dirname "$0")/.."

program="${CARGO_TARGET_DIR:-target}/release/l4sllm"
missing=
if [ "$(id -u)" != 0 ]; then
    missing="not root"
else
    for tool in ip iperf3 ping; do
        command -v "$tool" >/dev/null || missing="no $tool"
    done
fi
if [ -n "$missing" ]; then
    echo "$missing: the queue is emulated in real time instead of a lab with real packets" >&2
    exec "$program" live --scenario headroom --open "$@"
fi
exec "$program" live --lab --open "$@"
