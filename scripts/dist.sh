#!/bin/sh
# Makes the release in out/dist from the committed files:
#
#   l4sllm-VERSION.tar.gz   the sources, the same bytes for the same commit
#   ports/                  packaging/ports with the tarball's sums and the
#                           list of crates that Cargo.lock has
set -eu
cd "$(dirname "$0")/.."

version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1)
name=l4sllm-$version
out=out/dist

for makefile in packaging/ports/net/*/Makefile; do
	grep -q "^DISTVERSION=	$version\$" "$makefile" || {
		echo "$makefile: DISTVERSION is not $version" >&2
		exit 1
	}
done

rm -rf "$out"
mkdir -p "$out"
# gzip -n: no time stamp in the file.
git archive --format=tar --prefix="$name/" HEAD | gzip -9 -n \
	>"$out/$name.tar.gz"

cp -R packaging/ports "$out/ports"
rm "$out/ports/README.md"
sum=$(sha256sum "$out/$name.tar.gz" | cut -d ' ' -f 1)
size=$(wc -c <"$out/$name.tar.gz" | tr -d ' ')
time=$(git log -1 --format=%ct)
for port in "$out"/ports/net/*; do
	cat >"$port/distinfo" <<END
TIMESTAMP = $time
SHA256 ($name.tar.gz) = $sum
SIZE ($name.tar.gz) = $size
END
done

# Packages from the registry have a checksum; those of this workspace have
# none.
awk -v RS= '
	/^\[\[package\]\]/ && /\nchecksum = / {
		match($0, /name = "[^"]*"/)
		crate = substr($0, RSTART + 8, RLENGTH - 9)
		match($0, /version = "[^"]*"/)
		crates[++n] = crate "-" substr($0, RSTART + 11, RLENGTH - 12)
	}
	END {
		for (i = 1; i <= n; i++)
			printf "%s%s%s\n", i == 1 ? "CARGO_CRATES=\t" : "\t\t", \
			    crates[i], i < n ? " \\" : ""
	}' Cargo.lock >"$out/ports/net/l4sllmd/Makefile.crates"

echo "$out/$name.tar.gz: $size bytes, sha256 $sum"
