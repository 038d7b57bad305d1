#!/usr/bin/env bash
# Builds the daemon and the command for FreeBSD, amd64, on a Linux machine.
#   scripts/freebsd-build.sh check    type-checks the crates that run on a router
#   scripts/freebsd-build.sh build    .freebsd/target/x86_64-unknown-freebsd/release/{l4sllmd,l4sllm}
#
# A Rust toolchain with the target installed (rustup target add
# x86_64-unknown-freebsd) is used if available.  Otherwise `build' unpacks
# Debian's rustc-web and the sources of its standard library into .freebsd/rust
# (850 MB) and compiles the standard library too, which takes some minutes the
# first time.  `check' uses only existing toolchains.  `build' compiles C and links with the compiler and the
# FreeBSD 14 libraries of the ziglang wheel.
#
# Exit status 77, with the reason as the last line, if a dependency is
# not available.
set -euo pipefail
cd "$(dirname "$0")/.."
cache=$PWD/.freebsd
target=x86_64-unknown-freebsd
crates=(-p l4sllm-abi -p l4sllm-model -p l4sllmd -p l4sllm)
mode=${1:-check}

case $mode in check | build) ;; *)
    echo "usage: $0 check|build" >&2
    exit 2 ;;
esac
mkdir -p "$cache"

skip() {
    echo "skipped: $1"
    exit 77
}

command -v cargo >/dev/null || skip "no cargo"

# Debian's toolchain, if no other has the target.
unpack_rust() {
    local root=$cache/rust package
    [ -e "$root/stamp" ] && return
    if [ "$mode" = check ]; then
        skip "no $target in this toolchain; 'rustup target add $target' or '$0 build' fetches one"
    fi
    if ! command -v apt-get >/dev/null; then
        skip "no $target in this toolchain, and no apt-get to fetch one that can build it"
    fi
    rm -rf "$root"
    mkdir -p "$root/deb"
    # Dependencies that a Rust developer's machine may lack: LLVM.
    mapfile -t packages < <(apt-cache depends rustc-web libstd-rust-web-dev |
        sed -n 's/^ *Depends: \(libstd-rust-web.*\)/\1/p' | sort -u)
    mapfile -O ${#packages[@]} -t packages < <(apt-cache depends "${packages[@]}" |
        sed -n 's/^ *Depends: \(libllvm.*\)/\1/p' | sort -u)
    (cd "$root/deb" &&
        apt-get download -qq rustc-web rust-web-src "${packages[@]}") ||
        skip "rustc-web could not be fetched"
    for package in "$root"/deb/*.deb; do
        dpkg -x "$package" "$root"
    done
    rm -rf "$root/deb"
    # Points cargo to the sources, instead of a link to /usr/src.
    rm -rf "$root/usr/lib/rustlib/src"
    mkdir -p "$root/usr/lib/rustlib/src"
    ln -s "$(echo "$root"/usr/src/rustc-*)" "$root/usr/lib/rustlib/src/rust"
    touch "$root/stamp"
}

arguments=(--locked --target "$target" --target-dir "$cache/target" "${crates[@]}")
if [ ! -d "$(rustc --print target-libdir --target "$target" 2>/dev/null)" ]; then
    unpack_rust
    lib=$cache/rust/usr/lib
    export RUSTC=$cache/rust/usr/bin/rustc
    export LD_LIBRARY_PATH=$lib/x86_64-linux-gnu:$lib/llvm/lib:$lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
    # RUSTC_BOOTSTRAP is set only for build-std; the crates use no unstable feature.
    export RUSTC_BOOTSTRAP=1
    arguments+=(-Zbuild-std)
fi
if [ "$mode" = check ]; then
    cargo check "${arguments[@]}"
    exit
fi

# zig as the C compiler and linker, without the arguments that it does not accept (its name for
# the target differs), the symbols that FreeBSD 14's stubs lack and nothing here calls, and the
# options that zig sets itself.
zig_tools() {
    local python=$cache/zig package hash
    if [ ! -x "$python/ziglang/zig" ]; then
        python3 -m pip --version >/dev/null 2>&1 || skip "no pip to fetch the linker"
        read -r package hash < <(awk '$1 == 14 {print $3, $4}' tests/cross/headers.txt)
        echo "$package --hash=sha256:$hash" >"$cache/zig.txt"
        python3 -m pip install --quiet --disable-pip-version-check --require-hashes \
            --root-user-action ignore --no-deps --target "$python" -r "$cache/zig.txt" ||
            skip "$package could not be fetched"
    fi
    cat >"$cache/zig-cc" <<END
#!/bin/bash
kept=()
for argument; do
    case \$argument in -lkvm | -lmemstat | -lprocstat | -ldevstat | -m64 | --target=*) ;;
    *) kept+=("\$argument") ;; esac
done
exec "$python/ziglang/zig" cc -target x86_64-freebsd.14.1 "\${kept[@]}"
END
    printf '#!/bin/sh\nexec "%s" ar "$@"\n' "$python/ziglang/zig" >"$cache/zig-ar"
    chmod +x "$cache/zig-cc" "$cache/zig-ar"
}

zig_tools
export CARGO_TARGET_X86_64_UNKNOWN_FREEBSD_LINKER=$cache/zig-cc
export CC_x86_64_unknown_freebsd=$cache/zig-cc AR_x86_64_unknown_freebsd=$cache/zig-ar
export ZIG_GLOBAL_CACHE_DIR=$cache/zig-cache ZIG_LOCAL_CACHE_DIR=$cache/zig-cache
cargo build --release "${arguments[@]}"
for program in l4sllmd l4sllm; do
    file "$cache/target/$target/release/$program" 2>/dev/null ||
        ls -l "$cache/target/$target/release/$program"
done
