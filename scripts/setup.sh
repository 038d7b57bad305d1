#!/usr/bin/env bash
# Installs what the build needs, with "test" also what the checks need, where
# this is Debian or Ubuntu and we are root; elsewhere says what is missing.
# Silent when all is there.
#   scripts/setup.sh [test]
set -euo pipefail
cd "$(dirname "$0")/.."

# The LLVM release that Debian's `clang' stands for here; apt-cache knows it only
# after an update.
llvm() { apt-cache depends clang 2>/dev/null | sed -nE 's/.*Depends: clang-([0-9]+).*/\1/p' | head -1; }

declare -A package=([cc]=gcc [make]=make)
missing=()
for tool in "${!package[@]}"; do
    command -v "$tool" >/dev/null || missing+=("${package[$tool]}")
done
if [ "${1:-}" = test ]; then
    declare -A tests=([git]=git [python3]=python3 [clang]=clang [clang-tidy]=clang-tidy
        [ld.lld]=lld [mandoc]=mandoc [shellcheck]=shellcheck [packer]=packer)
    for tool in "${!tests[@]}"; do
        # Debian installs some of these under their version's name only.
        command -v "$tool" >/dev/null || compgen -c "$tool-" | grep -E "^$tool-[0-9]+$" >/dev/null || missing+=("${tests[$tool]}")
    done
    python3 -m pip --version >/dev/null 2>&1 || missing+=(python3-pip)
    compgen -G '/usr/lib/llvm-*/lib/libclang*.so*' >/dev/null || missing+=(libclang-dev)
    compgen -G '/usr/lib/llvm-*/lib/clang/*/lib/linux/libclang_rt.fuzzer-*' >/dev/null || missing+=(libclang-rt-dev)
fi

if [ ${#missing[@]} -gt 0 ]; then
    if command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; then
        echo "setup: installing ${missing[*]}"
        apt-get update -qq
        for name in "${missing[@]}"; do
            # Debian names this one by release only.
            [ "$name" = libclang-rt-dev ] && name=libclang-rt-$(llvm)-dev
            DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "$name" >/dev/null ||
                echo "setup: $name could not be installed" >&2
        done
    else
        echo "setup: please install: ${missing[*]} (package names of Debian)" >&2
        # The build cannot do without; a check that lacks something is skipped.
        case " ${missing[*]} " in *" gcc "* | *" make "*) exit 1 ;; esac
    fi
fi

if ! command -v cargo >/dev/null; then
    echo "setup: cargo was not found; l4sllm needs Rust 1.85 or later (rustup, or the system's packages)" >&2
    exit 1
fi
if ! rustc --version >/dev/null; then
    echo "setup: the compiler that rust-toolchain.toml pins cannot be installed; RUSTUP_TOOLCHAIN=stable in the environment takes another (1.85 or later)" >&2
    exit 1
fi
version=$(rustc --version | sed -E 's/^rustc ([0-9]+)\.([0-9]+).*/\1 \2/')
read -r major minor <<<"$version"
if [ "$major" -eq 1 ] && [ "$minor" -lt 85 ]; then
    echo "setup: $(rustc --version) is too old; l4sllm needs 1.85 or later" >&2
    exit 1
fi

# The header's bindings are compared with what this release makes of it.
if [ "${1:-}" = test ] && ! command -v bindgen >/dev/null && [ ! -x target/tools/bin/bindgen ]; then
    echo "setup: building bindgen-cli"
    cargo install --quiet --locked bindgen-cli --version 0.72.1 --root target/tools
fi
