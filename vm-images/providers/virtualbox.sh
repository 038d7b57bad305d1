# shellcheck shell=sh
# VirtualBox.  Machines are linked clones of the imported image; each link is an
# internal network of its own.

# shellcheck disable=SC2154 # set by testbed.sh, as is all that is used below
image=$out/virtualbox/l4sllm-freebsd.ova

build_image() { build virtualbox-iso "$@"; }

prepare() {
	needs "$image" "build it with: vm-images/testbed.sh virtualbox build"
	if [ "$dry" = 1 ] || ! VBoxManage showvminfo l4sllm-image >/dev/null 2>&1; then
		run VBoxManage import "$image" --vsys 0 --vmname l4sllm-image
		run VBoxManage snapshot l4sllm-image take built
	fi
}

# Clones keep the image's disk; without them it has no use.
cleanup() { run VBoxManage unregistervm l4sllm-image --delete; }

create() {
	role=$1
	run VBoxManage clonevm l4sllm-image --snapshot built --options Link \
	    --name "l4sllm-$role" --register
	set -- --nic1 nat --nictype1 82540EM \
	    --natpf1 "ssh,tcp,127.0.0.1,$(ssh_port "$role"),,22"
	number=1
	for link in $(links "$role"); do
		number=$((number + 1))
		set -- "$@" --nic$number intnet --nictype$number 82540EM \
		    --intnet$number "l4sllm-$link"
	done
	run VBoxManage modifyvm "l4sllm-$role" --cpus "$cpus" --memory "$memory" "$@"
	# Packer gives every machine this controller, besides that of the disk.
	run VBoxManage storageattach "l4sllm-$role" --storagectl "IDE Controller" \
	    --port 1 --device 0 --type dvddrive --medium "$machines/$role.iso"
}

start() { run VBoxManage startvm "l4sllm-$1" --type headless; }
stop() { run VBoxManage controlvm "l4sllm-$1" acpipowerbutton; }
snapshot() { run VBoxManage snapshot "l4sllm-$1" take configured; }

reset() {
	if [ "$dry" = 1 ] || VBoxManage list runningvms | grep -q "^\"l4sllm-$1\" "; then
		run VBoxManage controlvm "l4sllm-$1" poweroff
	fi
	run VBoxManage snapshot "l4sllm-$1" restore configured
	start "$1"
}

remove() {
	if [ "$dry" = 1 ] || VBoxManage list runningvms | grep -q "^\"l4sllm-$1\" "; then
		run VBoxManage controlvm "l4sllm-$1" poweroff
	fi
	run VBoxManage unregistervm "l4sllm-$1" --delete
}
