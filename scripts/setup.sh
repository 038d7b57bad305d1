#!/usr/bin/env bash
# Installs the packages required by the build, with "test" also those of the
# checks, with "torch" those of builds with libtorch, and with "lab" those of
# `make lab', if run as root on Debian or Ubuntu; otherwise prints what to
# install.  Silent if everything is present.
#   scripts/setup.sh [test | torch | lab]
set -euo pipefail
cd "$(dirname "$0")/.."

# Debian's name of a package.  That of libclang-rt-dev has the release of LLVM,
# which apt-cache finds only after an update.
named() {
    local release=
    [ "$1" != libclang-rt-dev ] ||
        release=$(apt-cache depends clang 2>/dev/null | sed -nE 's/.*Depends: clang-([0-9]+).*/\1/p' | head -1)
    echo "${1/-rt-dev/-rt${release:+-$release}-dev}"
}

declare -A package=([cc]=gcc [make]=make)
[ "${1:-}" = torch ] && package+=([c++]=g++ [python3]=python3)
missing=()
for tool in "${!package[@]}"; do
    command -v "$tool" >/dev/null || missing+=("${package[$tool]}")
done
no_pip() { ! python3 -m pip --version >/dev/null 2>&1; }
[ "${1:-}" != torch ] || ! no_pip || missing+=(python3-pip)
# Without these there is no build; a check that lacks a program is skipped.
required=("${missing[@]}")
if [ "${1:-}" = lab ]; then
    declare -A lab=([ip]=iproute2 [iperf3]=iperf3 [ping]=iputils-ping)
    for tool in "${!lab[@]}"; do
        command -v "$tool" >/dev/null || missing+=("${lab[$tool]}")
    done
    compgen -G '/usr/lib/*/faketime/libfaketimeMT.so.1' >/dev/null || missing+=(libfaketime)
fi
if [ "${1:-}" = test ]; then
    declare -A tests=([git]=git [python3]=python3 [clang]=clang [clang-tidy]=clang-tidy
        [ld.lld]=lld [mandoc]=mandoc [shellcheck]=shellcheck [packer]=packer)
    for tool in "${!tests[@]}"; do
        # Debian installs some of these only under a versioned name.
        command -v "$tool" >/dev/null || compgen -c "$tool-" | grep -E "^$tool-[0-9]+$" >/dev/null || missing+=("${tests[$tool]}")
    done
    ! no_pip || missing+=(python3-pip)
    compgen -G '/usr/lib/llvm-*/lib/libclang*.so*' >/dev/null || missing+=(libclang-dev)
    compgen -G '/usr/lib/llvm-*/lib/clang/*/lib/linux/libclang_rt.fuzzer-*' >/dev/null || missing+=(libclang-rt-dev)
fi

if [ ${#missing[@]} -gt 0 ]; then
    if command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; then
        echo "setup: installing ${missing[*]}"
        apt-get update -qq
        for name in "${missing[@]}"; do
            name=$(named "$name")
            DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "$name" >/dev/null ||
                echo "setup: $name could not be installed" >&2
        done
    else
        names=$(for name in "${missing[@]}"; do named "$name"; done | xargs)
        if command -v apt-get >/dev/null; then
            echo "setup: missing: $names; install with: sudo apt-get install $names" >&2
        else
            echo "setup: missing: $names (package names of Debian)" >&2
        fi
        [ ${#required[@]} -eq 0 ] || exit 1
    fi
fi

# rust REASON: stops with instructions to install Rust.
rust() {
    cat >&2 <<END
setup: $1; l4sllm needs Rust 1.85 or later. To install it with rustup:
  curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh
On Debian 13 or later, the package cargo is recent enough.
END
    exit 1
}
command -v cargo >/dev/null || rust "cargo was not found"
if ! rustc --version >/dev/null; then
    echo "setup: the compiler pinned in rust-toolchain.toml cannot be installed; RUSTUP_TOOLCHAIN=stable in the environment selects another (1.85 or later)" >&2
    exit 1
fi
version=$(rustc --version | sed -E 's/^rustc ([0-9]+)\.([0-9]+).*/\1 \2/')
read -r major minor <<<"$version"
[ "$major" -gt 1 ] || [ "$minor" -ge 85 ] || rust "$(rustc --version) is too old"

# The header's bindings are compared with the output of this release.
if [ "${1:-}" = test ] && ! command -v bindgen >/dev/null && [ ! -x target/tools/bin/bindgen ]; then
    echo "setup: building bindgen-cli"
    cargo install --quiet --locked bindgen-cli --version 0.72.1 --root target/tools
fi
