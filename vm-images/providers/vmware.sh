# shellcheck shell=sh
# VMware Workstation or Fusion.  Machines are linked clones of the image; each
# link is a LAN segment, which is named by 16 bytes and needs no set-up.

# shellcheck disable=SC2154 # set by testbed.sh, as is all that is used below
image=$out/vmware/l4sllm-freebsd.vmx

vmrun_() { run vmrun -T "${VMRUN_TYPE:-ws}" "$@"; }

build_image() {
	build vmware-iso "$@"
	vmrun_ snapshot "$image" built
}

prepare() { needs "$image" "build it with: vm-images/testbed.sh vmware build"; }
cleanup() { :; }

vmx() { echo "$machines/$1/l4sllm-$1.vmx"; }

segment() {
	case $1 in
	client1) echo "52 4c 34 53 4c 4c 4d 00-00 00 00 00 00 00 00 01" ;;
	client2) echo "52 4c 34 53 4c 4c 4d 00-00 00 00 00 00 00 00 02" ;;
	server) echo "52 4c 34 53 4c 4c 4d 00-00 00 00 00 00 00 00 03" ;;
	esac
}

create() {
	role=$1
	run mkdir -p "$machines/$role"
	vmrun_ clone "$image" "$(vmx "$role")" linked -snapshot=built "-cloneName=l4sllm-$role"
	set -- "numvcpus = \"$cpus\"" "memsize = \"$memory\"" \
	    'ide1:0.present = "TRUE"' 'ide1:0.deviceType = "cdrom-image"' \
	    "ide1:0.fileName = \"../$role.iso\"" 'ide1:0.startConnected = "TRUE"'
	number=0
	for link in $(links "$role"); do
		number=$((number + 1))
		set -- "$@" "ethernet$number.present = \"TRUE\"" \
		    "ethernet$number.virtualDev = \"e1000\"" \
		    "ethernet$number.addressType = \"generated\"" \
		    "ethernet$number.connectionType = \"pvn\"" \
		    "ethernet$number.pvnID = \"$(segment "$link")\""
	done
	# A key may be there only once.
	replace "$(vmx "$role")" '^\(numvcpus\|memsize\|ide1:0\.[A-Za-z]*\|ethernet[1-3]\.[A-Za-z]*\) ' "$@"
}

start() { vmrun_ start "$(vmx "$1")" nogui; }
stop() { vmrun_ stop "$(vmx "$1")" soft; }
snapshot() { vmrun_ snapshot "$(vmx "$1")" configured; }

reset() {
	vmrun_ revertToSnapshot "$(vmx "$1")" configured
	start "$1"
}

remove() {
	if [ "$dry" = 1 ] || vmrun list | grep -qF "l4sllm-$1.vmx"; then
		vmrun_ stop "$(vmx "$1")" hard
	fi
	vmrun_ deleteVM "$(vmx "$1")"
}
