#!/bin/sh
# Checks vm-images.  A check that needs a missing program is skipped, and the
# program is named.
set -u
cd "$(dirname "$0")/../.." || exit 1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failed=0

have() {
	command -v "$1" >/dev/null && return
	echo "skipped: $1 is not installed"
	return 1
}

# The lines of installerconfig before and after its `#!' line.
preamble() { sed '/^#!/,$d' vm-images/http/installerconfig; }
setup() { sed -n '/^#!/,$p' vm-images/http/installerconfig; }

scripts() {
	shellcheck vm-images/build.sh vm-images/provision/*.sh \
	    vm-images/files/role vm-images/tests/*.sh &&
	    shellcheck -s sh -e SC1091,SC2034,SC2086,SC2223 vm-images/files/l4sllm_* &&
	    preamble | shellcheck -s sh -e SC2034 - &&
	    setup | shellcheck -s sh -
}

# commands SOURCE ARGUMENTS: of build.sh.
commands() {
	printf 'scripts/dist.sh\npacker init vm-images/plugins\n'
	printf 'packer build -only=%s.freebsd %svm-images\n' "$1" "$2"
}

raw_disk() {
	echo "mkdir -p out/vm/bhyve"
	echo "qemu-img convert -O raw out/vm/qemu/l4sllm-freebsd.qcow2 out/vm/bhyve/l4sllm-freebsd.raw"
}

builds() {
	is qemu "$(commands qemu "-except=vagrant ")" &&
	    is "virtualbox -var cpus=4" \
	        "$(commands virtualbox-iso "-except=vagrant -var cpus=4 ")" &&
	    is "--box vmware" "$(commands vmware-iso "")" &&
	    is bhyve "$(commands qemu "-except=vagrant " && raw_disk)" || return 1
	for wrong in "" xen --box; do
		# shellcheck disable=SC2086
		vm-images/build.sh $wrong 2>/dev/null && return 1
		[ $? -eq 2 ] || return 1
	done
}

# is ARGUMENTS COMMANDS
is() {
	# shellcheck disable=SC2086
	found=$(vm-images/build.sh --dry-run $1)
	[ "$found" = "$2" ] && return
	printf 'build.sh %s:\n%s\nexpected:\n%s\n' "$1" "$found" "$2"
	return 1
}

# With the files that the templates upload.
validate() {
	packer validate -var "ssh_public_key_file=$work/key.pub" \
	    -var "dist_dir=$work" "$@" vm-images
}

refuses() {
	if validate "$@" >"$work/refused" 2>&1; then
		echo "accepted: $*"
		return 1
	fi
}

templates() {
	packer fmt -check -diff vm-images && packer fmt -check -diff vm-images/plugins &&
	    validate -only=qemu.freebsd && validate -only=virtualbox-iso.freebsd &&
	    validate -only=vmware-iso.freebsd && validate &&
	    refuses -var freebsd_version=13.2 && refuses -var qemu_accelerator=fast &&
	    refuses -var iso_checksum=sha256:12 && refuses -var iso_checksum=none
}

# The checksum that Packer uses for a release: the pinned one, or FreeBSD's
# file.
checksum() {
	packer inspect -var "freebsd_version=$1" vm-images 2>/dev/null |
	    sed -n 's/^local.iso_checksum: "\(.*\)"$/\1/p'
}

checksums() {
	for release in 14.2 14.3 14.4; do
		checksum "$release" | grep -Eqx 'sha256:[0-9a-f]{64}' || {
			echo "$release: '$(checksum "$release")' is no pinned checksum"
			return 1
		}
	done
	expected=file:https://download.freebsd.org/releases/amd64/amd64/ISO-IMAGES/14.9/CHECKSUM.SHA512-FreeBSD-14.9-RELEASE-amd64
	[ "$(checksum 14.9)" = "$expected" ] || {
		echo "14.9: '$(checksum 14.9)', expected '$expected'"
		return 1
	}
}

vagrantfile() {
	(cd vm-images && VAGRANT_HOME=$work/home VAGRANT_DOTFILE_PATH=$work/dot \
	    L4SLLM_KEY=$work/key vagrant validate --ignore-provider)
}

touch "$work/key" "$work/key.pub"
vm-images/tests/role.sh || failed=1
builds || failed=1
if have shellcheck; then scripts || failed=1; fi
if have packer; then
	templates || failed=1
	checksums || failed=1
fi
if have vagrant; then vagrantfile || failed=1; fi
exit $failed
