#!/bin/sh
# Installs the programs built by `make build', or removes them.  On FreeBSD the
# ports of packaging/ports also install the module, its settings and users.
#   PREFIX=/usr/local SYSCONFDIR=/etc DESTDIR= scripts/install.sh [uninstall]
set -eu
cd "$(dirname "$0")/.."
prefix=${PREFIX:-/usr/local}
system=$(uname -s)
case $system in
Linux) default_sysconfdir=/etc ;;
*) default_sysconfdir=$prefix/etc ;;
esac
sysconfdir=${SYSCONFDIR:-$default_sysconfdir}
root=${DESTDIR:-}
built=${CARGO_TARGET_DIR:-target}/release
for dir in "$prefix" "$sysconfdir"; do
	case $dir in
	/*) ;;
	*) echo "install: $dir: PREFIX and SYSCONFDIR must be absolute" >&2; exit 2 ;;
	esac
done

# put MODE FILE TO: installs FILE as TO, or removes TO.
action=${1:-install}
put() {
	to=$root$3
	case $action in
	install)
		install -d "$(dirname "$to")"
		install -m "$1" "$2" "$to"
		;;
	uninstall) rm -f "$to" ;;
	*) echo "install: $action: expected install or uninstall" >&2; exit 2 ;;
	esac
}

# fill FILE TO: as put, for text that contains directory names.
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
fill() {
	sed -e "s|@PREFIX@|$prefix|g" -e "s|@SYSCONFDIR@|$sysconfdir|g" "$1" >"$tmp/filled"
	put 644 "$tmp/filled" "$2"
}

if [ "$action" = install ] && [ ! -x "$built/l4sllm" ]; then
	echo "install: $built/l4sllm is missing; run make build first" >&2
	exit 1
fi

put 755 "$built/l4sllm" "$prefix/bin/l4sllm"
put 755 "$built/l4sllmd" "$prefix/sbin/l4sllmd"
for page in man/l4sllm.1 man/l4sllmd.8 man/l4sllmd.conf.5 man/dualpi2_llm.4; do
	put 644 "$page" "$prefix/share/man/man${page##*.}/${page##*/}"
done
for policy in default context imitation; do
	for file in config.json model.safetensors README.md; do
		put 644 "policies/$policy/$file" "$prefix/share/l4sllm/policies/$policy/$file"
	done
done
put 644 policies/context/student.l4s "$prefix/share/l4sllm/policies/context/student.l4s"
put 644 packaging/grafana/l4sllm.json "$prefix/share/l4sllm/grafana/l4sllm.json"
for file in l4sllm.rules.yml scrape.yml; do
	put 644 "packaging/prometheus/$file" "$prefix/share/l4sllm/prometheus/$file"
done
for shell in bash:bash-completion/completions/l4sllm zsh:zsh/site-functions/_l4sllm \
	fish:fish/vendor_completions.d/l4sllm.fish; do
	if [ "$action" = install ]; then
		"$built/l4sllm" completions "${shell%%:*}" >"$tmp/completions"
	fi
	put 644 "$tmp/completions" "$prefix/share/${shell#*:}"
done

case $system in
Linux)
	fill packaging/linux/l4sllmd.service "$prefix/lib/systemd/system/l4sllmd.service"
	fill packaging/linux/l4sllm-device.service \
	    "$prefix/lib/systemd/system/l4sllm-device.service"
	sample=packaging/linux/l4sllmd.toml
	;;
*)
	put 755 rc.d/l4sllmd "$prefix/etc/rc.d/l4sllmd"
	sample=daemon/l4sllmd.toml.sample
	;;
esac
fill "$sample" "$sysconfdir/l4sllmd.toml.sample"
# The configuration belongs to the operator: created once, never changed or
# removed.
if [ "$action" = install ] && [ ! -e "$root$sysconfdir/l4sllmd.toml" ]; then
	fill "$sample" "$sysconfdir/l4sllmd.toml"
fi
