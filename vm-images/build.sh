#!/bin/sh
# Builds the image of the testbed's machines with Packer.
#
#   build.sh [--dry-run] [--box] PROVIDER [ARGUMENT...]
#
# Providers: qemu, virtualbox, vmware, and bhyve, which uses QEMU's image as a
# raw disk.  --box also makes a Vagrant box.  Arguments go to `packer build',
# such as -var freebsd_version=14.3.  --dry-run prints every command instead of
# running it.  Images are made in out/vm.
set -eu
cd "$(dirname "$0")/.."

usage() {
	echo "usage: vm-images/build.sh [--dry-run] [--box] qemu|virtualbox|vmware|bhyve [PACKER ARGUMENT...]" >&2
	exit 2
}

run() {
	if [ $dry = 1 ]; then echo "$*"; else "$@"; fi
}

dry=0 box=0
while [ $# -gt 0 ]; do
	case $1 in
	--dry-run) dry=1 ;;
	--box) box=1 ;;
	*) break ;;
	esac
	shift
done
[ $# -gt 0 ] || usage
provider=$1
shift
case $provider in
qemu | bhyve) source=qemu ;;
virtualbox | vmware) source=$provider-iso ;;
*) usage ;;
esac
# The box needs the same space again.
[ $box = 1 ] || set -- -except=vagrant "$@"

run scripts/dist.sh
# Since version 1.7, Packer installs plugins separately.
if [ $dry = 1 ] || ! packer version | grep -q 'v1\.6\.'; then
	run packer init vm-images/plugins
fi
run packer build -only="$source.freebsd" "$@" vm-images
if [ "$provider" = bhyve ]; then
	run mkdir -p out/vm/bhyve
	run qemu-img convert -O raw out/vm/qemu/l4sllm-freebsd.qcow2 \
	    out/vm/bhyve/l4sllm-freebsd.raw
fi
