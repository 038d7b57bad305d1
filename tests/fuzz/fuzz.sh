#!/bin/sh
# Builds the fuzzer and runs it; CFLAGS, INPUT and OBJ come from the Makefile.
#
# Exit status 0, 1 (a fault was found; the input is in crashes/), or 77 (no
# libFuzzer; the last line of output states this).  `make check' only reports
# 77, because the corpus was replayed before.
set -u

# Inputs of a few hundred operations; longer ones are slow and add little.
LENGTH=1024
# About fifteen seconds on a slow machine.
RUNS=20000

# The first clang that links libFuzzer, or nothing; only CLANG if it is set.
clang_with_fuzzer() {
	names="clang clang-20 clang-19 clang-18 clang-17 clang-16 clang-15 clang-14"
	for name in ${CLANG:-$names}; do
		command -v "$name" >/dev/null || continue
		"$name" -fsanitize=fuzzer,address,undefined -x c - \
		    -o "$OBJ/probe" >/dev/null 2>&1 <<-END && echo "$name" && return
		#include <stddef.h>
		int LLVMFuzzerTestOneInput(const char *, size_t);
		int LLVMFuzzerTestOneInput(const char *p, size_t n)
		{ return ((void)p, (void)n, 0); }
		END
	done
}

mkdir -p "$OBJ/corpus" crashes
clang=$(clang_with_fuzzer)
if [ -z "$clang" ]; then
	echo "skipped: fuzz: no ${CLANG:-clang} with libFuzzer" \
	    "(Debian: clang, libclang-rt-dev)"
	[ "$1" = check ] && exit 0
	exit 77
fi
# shellcheck disable=SC2086 # lists of flags and of files
"$clang" $CFLAGS -fsanitize=fuzzer,address,undefined $INPUT \
    -o "$OBJ/fuzz" -lm -lpthread || exit 1

fuzz() {
	if ! "$OBJ/fuzz" -max_len=$LENGTH -artifact_prefix=crashes/ "$@"; then
		echo "found: see above; the input is in tests/fuzz/crashes," \
		    "and $OBJ/replay FILE runs it again"
		exit 1
	fi
}

case $1 in
check)
	# A separate corpus, so that each run is the same.
	rm -rf "$OBJ/short" && mkdir "$OBJ/short"
	fuzz -runs=$RUNS -seed=1 -verbosity=0 -print_final_stats=1 \
	    "$OBJ/short" corpus
	;;
run)
	fuzz -max_total_time=$(($2 * 60)) -print_final_stats=1 \
	    -timeout=10 "$OBJ/corpus" corpus
	;;
corpus-min)
	"$OBJ/fuzz" -merge=1 corpus "$OBJ/corpus"
	;;
*)
	echo "usage: fuzz.sh check | run MINUTES | corpus-min" >&2
	exit 1
	;;
esac
