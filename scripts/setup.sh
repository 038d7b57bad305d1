#!/usr/bin/env bash
# Installs what the build and the tests need, where this is Debian or Ubuntu
# and we are root; elsewhere says what is missing.  Silent when all is there.
set -euo pipefail

declare -A package=([cc]=gcc [make]=make [python3]=python3 [git]=git)
missing=()
for tool in "${!package[@]}"; do
    command -v "$tool" >/dev/null || missing+=("${package[$tool]}")
done
# Only the tests use these: libtorch's wheels, the header's bindings, manuals.
python3 -m pip --version >/dev/null 2>&1 || missing+=(python3-pip)
ldconfig -p 2>/dev/null | grep -q 'libclang' || ls /usr/lib/llvm-*/lib/libclang*.so* >/dev/null 2>&1 || missing+=(libclang-dev)

if [ ${#missing[@]} -gt 0 ]; then
    if command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; then
        echo "setup: installing ${missing[*]}"
        apt-get update -qq
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "${missing[@]}" >/dev/null
    else
        echo "setup: please install: ${missing[*]} (package names of Debian)" >&2
        case " ${missing[*]} " in *" gcc "* | *" make "*) exit 1 ;; esac
    fi
fi

if ! command -v cargo >/dev/null; then
    echo "setup: cargo was not found; l4sllm needs Rust 1.85 or later (rustup, or the system's packages)" >&2
    exit 1
fi
version=$(rustc --version | sed -E 's/^rustc ([0-9]+)\.([0-9]+).*/\1 \2/')
read -r major minor <<<"$version"
if [ "$major" -eq 1 ] && [ "$minor" -lt 85 ]; then
    echo "setup: $(rustc --version) is too old; l4sllm needs 1.85 or later" >&2
    exit 1
fi
