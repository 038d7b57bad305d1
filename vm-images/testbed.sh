#!/bin/sh
# Builds the image and runs the four machines of the testbed with one provider.
#
#   testbed.sh [--dry-run] PROVIDER COMMAND [ARGUMENT...]
#
# Providers: qemu, virtualbox, vmware, bhyve.  Commands:
#   build      the image, by Packer; arguments go to `packer build'
#   box        the same, and a Vagrant box of it
#   up         creates the machines and starts them; each configures itself,
#              reboots, and then takes logins of root
#   stop       shuts them down
#   start      starts them again
#   snapshot   keeps their disks as they are (qemu, bhyve: stopped machines)
#   reset      back to the snapshot (qemu, bhyve: stopped machines)
#   down       stops and deletes them; the image stays
#
# --dry-run prints every command instead of running it.
#
# Environment:
#   OUT           where images and machines are; default: out/vm
#   SETTINGS      a file that replaces values of testbed.conf on all machines
#   KEY           public key of root on all machines; default: the image's
#   CPUS, MEMORY  of each machine; defaults: 2, and 2048 (megabytes)
#   QEMU_ACCEL    default: kvm
#   VMRUN_TYPE    of VMware: ws (Workstation, the default) or fusion
#   BHYVE_UPLINK  interface with a DHCP server that bhyve's machines are bridged
#                 to for management; default: that of the default route
set -eu
cd "$(dirname "$0")/.."

fail() {
	echo "testbed.sh: $*" >&2
	exit 1
}

usage() {
	sed -n 's/^# \{0,1\}//; 2,19p' vm-images/testbed.sh >&2
	exit 2
}

# quoted WORD...: as a shell would read them.
quoted() {
	separator=
	for word; do
		printf '%s' "$separator"
		separator=' '
		case $word in
		*[!A-Za-z0-9_./:=,@%+-]* | '')
			printf "'%s'" "$(printf '%s' "$word" | sed "s/'/'\\\\''/g")"
			;;
		*) printf '%s' "$word" ;;
		esac
	done
	echo
}

run() {
	if [ $dry = 1 ]; then quoted "$@"; else "$@"; fi
}

# put FILE LINE...: writes a file.
put() {
	file=$1
	shift
	if [ $dry = 1 ]; then
		printf 'printf "%%s\\n" %s >%s\n' "$(quoted "$@")" "$(quoted "$file")"
	else
		printf '%s\n' "$@" >"$file"
	fi
}

# replace FILE EXPRESSION LINE...: deletes the lines that the regular expression
# fits, and adds others.
replace() {
	file=$1 expression=$2
	shift 2
	if [ $dry = 1 ]; then
		printf '{ %s; printf "%%s\\n" %s; } >%s && mv %s\n' \
		    "$(quoted sed "/$expression/d" "$file")" "$(quoted "$@")" \
		    "$(quoted "$file.new")" "$(quoted "$file.new" "$file")"
	else
		{
			sed "/$expression/d" "$file"
			printf '%s\n' "$@"
		} >"$file.new"
		mv "$file.new" "$file"
	fi
}

# needs FILE HOW: fails, except in a dry run, where the file is missing.
needs() {
	[ $dry = 1 ] || [ -e "$1" ] || fail "$1 is missing; $2"
}

# config_disk ROLE: $machines/ROLE.iso, which tells a machine its role.
config_disk() {
	run mkdir -p "$machines/$1.config"
	put "$machines/$1.config/role" "$1"
	if [ -n "${SETTINGS:-}" ]; then
		run cp "$SETTINGS" "$machines/$1.config/testbed.conf"
	fi
	if [ -n "${KEY:-}" ]; then
		run cp "$KEY" "$machines/$1.config/authorized_keys"
	fi
	tool=xorriso
	for candidate in xorriso genisoimage mkisofs makefs hdiutil; do
		command -v $candidate >/dev/null || continue
		tool=$candidate
		break
	done
	case $tool in
	xorriso) set -- "$1" xorriso -as mkisofs -quiet -R -V L4SLLM -o ;;
	makefs) set -- "$1" makefs -t cd9660 -o label=L4SLLM,rockridge ;;
	hdiutil) set -- "$1" hdiutil makehybrid -quiet -iso -joliet -default-volume-name L4SLLM -o ;;
	*) set -- "$1" "$tool" -quiet -R -V L4SLLM -o ;;
	esac
	role=$1
	shift
	run "$@" "$machines/$role.iso" "$machines/$role.config"
}

# links ROLE: the links of a machine, in the order of its interfaces after the
# first, which is for management.
links() {
	case $1 in
	router) echo client1 client2 server ;;
	*) echo "$1" ;;
	esac
}

# ssh_port ROLE: port of 127.0.0.1 that leads to the machine's sshd, with
# providers that forward one.
ssh_port() {
	case $1 in
	router) echo 10022 ;;
	client1) echo 10023 ;;
	client2) echo 10024 ;;
	server) echo 10025 ;;
	esac
}

# mac ROLE NUMBER: a locally administered address of one interface.
mac() { printf '02:4c:34:53:%02x:%02x' "$(($(ssh_port "$1") - 10022))" "$2"; }

# The tarball and the ports of it, Packer's plugins, the image.
build() {
	source=$1
	shift
	run scripts/dist.sh
	# Packer has had plugins of their own since 1.7.
	if [ $dry = 1 ] || ! packer version | grep -q 'v1\.6\.'; then
		run packer init vm-images/plugins
	fi
	[ "$command" = box ] || set -- -except=vagrant "$@"
	run packer build -only="$source.freebsd" "$@" vm-images
}

dry=0
if [ "${1:-}" = --dry-run ]; then
	dry=1
	shift
fi
[ $# -ge 2 ] || usage
provider=$1 command=$2
shift 2
out=${OUT:-out/vm}
machines=$out/machines/$provider
# shellcheck disable=SC2034 # used by providers
cpus=${CPUS:-2} memory=${MEMORY:-2048}
# The router first: the others find it waiting.
roles="router client1 client2 server"

case $provider in
qemu | virtualbox | vmware | bhyve)
	# shellcheck disable=SC1090
	. "vm-images/providers/$provider.sh"
	;;
*) fail "no provider is called '$provider'; known: qemu, virtualbox, vmware, bhyve" ;;
esac
case $command in
build | box) build_image "$@" ;;
up | start | stop | snapshot | reset | down)
	[ $# -eq 0 ] || fail "$command takes no arguments"
	[ "$command" != up ] || run mkdir -p "$machines"
	[ "$command" != up ] || prepare
	for role in $roles; do
		case $command in
		up)
			config_disk "$role"
			create "$role"
			start "$role"
			;;
		down) remove "$role" ;;
		*) "$command" "$role" ;;
		esac
	done
	[ "$command" != down ] || cleanup
	[ "$command" != down ] || run rm -rf "$machines"
	;;
*) fail "no command is called '$command'; known: build, box, up, stop, start, snapshot, reset, down" ;;
esac
