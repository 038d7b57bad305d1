# shellcheck shell=sh
# bhyve(8), on FreeBSD, as root.  The image is QEMU's, converted; each link is a
# bridge with two taps, and a fourth bridge has the first interfaces and the
# host's uplink.

# shellcheck disable=SC2154 # set by testbed.sh, as is all that is used below
image=$out/bhyve/l4sllm-freebsd.raw

build_image() {
	build qemu "$@"
	run mkdir -p "$out/bhyve"
	run qemu-img convert -O raw "$out/qemu/l4sllm-freebsd.qcow2" "$image"
}

bridges="l4s-manage l4s-client1 l4s-client2 l4s-server"

prepare() {
	needs "$image" "build it on any host with: vm-images/testbed.sh bhyve build"
	run kldload -n vmm if_bridge if_tuntap
	run sysctl net.link.tap.up_on_open=1
	for bridge in $bridges; do
		run ifconfig bridge create name "$bridge" up
	done
	run ifconfig l4s-manage addm "$(uplink)"
}

uplink() {
	if [ -n "${BHYVE_UPLINK:-}" ]; then
		echo "$BHYVE_UPLINK"
	elif [ "$dry" = 1 ]; then
		echo em0
	else
		route -n get default | sed -n 's/.*interface: //p'
	fi
}

cleanup() {
	for bridge in $bridges; do
		run ifconfig "$bridge" destroy
	done
}

# taps ROLE: of its interfaces in their order, each with its bridge.  bhyve takes
# names that begin with "tap".
taps() {
	echo "tap-$1-0:l4s-manage"
	number=0
	for link in $(links "$1"); do
		number=$((number + 1))
		echo "tap-$1-$number:l4s-$link"
	done
}

create() {
	run cp "$image" "$machines/$1.raw"
	for tap in $(taps "$1"); do
		run ifconfig tap create name "${tap%:*}"
		run ifconfig "${tap#*:}" addm "${tap%:*}"
	done
}

start() {
	role=$1
	set -- bhyve -A -H -P -c "$cpus" -m "${memory}M" -s 0,hostbridge -s 1,lpc \
	    -s "2,virtio-blk,$machines/$role.raw" -s "3,ahci-cd,$machines/$role.iso"
	slot=4
	for tap in $(taps "$role"); do
		set -- "$@" -s "$slot,e1000,${tap%:*},mac=$(mac "$role" $((slot - 4)))"
		slot=$((slot + 1))
	done
	set -- "$@" -l "com1,/dev/nmdm-l4sllm-$role-A" "l4sllm-$role"
	# bhyve ends with 0 when the guest reboots, and is started again.
	load=$(quoted bhyveload -m "${memory}M" -d "$machines/$role.raw" "l4sllm-$role")
	run daemon -f -p "$machines/$role.pid" sh -c \
	    "while $load && $(quoted "$@"); do bhyvectl --destroy --vm=l4sllm-$role; done; bhyvectl --destroy --vm=l4sllm-$role"
}

# bhyve presses the power button on SIGTERM.
stop() { run pkill -x -f "bhyve: l4sllm-$1"; }

snapshot() {
	stopped "$1"
	run cp "$machines/$1.raw" "$machines/$1.configured.raw"
}

reset() {
	stopped "$1"
	run cp "$machines/$1.configured.raw" "$machines/$1.raw"
}

stopped() {
	[ "$dry" = 1 ] || [ ! -e "/dev/vmm/l4sllm-$1" ] || fail "$1 is running; stop it first"
}

remove() {
	if [ "$dry" = 1 ] || [ -e "/dev/vmm/l4sllm-$1" ]; then
		run pkill -F "$machines/$1.pid"
		run bhyvectl --force-poweroff --vm="l4sllm-$1"
	fi
	for tap in $(taps "$1"); do
		run ifconfig "${tap%:*}" destroy
	done
}
