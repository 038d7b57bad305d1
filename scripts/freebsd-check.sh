#!/usr/bin/env bash
# Checks the FreeBSD module on a machine that is not FreeBSD:
#
#   sources   kmod/Makefile lists all of them
#   compile   every source, -Wall -Werror, FreeBSD's own headers, each variant
#   link      the .ko of each variant, where ld.lld is installed
#   symbols   imported symbols against tests/cross/symbols.allow
#   floats    no instruction touches a floating-point or vector register
#   tests     the programs of tests/freebsd compile
#   iphdr     the ECN arithmetic, run here, all 2^16 checksums
#   analyze   clang --analyze
#   manuals   mandoc -T lint
#   rc.d      shellcheck, with tests/freebsd
#   tidy      clang-tidy: bugprone and cert, without the checks named below
#
# CLANG=clang-19 selects that compiler, with its clang-tidy and ld.lld, instead of
# the first one found.  Exit status 0, 1 (a check failed), or 77 (nothing could be
# checked; the last line is the reason).  A single check that cannot run is skipped
# by name.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
cache=$PWD/.freebsd
out=$cache/out

scripts/freebsd-headers.sh || exit

suffix=
[[ ${CLANG:-} =~ -[0-9]+$ ]] && suffix=${BASH_REMATCH[0]}

tool() { # tool NAME...: CLANG's, or the first installed, newest version first
    local name version
    for name in "$@"; do
        [ -n "$suffix" ] && command -v "$name$suffix" && return
        command -v "$name" && return
        for version in 20 19 18 17 16 15 14; do
            command -v "$name-$version" && return
        done
    done
    return 1
}

if [ -n "${CLANG:-}" ]; then
    clang=$(command -v "$CLANG") || { echo "CLANG=$CLANG is not installed"; exit 1; }
else
    clang=$(tool clang) || { echo "skipped: no clang to compile the module with"; exit 77; }
fi
"$clang" --version | head -1
lld=$(tool ld.lld) || lld=
tidy=$(tool clang-tidy) || tidy=
nm=$(tool llvm-nm nm) objdump=$(tool llvm-objdump objdump)

# FreeBSD's kern.mk makes clang 19 and later report the cast inside its own SDT_PROBE6 without
# failing; older versions do not know the option.
cast=-Wno-cast-function-type-mismatch
"$clang" -Werror=unknown-warning-option $cast -fsyntax-only -x c /dev/null 2>/dev/null || cast=

mapfile -t sources < <(sed -e '/^#/d' -e '/^$/d' -e '/^user\//d' kmod/sources.txt
    cd kmod && ls freebsd/*.c)

# A row: RELEASE VERSION NAME FLAGS. Headers of 13.2 are not available; that row checks the
# module's own 13.2 branches against 14's headers.
rows=()
add_rows() { # add_rows RELEASE VERSION
    rows+=("$1 $2 generic"
        "$1 $2 debug -DINVARIANTS -DINVARIANT_SUPPORT -DWITNESS"
        "$1 $2 dtrace -DKDTRACE_HOOKS $cast"
        "$1 $2 novimage -DL4S_TEST_NO_VIMAGE")
}
while read -r release version _; do
    case $release in '' | \#*) continue ;; esac
    add_rows "$release" "$version"
done <tests/cross/headers.txt
rows+=("14 1302001 as-13.2 -DINVARIANTS -DINVARIANT_SUPPORT")

flags() { # flags RELEASE VERSION VARIANT...
    local release=$1 version=$2
    shift 2
    echo "--target=x86_64-unknown-freebsd$release.0 -nostdinc" \
        "-U__FreeBSD__ -D__FreeBSD__=$release" \
        "-U__FreeBSD_version -D__FreeBSD_version=$version" \
        "-isystem tests/cross/include" \
        "-isystem $cache/$release/include/x86_64-freebsd-none" \
        "-isystem $cache/$release/include/generic-freebsd -isystem $cache/ck" \
        "-Ikmod -Ikmod/freebsd -Ishared-abi/include" \
        "-D_KERNEL -DKLD_MODULE -DHAVE_KERNEL_OPTION_HEADERS" \
        "-include opt_global.h -std=gnu99 -O2 -fno-strict-aliasing" \
        "-fno-common -fno-omit-frame-pointer -mno-omit-leaf-frame-pointer" \
        "-mcmodel=kernel -mno-red-zone -mno-mmx -mno-sse -msoft-float" \
        "-fno-asynchronous-unwind-tables -ffreestanding -fwrapv" \
        "-fstack-protector -Wall -Wextra -Werror -Wstrict-prototypes" \
        "-Wmissing-prototypes -Wpointer-arith -Wcast-qual -Wundef" \
        "-Wno-pointer-sign -Wno-unused-parameter" \
        "-Wno-missing-field-initializers" \
        "-Wno-address-of-packed-member -D__printf__=__freebsd_kprintf__" \
        "$*"
}

passed=0 failed=0
result() { # result STATUS NAME
    if [ "$1" -eq 0 ]; then
        passed=$((passed + 1))
        echo "ok      $2"
    else
        failed=$((failed + 1))
        echo "FAILED  $2"
    fi
}

# each COMMAND...: runs it for every source, `@' being its name without .c.
jobs=$(getconf _NPROCESSORS_ONLN)
each() {
    printf '%s\n' "${sources[@]%.c}" | xargs -P "$jobs" -I @ "$@"
}

compile() { # compile DIR FLAG...
    local dir=$1
    shift
    mkdir -p "$dir/freebsd"
    each "$clang" "$@" -c kmod/@.c -o "$dir/@.o"
}

link_module() { # link_module DIR
    local objects=("${sources[@]/%.c/.o}")
    "$lld" -m elf_x86_64_fbsd -warn-common -r \
        -o "$1/dualpi2_llm.ko" "${objects[@]/#/$1/}"
}

# Symbols that FILE imports and the allow-list lacks.
symbols() { # symbols FILE
    local extra
    extra=$("$nm" -u "$1" | awk 'NF {print $NF}' | sort -u |
        comm -23 - <(sed -e 's/[[:space:]]*#.*//' -e '/^$/d' tests/cross/symbols.allow | sort -u))
    [ -z "$extra" ] || {
        echo "imports that tests/cross/symbols.allow does not name:" "${extra//$'\n'/ }"
        return 1
    }
}

floats() { # floats FILE
    # (Addresses, which end with a colon, may look like instructions: fadd.)
    ! "$objdump" -d --no-show-raw-insn "$1" |
        grep -E '%([xyz]mm[0-9]|mm[0-7]|st\()|[[:space:]]f(ld|st|add|mul|div)[a-z0-9]*([[:space:]]|$)' | head -5 | grep .
}

# The Makefile's list is for bsd.kmod.mk, which cannot read sources.txt.
diff <(printf '%s\n' "${sources[@]##*/}" | sort) \
    <(sed -n 's/^SRCS+\{0,1\}=//p' kmod/Makefile | tr -s '[:space:]' '\n' | sed '/^$/d' | sort)
result $? "sources of kmod/Makefile"

rm -rf "$out"
for row in "${rows[@]}"; do
    read -r release version name variant <<<"$row"
    dir=$out/$release-$name
    # shellcheck disable=SC2046,SC2086 # flags without spaces in them
    compile "$dir" $(flags "$release" "$version" $variant)
    compiled=$?
    result $compiled "compile $release $name"
    [ "$compiled" -eq 0 ] || continue
    if [ -n "$lld" ]; then
        link_module "$dir" && symbols "$dir/dualpi2_llm.ko" && floats "$dir/dualpi2_llm.ko"
        result $? "link, symbols, floats $release $name"
    fi
done
[ -n "$lld" ] || echo "skipped: link, symbols, floats (no ld.lld; Debian: lld)"

# Compiles the tests' own programs as on FreeBSD.
userland() { # userland RELEASE SOURCE...
    local release=$1
    shift
    "$clang" "--target=x86_64-unknown-freebsd$release.0" -nostdinc \
        -isystem "$("$clang" -print-resource-dir)/include" \
        -isystem "$cache/$release/include/x86_64-freebsd-none" \
        -isystem "$cache/$release/include/generic-freebsd" \
        -isystem "$cache/atf" -Ishared-abi/include \
        -Wall -Wextra -Werror -fsyntax-only "$@"
}
userland 14 tests/freebsd/*.c && userland 15 tests/freebsd/*.c
result $? "tests/freebsd compile"

cc=${CC:-cc}
"$cc" -std=gnu11 -O1 -Wall -Wextra -Werror -Ishared-abi/include -Ikmod \
    -Ikmod/freebsd \
    -o "$out/iphdr" tests/cross/iphdr.c && "$out/iphdr"
result $? iphdr

read -ra checked <<<"$(flags 14 1401000 -DINVARIANTS -DINVARIANT_SUPPORT -DWITNESS)"
each "$clang" "${checked[@]}" --analyze --analyzer-output text \
    -Xclang -analyzer-werror -o /dev/null kmod/@.c
result $? analyze

# Disabled: checks that contradict style(9), the kernel's own macros, or queue_unit.c.
if [ -n "$tidy" ]; then
    each "$tidy" --quiet --warnings-as-errors='*' --checks='-*,bugprone-*,cert-*,-bugprone-easily-swappable-parameters,-bugprone-reserved-identifier,-cert-dcl37-c,-cert-dcl51-cpp,-bugprone-assignment-in-if-condition,-bugprone-macro-parentheses,-bugprone-suspicious-include' \
        kmod/@.c -- "${checked[@]}" 2>"$out/tidy.err"
    status=$?
    [ $status -eq 0 ] || grep -v 'warnings generated' "$out/tidy.err"
    result $status tidy
else
    echo "skipped: tidy (no clang-tidy; Debian: clang-tidy)"
fi

if command -v mandoc >/dev/null; then
    mandoc -T lint -W warning man/*.[1-9]
    result $? manuals
else
    echo "skipped: manuals (no mandoc; Debian: mandoc)"
fi

# Variables that rc.subr(8) reads and sets, and its quoting style.
if command -v shellcheck >/dev/null; then
    shellcheck -s sh -e SC1091,SC2034,SC2086,SC2223 rc.d/l4sllmd &&
        shellcheck -s sh -e SC1091,SC2034,SC2086,SC2154 tests/freebsd/*.sh \
            tests/freebsd/*.subr tests/freebsd/run
    result $? "rc.d and tests/freebsd"
else
    echo "skipped: rc.d (no shellcheck; Debian: shellcheck)"
fi

echo "$passed passed, $failed failed"
[ $failed -eq 0 ]
