#!/usr/bin/env bash
# Makes policies/default again: collects a pool in the testbed, trains with
# libtorch.  policies/default/README.md says what came out the last time.
#   scripts/policy.sh [OUTPUT]
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/libtorch.sh
exec policies/train-default.sh "${1:-policies/default}"
