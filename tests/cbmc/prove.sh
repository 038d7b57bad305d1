#!/bin/sh
# Proves the assertions of controller.c, decisions.c, flow_weights.c, student.c,
# ring.c and summary.c, and the absence of overflows and out-of-bounds accesses, for all
# inputs that they allow, in a few minutes.
#
# An installed cbmc is used; otherwise, on amd64 with apt-get, Debian's 6.6 is unpacked
# into .cbmc/ with its C library. Exit status 77, with the reason on the last line, if
# neither works.
set -eu
cd "$(dirname "$0")"
cache=$(cd ../.. && pwd)/.cbmc
mkdir -p "$cache"

skip() {
	echo "skipped: $1"
	exit 77
}

# A separate package source: the system's is not touched.
unpack() {
	command -v apt-get >/dev/null || skip "cbmc is not installed"
	[ "$(uname -m)" = x86_64 ] || skip "cbmc is not installed"
	keys=/usr/share/keyrings/debian-archive-keyring.gpg
	[ -e $keys ] || skip "cbmc is not installed, and this is not Debian"
	rm -rf "$cache"
	mkdir -p "$cache/apt/lists/partial" "$cache/apt/archives/partial" \
	    "$cache/deb"
	echo "deb [signed-by=$keys] http://deb.debian.org/debian trixie main" \
	    >"$cache/apt/sources.list"
	cat >"$cache/apt/apt.conf" <<-END
	Dir::Etc::sourcelist "$cache/apt/sources.list";
	Dir::Etc::sourceparts "-";
	Dir::State::lists "$cache/apt/lists";
	Dir::State::status "/dev/null";
	Dir::Cache "$cache/apt";
	APT::Sandbox::User "";
	END
	export APT_CONFIG="$cache/apt/apt.conf"
	(cd "$cache/deb" && apt-get -qq update && apt-get -qq download \
	    cbmc minisat libc6 libgcc-s1 libstdc++6 zlib1g) ||
	    skip "cbmc could not be fetched"
	for package in "$cache"/deb/*.deb; do
		dpkg -x "$package" "$cache/root"
	done
	rm -rf "$cache/deb" "$cache/apt"
}

run_cbmc() {
	if command -v cbmc >/dev/null; then
		cbmc "$@"
	else
		lib=$cache/root/usr/lib/x86_64-linux-gnu
		"$lib/ld-linux-x86-64.so.2" \
		    --library-path "$lib:$cache/root/usr/lib" \
		    "$cache/root/usr/bin/cbmc" "$@"
	fi
}

command -v cbmc >/dev/null || [ -e "$cache/root/usr/bin/cbmc" ] || unpack
run_cbmc --version >/dev/null 2>&1 || skip "cbmc does not run here"

# A loop bound that is too low is a failure, not a gap.
prove() {
	run_cbmc -I ../../kmod -I ../../kmod/user \
	    -I ../../shared-abi/include --unwind 66 --unwinding-assertions \
	    --object-bits 16 --max-field-sensitivity-array-size 1024 \
	    --function "$2" "$1.c" >"$cache/log" 2>&1
}

passed=0 failed=0
# The functions without arguments, by file.
all() {
	for file in controller decisions flow_weights ring student summary; do
		sed -n '/^void$/{n;s/^\([a-z0-9_]*\)(void)$/\1/p;}' $file.c |
		    sed "s/^/$file./"
	done
}

# shellcheck disable=SC2046 # words
[ $# -gt 0 ] || set -- $(all)
for proof; do
	if prove "${proof%.*}" "${proof#*.}"; then
		echo "ok cbmc $proof"
		passed=$((passed + 1))
	else
		echo "FAIL cbmc $proof"
		grep -E ': FAILURE$|error' "$cache/log" || tail -20 "$cache/log"
		failed=$((failed + 1))
	fi
done
echo "$passed passed, $failed failed"
[ $failed -eq 0 ]
