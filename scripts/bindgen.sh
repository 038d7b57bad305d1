#!/usr/bin/env bash
# Generates shared-abi/src/raw.rs from the C header.  Needs bindgen (cargo install
# bindgen-cli --version 0.72.1 --locked) and a libclang; a test of shared-abi
# checks that the result is up to date.
#   scripts/bindgen.sh [OUTPUT]
set -euo pipefail
cd "$(dirname "$0")/.."
bindgen shared-abi/include/l4sllm_abi.h --output "${1:-shared-abi/src/raw.rs}" \
    --rust-target 1.85 --rust-edition 2024 --use-core --no-doc-comments \
    --with-derive-default --with-derive-partialeq --default-macro-constant-type unsigned \
    --allowlist-type 'l4s_.*' --allowlist-var 'L4S_.*' \
    --raw-line '#![allow(non_camel_case_types, missing_docs)]' \
    --formatter rustfmt
