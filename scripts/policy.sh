#!/usr/bin/env bash
# Rebuilds policies/default: collects a pool in the testbed and trains with
# libtorch.  policies/default/README.md describes the current result.
#   scripts/policy.sh [OUTPUT]
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/libtorch.sh
exec policies/train-default.sh "${1:-policies/default}"
