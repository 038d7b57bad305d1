# shellcheck shell=sh
# QEMU.  Each link is a pair of UDP sockets on this host, one packet a datagram:
# no privileges, and the order in which machines start does not matter.

# shellcheck disable=SC2154 # set by testbed.sh, as is all that is used below
image=$out/qemu/l4sllm-freebsd.qcow2

build_image() { build qemu "$@"; }

prepare() { needs "$image" "build it with: vm-images/testbed.sh qemu build"; }
cleanup() { :; }

create() {
	[ "$dry" = 1 ] || [ ! -e "$machines/$1.qcow2" ] ||
	    fail "$machines/$1.qcow2 exists; start it, or delete it with down"
	run qemu-img create -q -f qcow2 -F qcow2 -b "$(real "$image")" "$machines/$1.qcow2"
}

# A backing file's name is relative to the file that it backs.
real() {
	case $1 in
	/*) echo "$1" ;;
	*) echo "$PWD/$1" ;;
	esac
}

# udp_port ROLE LINK: the router's end of a link, or the other.
udp_port() {
	case $2 in
	client1) end=20110 ;;
	client2) end=20120 ;;
	server) end=20130 ;;
	esac
	[ "$1" = router ] || end=$((end + 1))
	echo "$end"
}

start() {
	role=$1
	set -- qemu-system-x86_64 -name "l4sllm-$role" \
	    -machine "q35,accel=${QEMU_ACCEL:-kvm}" -smp "$cpus" -m "$memory" \
	    -drive "file=$machines/$role.qcow2,if=virtio,discard=unmap" \
	    -drive "file=$machines/$role.iso,media=cdrom,readonly=on" -boot c \
	    -netdev "user,id=management,hostfwd=tcp:127.0.0.1:$(ssh_port "$role")-:22" \
	    -device "e1000,netdev=management,mac=$(mac "$role" 0)"
	number=0
	for link in $(links "$role"); do
		number=$((number + 1))
		case $role in router) peer=$link ;; *) peer=router ;; esac
		set -- "$@" -netdev "socket,id=$link,localaddr=127.0.0.1:$(udp_port "$role" "$link"),udp=127.0.0.1:$(udp_port "$peer" "$link")" \
		    -device "e1000,netdev=$link,mac=$(mac "$role" $number)"
	done
	run "$@" -display none -serial "file:$machines/$role.console" \
	    -daemonize -pidfile "$machines/$role.pid"
}

stop() { run ssh -p "$(ssh_port "$1")" root@127.0.0.1 shutdown -p now; }

running() {
	[ "$dry" = 0 ] && [ -e "$machines/$1.pid" ] &&
	    kill -0 "$(cat "$machines/$1.pid")" 2>/dev/null
}

snapshot() {
	! running "$1" || fail "$1 is running; stop it first"
	run qemu-img snapshot -c configured "$machines/$1.qcow2"
}

reset() {
	! running "$1" || fail "$1 is running; stop it first"
	run qemu-img snapshot -a configured "$machines/$1.qcow2"
}

remove() {
	if [ "$dry" = 1 ] || running "$1"; then
		run pkill -F "$machines/$1.pid"
	fi
}
