#!/usr/bin/env bash
# Runs every check and prints one line for each.  A check that cannot run here is skipped by name,
# with the reason.  Logs: out/test/NAME.log.  Exit status 1 if one failed.
#   scripts/test.sh [NAME...]     only these checks
#   scripts/test.sh --list        their names
# CLANG=clang-19 compiles the C sources with that compiler.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
logs=out/test
names=$(sed -n 's/^check \([a-z-]*\) .*/\1/p' scripts/test.sh)
if [ "${1:-}" = --list ]; then
    echo "$names"
    exit 0
fi
for name in "$@"; do
    grep -qxF -e "$name" <<<"$names" && continue
    echo "$0: unknown check '$name'; expected one of" "${names//$'\n'/ }" >&2
    exit 2
done
mkdir -p "$logs"
only=("$@")
passed=0 failed=0 skipped=0

wanted() {
    [ ${#only[@]} -eq 0 ] && return 0
    local n
    for n in "${only[@]}"; do [ "$n" = "$1" ] && return 0; done
    return 1
}

# check NAME COMMAND...: exit 77 means skipped, with the reason as last line.
check() {
    local name=$1 start=$SECONDS rc
    shift
    wanted "$name" || return 0
    "$@" >"$logs/$name.log" 2>&1 </dev/null
    rc=$?
    if [ $rc -eq 0 ]; then
        passed=$((passed + 1))
        printf 'ok    %-14s %4d s  %s\n' "$name" $((SECONDS - start)) "$(summary "$logs/$name.log")"
    elif [ $rc -eq 77 ]; then
        skipped=$((skipped + 1))
        printf 'skip  %-14s %s\n' "$name" "$(tail -1 "$logs/$name.log")"
    else
        failed=$((failed + 1))
        printf 'FAIL  %-14s %4d s  exit %d, %s\n' "$name" $((SECONDS - start)) $rc "$logs/$name.log"
        tail -40 "$logs/$name.log" | sed 's/^/      | /'
    fi
}

# Number of tests in a log, and the skipped ones.
summary() {
    awk '/^test result: ok/ {p += $4; i += $8}
         /^[0-9]+ passed, [0-9]+ failed/ {p += $1}
         END {if (p) printf "%d tests", p; if (i) printf ", %d ignored", i}' "$1"
    grep -hE '^skipped: ' "$1" | sort -u | sed 's/^/; /' | tr -d '\n'
}

with_libtorch() {
    case "$(uname -s)-$(uname -m)" in
        Linux-x86_64) ;;
        *) echo "libtorch: wheels exist for x86_64 Linux only"; return 77 ;;
    esac
    scripts/libtorch.sh &&
        cargo clippy --locked -p l4sllm-model -p l4sllmd -p l4sllm --features l4sllm-model/torch,l4sllmd/torch,l4sllm/torch --all-targets -- -D warnings &&
        cargo test --locked --no-fail-fast -p l4sllm-model --features torch -- --nocapture &&
        cargo test --locked --no-fail-fast -p l4sllmd -p l4sllm --features l4sllmd/torch,l4sllm/torch \
            --bin l4sllm --test torch --test engines --test program -- --nocapture
}

# Network inference, which other builds do not contain.
with_remote() {
    local features=l4sllm/remote,l4sllmd/remote
    cargo clippy --locked -p l4sllm -p l4sllmd --features $features --all-targets -- -D warnings &&
        cargo test --locked --no-fail-fast -p l4sllm -p l4sllmd --features $features \
            --bin l4sllm --test serve --test configuration --test remote -- --nocapture
}

# Programs installed by `make install' work, and `make uninstall' removes
# them.
installed() {
    local dir prefix
    cargo build --locked -p l4sllm -p l4sllmd || return
    dir=$(mktemp -d)
    prefix=$dir/usr
    ln -s "$PWD/${CARGO_TARGET_DIR:-target}/debug" "$dir/release"
    (
        set -e
        cd /
        make() { CARGO_TARGET_DIR=$dir command make -C "$OLDPWD" PREFIX="$prefix" SYSCONFDIR="$dir/etc" "$@"; }
        make install
        "$prefix/bin/l4sllm" policies list
        "$prefix/bin/l4sllm" run paper --out "$dir/out" --duration 1s --repetitions 1 --arms context
        "$prefix/sbin/l4sllmd" --check --config "$dir/etc/l4sllmd.toml"
        test -s "$prefix/share/bash-completion/completions/l4sllm"
        if command -v systemd-analyze; then
            systemd-analyze verify --man=no "$prefix"/lib/systemd/system/*.service
        fi
        # Both keep the operator's configuration.
        echo "# mine" >"$dir/etc/l4sllmd.toml"
        make install
        make uninstall
        test "$(cat "$dir/etc/l4sllmd.toml")" = "# mine"
        test -z "$(find "$prefix" -type f)"
    )
    local rc=$?
    rm -rf "$dir"
    return $rc
}

# The tarball of `make dist' contains everything that a build needs.
tarball() {
    local dir target
    [ -e .git ] || { echo "not a checkout: make dist packs what is committed"; return 77; }
    scripts/dist.sh || return
    dir=$(mktemp -d)
    # A separate directory, since Cargo distinguishes two copies of a package
    # only by their times; -m: gives unpacked files the current time.
    target=$(realpath "${CARGO_TARGET_DIR:-target}")/dist
    tar -xmzf out/dist/l4sllm-*.tar.gz -C "$dir" &&
        (cd "$dir"/l4sllm-* &&
            CARGO_TARGET_DIR=$target cargo build --locked -p l4sllm -p l4sllmd &&
            cd / && "$target/debug/l4sllm" scenario check paper)
    local rc=$?
    rm -rf "$dir"
    return $rc
}

# A distribution's cargo may come without rustfmt and clippy.
with_component() {
    cargo "$1" --version || { echo "cargo $1 is not installed; rustup installs it with the pinned release"; return 77; }
    cargo "$@"
}

# The oldest Rust of Cargo.toml, which is also Debian 13's, builds the programs.
oldest_rust() {
    local version
    version=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
    if rustup run "$version" rustc --version; then
        export RUSTUP_TOOLCHAIN=$version
    elif ! rustc --version | grep -F "rustc $version."; then
        echo "Rust $version is not installed: rustup toolchain install $version --profile minimal"
        return 77
    fi
    # A separate directory, so that the checks do not rebuild each other's crates.
    CARGO_TARGET_DIR=$(realpath "${CARGO_TARGET_DIR:-target}")/msrv cargo check --workspace --locked
}

have() { command -v "$1" >/dev/null || { echo "$1 is not installed"; return 77; }; }
shell_scripts() {
    have shellcheck || return
    shellcheck scripts/*.sh policies/*.sh packaging/container/health tests/container/*.sh tests/fuzz/*.sh tests/cbmc/*.sh tests/kmod/*.sh .ci/run || return
    # A mistyped name must not pass as a run of no checks.
    scripts/test.sh no-such-check
    [ $? -eq 2 ] || { echo "scripts/test.sh accepts a check that does not exist"; return 1; }
}

check format    with_component fmt --all --check
check licences  python3 scripts/licences.py
check clippy    with_component clippy --workspace --all-targets --locked -- -D warnings
check msrv      oldest_rust
check spec      python3 scripts/spec.py
check kmod      make -C tests/kmod check ${CLANG:+"CC=$CLANG" "OBJ=obj/$CLANG"}
check fuzz      make -C tests/fuzz check ${CLANG:+"CC=$CLANG" "OBJ=obj/$CLANG"}
check cbmc      tests/cbmc/prove.sh
check cross     scripts/freebsd-check.sh
check freebsd-rust scripts/freebsd-build.sh check
check rust      cargo test --workspace --locked --no-fail-fast -- --nocapture
check remote    with_remote
check libtorch  with_libtorch
check python    scripts/python.sh
check container tests/container/check.sh
check install   installed
check dist      tarball
check scripts   shell_scripts
check vm        vm-images/tests/run.sh

echo
echo "$passed passed, $failed failed, $skipped skipped"
[ $failed -eq 0 ]
