#!/bin/sh
# Checks the commands of testbed.sh: what a dry run prints for every provider
# fits together, and is what runs otherwise (with stand-ins for the
# hypervisors' programs, which note their arguments).
set -eu
cd "$(dirname "$0")/../.."
testbed=vm-images/testbed.sh
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
passed=0 failed=0
commands="build box up stop start snapshot reset down"
tools="VBoxManage vmrun qemu-img qemu-system-x86_64 packer kldload sysctl ifconfig daemon bhyvectl xorriso ssh pkill route"

# expect NAME COMMAND...: whether the command succeeds.
expect() {
	name=$1
	shift
	if "$@" >"$work/expect.log" 2>&1; then
		passed=$((passed + 1))
	else
		failed=$((failed + 1))
		echo "FAIL: $name"
		cat "$work/expect.log"
	fi
}

equal() { [ "$1" = "$2" ] || { printf "is '%s', expected '%s'\n" "$1" "$2"; false; }; }
dry() { OUT=$work/out sh $testbed --dry-run "$@"; }

# Stand-ins.  Machines never run, so nothing needs to be powered off.
mkdir "$work/bin"
for tool in $tools; do
	printf '#!/bin/sh\necho "%s $*" >>%s/ran\n' "$tool" "$work" >"$work/bin/$tool"
	chmod +x "$work/bin/$tool"
done

for provider in qemu virtualbox vmware bhyve; do
	for command in $commands; do
		expect "$provider $command: a dry run" dry $provider "$command"
		cp "$work/expect.log" "$work/$provider.$command"
		expect "$provider $command: prints something" [ -s "$work/$provider.$command" ]
	done
	expect "$provider: a dry run makes no file" [ ! -e "$work/out" ]
	for role in router client1 client2 server; do
		expect "$provider: $role gets its role" \
		    grep -qxF "printf \"%s\\n\" $role >$work/out/machines/$provider/$role.config/role" "$work/$provider.up"
		expect "$provider: down removes $role" grep -q "$role" "$work/$provider.down"
	done
done

# Vagrant boxes, which take as much space again, are made when asked for.
for command in build box; do
	grep -c -e '-except=vagrant' "$work/qemu.$command" >"$work/$command.except" || :
done
expect "build makes no box" equal "$(cat "$work/build.except")" 1
expect "box makes one" equal "$(cat "$work/box.except")" 0

# ends PROVIDER: a line "LINK ROLE" for each interface but the first.
ends_qemu() {
	sed -n 's/^qemu-system-x86_64 -name l4sllm-\([a-z0-9]*\) /\1 /p' "$work/qemu.up" |
	    awk '{for (i = 2; i <= NF; i++) if ($i ~ /^socket,/) {
		split($i, part, /[,=]/); print part[3], $1}}'
}
ends_virtualbox() {
	sed -n 's/^VBoxManage modifyvm l4sllm-\([a-z0-9]*\) /\1 /p' "$work/virtualbox.up" |
	    awk '{for (i = 2; i <= NF; i++) if ($i ~ /^--intnet/) {
		sub(/^l4sllm-/, "", $(i + 1)); print $(i + 1), $1}}'
}
ends_vmware() {
	sed -n 's/^{ sed .*\/l4sllm-\([a-z0-9]*\)\.vmx; /\1 /p' "$work/vmware.up" |
	    awk '{rest = $0; while (match(rest, /pvnID = "[^"]*"/)) {
		id = substr(rest, RSTART + RLENGTH - 2, 1)
		print (id == 1 ? "client1" : id == 2 ? "client2" : "server"), $1
		rest = substr(rest, RSTART + RLENGTH)}}'
}
ends_bhyve() {
	sed -n 's/^ifconfig l4s-\([a-z0-9]*\) addm tap-\([a-z0-9]*\)-[1-3]$/\1 \2/p' "$work/bhyve.up"
}
links="client1 client1
client1 router
client2 client2
client2 router
server router
server server"
# The router's interfaces in the order that files/role gives addresses by.
router_order="client1 client2 server"
for provider in qemu virtualbox vmware bhyve; do
	"ends_$provider" >"$work/ends"
	expect "$provider: three links, each from the router to one machine" \
	    equal "$(sort "$work/ends")" "$links"
	expect "$provider: order of the router's links" \
	    equal "$(awk '$2 == "router" {printf "%s%s", s, $1; s = " "}' "$work/ends")" "$router_order"
done

# Vagrant's machines have the same links.
sed -n 's/^  "\(.*\)" => %w\[\(.*\)\],$/\1 \2/p' vm-images/Vagrantfile |
    awk '{for (i = 2; i <= NF; i++) print $i, $1}' >"$work/ends"
expect "Vagrantfile: the same links" equal "$(sort "$work/ends")" "$links"
expect "Vagrantfile: order of the router's links" \
    equal "$(awk '$2 == "router" {printf "%s%s", s, $1; s = " "}' "$work/ends")" "$router_order"

# QEMU: the two ends of a link send to each other, all addresses differ.
tr ' ' '\n' <"$work/qemu.up" | sed -n 's/^socket,id=\(.*\),localaddr=\(.*\),udp=\(.*\)/\1 \2 \3/p' >"$work/sockets"
expect "qemu: each socket's peer sends back" \
    equal "$(awk '{print $1, $3, $2}' "$work/sockets" | sort)" "$(sort "$work/sockets")"
for provider in qemu bhyve; do
	grep -o 'mac=[0-9a-f:]*' "$work/$provider.up" >"$work/macs"
	expect "$provider: ten interfaces" equal "$(wc -l <"$work/macs" | tr -d ' ')" 10
	expect "$provider: ten Ethernet addresses" equal "$(sort -u "$work/macs" | wc -l | tr -d ' ')" 10
done
expect "virtualbox: only e1000 interfaces" \
    equal "$(grep -o -e '--nictype[1-4] [^ ]*' "$work/virtualbox.up" | sed 's/.* //' | sort -u)" 82540EM
# shellcheck disable=SC2016
expect "bhyve: names of interfaces have at most 15 characters" \
    awk '{for (i = 1; i <= NF; i++) if ($i ~ /^(l4s|tap)-/ && length($i) > 15) exit 1}' "$work/bhyve.up"
created() { sed -n 's/^ifconfig [a-z]* create name \([^ ]*\).*/\1/p' "$work/bhyve.up" | sort; }
destroyed() { sed -n 's/^ifconfig \(.*\) destroy$/\1/p' "$work/bhyve.down" | sort; }
expect "bhyve: down destroys the interfaces of up" equal "$(destroyed)" "$(created)"

# A wet run calls what the dry run prints.  The stand-ins leave no files, so the
# image, and for VMware the clones, are put there.
wet() {
	rm -f "$work/ran"
	OUT=$work/out PATH=$work/bin:/usr/bin:/bin:/usr/sbin:/sbin sh $testbed "$@"
}
calls() {
	pattern="^($(echo "$tools" | tr ' ' '|')) "
	tr -d "'" <"$1" | grep -E "$pattern" || :
}
for provider in qemu virtualbox vmware; do
	mkdir -p "$work/out/$provider"
	touch "$work/out/$provider/l4sllm-freebsd.qcow2" "$work/out/$provider/l4sllm-freebsd.ova" \
	    "$work/out/$provider/l4sllm-freebsd.vmx"
	for role in router client1 client2 server; do
		mkdir -p "$work/out/machines/$provider/$role"
		printf 'memsize = "4096"\nethernet0.present = "TRUE"\nide1:0.present = "FALSE"\n' \
		    >"$work/out/machines/$provider/$role/l4sllm-$role.vmx"
	done
	# VirtualBox's image is imported once: its stand-in says that it is there.
	grep -v -e ' l4sllm-image take ' -e '^VBoxManage import ' "$work/$provider.up" >"$work/dry"
	expect "$provider: up" wet $provider up
	grep -v 'VBoxManage showvminfo' "$work/ran" >"$work/wet"
	expect "$provider: up runs what the dry run prints" equal "$(cat "$work/wet")" "$(calls "$work/dry")"
	expect "$provider: the router's configuration" \
	    equal "$(cat "$work/out/machines/$provider/router.config/role")" router
done
vmx=$work/out/machines/vmware/router/l4sllm-router.vmx
expect "vmware: no key is there twice" equal "$(sed 's/ = .*//' "$vmx" | sort | uniq -d)" ""
expect "vmware: memory is replaced" equal "$(grep memsize "$vmx")" 'memsize = "2048"'
expect "vmware: the first interface stays" grep -qx 'ethernet0.present = "TRUE"' "$vmx"

# What is refused.
refuses() {
	text=$1
	shift
	if OUT=$work/none sh $testbed "$@" >"$work/refused" 2>&1; then false; else
		grep -qF -e "$text" "$work/refused" || { cat "$work/refused"; false; }
	fi
}
expect "unknown provider" refuses "no provider is called 'xen'; known: qemu" xen up
expect "unknown command" refuses "no command is called 'fly'; known: build, box, up" qemu fly
expect "argument of a command without any" refuses "up takes no arguments" qemu up now
expect "no image" refuses "vm-images/testbed.sh qemu build" qemu up
expect "no command" refuses "testbed.sh [--dry-run] PROVIDER COMMAND" qemu

echo "$passed passed, $failed failed"
[ $failed -eq 0 ]
