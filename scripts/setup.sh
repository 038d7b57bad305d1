#!/usr/bin/env bash
# Installs the packages required by the build, and with "test" also those of the
# checks, with "lab" those of `make lab', if run as root on Debian or Ubuntu;
# otherwise lists what is missing.  Silent if everything is present.
#   scripts/setup.sh [test|lab]
set -euo pipefail
cd "$(dirname "$0")/.."

# The LLVM release of Debian's `clang', which apt-cache finds only after an update.
llvm() { apt-cache depends clang 2>/dev/null | sed -nE 's/.*Depends: clang-([0-9]+).*/\1/p' | head -1; }

declare -A package=([cc]=gcc [make]=make)
missing=()
for tool in "${!package[@]}"; do
    command -v "$tool" >/dev/null || missing+=("${package[$tool]}")
done
if [ "${1:-}" = lab ]; then
    declare -A lab=([ip]=iproute2 [iperf3]=iperf3 [ping]=iputils-ping)
    for tool in "${!lab[@]}"; do
        command -v "$tool" >/dev/null || missing+=("${lab[$tool]}")
    done
fi
if [ "${1:-}" = test ]; then
    declare -A tests=([git]=git [python3]=python3 [clang]=clang [clang-tidy]=clang-tidy
        [ld.lld]=lld [mandoc]=mandoc [shellcheck]=shellcheck [packer]=packer)
    for tool in "${!tests[@]}"; do
        # Debian installs some of these only under a versioned name.
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
            # Debian names this package only by release.
            [ "$name" = libclang-rt-dev ] && name=libclang-rt-$(llvm)-dev
            DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "$name" >/dev/null ||
                echo "setup: $name could not be installed" >&2
        done
    else
        echo "setup: please install: ${missing[*]} (package names of Debian)" >&2
        # The build requires these; a check that lacks a program is skipped.
        case " ${missing[*]} " in *" gcc "* | *" make "*) exit 1 ;; esac
    fi
fi

if ! command -v cargo >/dev/null; then
    echo "setup: cargo was not found; l4sllm needs Rust 1.85 or later (rustup, or the system's packages)" >&2
    exit 1
fi
if ! rustc --version >/dev/null; then
    echo "setup: the compiler pinned in rust-toolchain.toml cannot be installed; RUSTUP_TOOLCHAIN=stable in the environment selects another (1.85 or later)" >&2
    exit 1
fi
version=$(rustc --version | sed -E 's/^rustc ([0-9]+)\.([0-9]+).*/\1 \2/')
read -r major minor <<<"$version"
if [ "$major" -eq 1 ] && [ "$minor" -lt 85 ]; then
    echo "setup: $(rustc --version) is too old; l4sllm needs 1.85 or later" >&2
    exit 1
fi

# The header's bindings are compared with the output of this release.
if [ "${1:-}" = test ] && ! command -v bindgen >/dev/null && [ ! -x target/tools/bin/bindgen ]; then
    echo "setup: building bindgen-cli"
    cargo install --quiet --locked bindgen-cli --version 0.72.1 --root target/tools
fi
