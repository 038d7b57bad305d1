#!/bin/sh
# Runs files/role below a directory in place of /, with stand-ins for the
# commands that ask the kernel, and checks what it writes for every role.
set -eu
cd "$(dirname "$0")/../.."
here=$PWD/vm-images
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
passed=0 failed=0

ok() { passed=$((passed + 1)); }
not_ok() {
	failed=$((failed + 1))
	echo "FAIL: $*"
}

# expect NAME COMMAND...: the command must succeed.
expect() {
	expected=$1
	shift
	if "$@"; then ok; else not_ok "$expected"; fi
}

# holds NAME FILE LINE: the file must contain that line.
holds() {
	if grep -qxF -e "$3" "$2"; then ok; else not_ok "$1: $2 has no line '$3'"; fi
}

# becomes NAME ARGUMENTS...: the script must succeed.
becomes() {
	name=$1
	shift
	if role "$@"; then ok; else not_ok "$name: $(cat "$work/out")"; fi
}

# same NAME FILE: the file must equal standard input.
same() {
	cat >"$work/expected"
	if diff -u "$work/expected" "$2" >"$work/diff" 2>&1; then
		ok
	else
		not_ok "$1"
		cat "$work/diff"
	fi
}

# Stand-ins, which print files in $work.
mkdir "$work/bin"
cat >"$work/bin/ifconfig" <<END
#!/bin/sh
[ "\$*" = "-l ether" ] && cat $work/interfaces
END
cat >"$work/bin/sysctl" <<END
#!/bin/sh
[ "\$*" = "-n net.inet.tcp.cc.available" ] && cat $work/cc
END
cat >"$work/bin/kenv" <<END
#!/bin/sh
[ "\$1" = -q ] && cat "$work/kenv.\$2" 2>/dev/null
END
cat >"$work/bin/hostname" <<END
#!/bin/sh
cat $work/hostname
END
cat >"$work/bin/mount" <<END
#!/bin/sh
echo "mount \$*" >>$work/mounts
for to; do :; done
cp $work/config/* "\$to/"
END
cat >"$work/bin/umount" <<END
#!/bin/sh
rm -f "\$1"/*
END
chmod +x "$work"/bin/*

# A machine without a role or a source of one.  FreeBSD 14's kernel has
# CUBIC; the others are modules.
new_machine() {
	rm -rf "$work"/root "$work"/config "$work"/kenv.* "$work/mounts"
	mkdir -p "$work/root/usr/local/etc/l4sllm" "$work/root/dev/iso9660" "$work/config"
	cp "$here/testbed.conf" "$work/root/usr/local/etc/l4sllm/"
	echo amnesiac >"$work/hostname"
	echo "em0 em1" >"$work/interfaces"
	[ "${1:-}" != router ] || echo "em0 em1 em2 em3" >"$work/interfaces"
	printf '\nCCmod           D PCB count\ncubic           *       4\n' >"$work/cc"
}
config_disk() { : >"$work/root/dev/iso9660/L4SLLM"; }
role() { PATH=$work/bin:$PATH ROOT=$work/root /bin/sh "$here/files/role" "$@" >"$work/out" 2>&1; }

# refused NAME TEXT ARGUMENTS...: the script must fail with a message that
# contains TEXT, and configure nothing.
refused() {
	name=$1 text=$2
	shift 2
	if role "$@"; then
		not_ok "$name: accepted"
	elif ! grep -qF -e "$text" "$work/out"; then
		not_ok "$name: '$(cat "$work/out")' has no '$text'"
	elif [ -e "$work/root/var/db/l4sllm/role" ] || [ -e "$work/root/etc/rc.conf.local" ]; then
		not_ok "$name: left a configuration"
	else
		ok
	fi
}

configured() {
	new_machine "$1"
	becomes "$1" "$1"
	rm -rf "$work/as-$1"
	cp -R "$work/root" "$work/as-$1"
}

# All files of every role.
configured client1
same "client1 rc.conf" "$work/root/etc/rc.conf.local" <<'END'
hostname="client1"
ifconfig_em0="DHCP"
ifconfig_em1="inet 192.168.1.2/24 -tso -lro"
static_routes="server"
route_server="-net 192.168.3.0/24 192.168.1.1"
kld_list="siftr cc_newreno cc_dctcp"
END
same "client1 sysctl.conf" "$work/root/etc/sysctl.conf.local" <<'END'
net.inet.tcp.ecn.enable=3
net.inet.tcp.cc.algorithm=cubic
net.inet.tcp.cc.dctcp.ect1=1
net.inet.siftr.logfile=/var/log/siftr.log
END
same "client1 hosts" "$work/root/etc/hosts" <<'END'
::1		localhost
127.0.0.1	localhost
192.168.1.2	client1
192.168.2.2	client2
192.168.3.1	router
192.168.3.2	server
END
configured client2
same "client2 rc.conf" "$work/root/etc/rc.conf.local" <<'END'
hostname="client2"
ifconfig_em0="DHCP"
ifconfig_em1="inet 192.168.2.2/24 -tso -lro"
static_routes="server"
route_server="-net 192.168.3.0/24 192.168.2.1"
kld_list="siftr cc_newreno cc_dctcp"
END
same "client2 sysctl.conf" "$work/root/etc/sysctl.conf.local" <<'END'
net.inet.tcp.ecn.enable=3
net.inet.tcp.cc.algorithm=dctcp
net.inet.tcp.cc.dctcp.ect1=1
net.inet.siftr.logfile=/var/log/siftr.log
END
configured server
same "server rc.conf" "$work/root/etc/rc.conf.local" <<'END'
hostname="server"
ifconfig_em0="DHCP"
ifconfig_em1="inet 192.168.3.2/24 -tso -lro"
static_routes="client1 client2"
route_client1="-net 192.168.1.0/24 192.168.3.1"
route_client2="-net 192.168.2.0/24 192.168.3.1"
l4sllm_iperf3_enable="YES"
l4sllm_iperf3_port="5101"
l4sllm_iperf3_servers="5"
kld_list="siftr cc_newreno cc_dctcp"
END
configured router
same "router rc.conf" "$work/root/etc/rc.conf.local" <<'END'
hostname="router"
gateway_enable="YES"
ifconfig_em0="DHCP"
ifconfig_em1="inet 192.168.1.1/24 -tso -lro"
ifconfig_em2="inet 192.168.2.1/24 -tso -lro"
ifconfig_em3="inet 192.168.3.1/24 -tso -lro"
kld_list="ipfw dummynet dualpi2_llm"
firewall_enable="YES"
firewall_type="/usr/local/etc/l4sllm/ipfw.rules"
dummynet_enable="YES"
l4sllmd_enable="NO"
END
same "router sysctl.conf" "$work/root/etc/sysctl.conf.local" <<'END'
net.inet.tcp.ecn.enable=3
net.inet.ip.redirect=0
net.inet.ip.fw.one_pass=1
net.inet.ip.dummynet.io_fast=0
END
same "router module settings" "$work/root/etc/sysctl.kld.d/dualpi2_llm.conf" <<'END'
net.inet.ip.dummynet.dualpi2.profile=default
END
same "router ipfw rules" "$work/root/usr/local/etc/l4sllm/ipfw.rules" <<'END'
-f pipe flush
pipe 1 config bw 8Mbit/s delay 5
sched 1 config pipe 1 type dualpi2
queue 1 config sched 1
pipe 2 config delay 5
add 2000 queue 1 ip from any to any out xmit em3
add 2010 pipe 2 ip from any to any in recv em3
add 65000 allow ip from any to any
END

# The machines are consistent: every address is used once, both ends of a link are
# in one network, every gateway is the router's address in the machine's own.
addresses() { sed -n 's/^ifconfig_.*="inet \([0-9.]*\)\/24.*/\1/p' "$work/as-$1/etc/rc.conf.local"; }
all=$(for role in client1 client2 server router; do addresses $role; done)
expect "the six addresses of the links differ" \
    [ "$(printf '%s\n' "$all" | sort -u | wc -l)" -eq 6 ]
for host in client1 client2 server; do
	address=$(addresses $host)
	other=$(addresses router | grep -F "${address%.*}." || :)
	expect "$host: the router has an address in ${address%.*}.0/24" [ -n "$other" ]
	gateways=$(sed -n 's/^route_.* \([0-9.]*\)"$/\1/p' "$work/as-$host/etc/rc.conf.local" | sort -u)
	expect "$host: gateways '$gateways' are '$other'" [ "$gateways" = "$other" ]
	holds "$host: its address" "$work/as-router/etc/hosts" "$address	$host"
done

# They match the published cell of the emulator.
toml=scenarios/paper.toml
value() { sed -n "s/^$1 = \"\\(.*\\)\"/\\1/p" $toml | head -1 | tr -d ' '; }
setting() { sed -n "s/^$1=//p" "$here/testbed.conf"; }
expect "rate as in $toml" [ "$(value rate)" = "$(setting rate)" ]
expect "rtt as in $toml" [ "$(value rtt)" = "$(setting rtt)ms" ]
connections=$(awk '/^\[\[flow\]\]/ {n++} /^count = / {n += $3 - 1} END {print n}' $toml)
expect "iperf3_servers as the $connections connections of $toml" \
    [ "$connections" = "$(setting iperf3_servers)" ]

# The authors' rules; an odd round-trip time; other values from the disk.
new_machine router
config_disk
echo router >"$work/config/role"
printf 'rules=published # all packets\nrtt=7\nrate=20Mbit/s\nprofile=tuned\nl4sllmd=YES\n' >"$work/config/testbed.conf"
echo "ssh-ed25519 AAAA someone" >"$work/config/authorized_keys"
becomes "configuration disk"
same "published rules" "$work/root/usr/local/etc/l4sllm/ipfw.rules" <<'END'
-f pipe flush
pipe 1 config bw 20Mbit/s delay 7
sched 1 config pipe 1 type dualpi2
queue 1 config sched 1
add 2000 allow ip from any to any via em0
add 2010 queue 1 ip from any to any
add 65000 allow ip from any to any
END
same "profile" "$work/root/etc/sysctl.kld.d/dualpi2_llm.conf" <<'END'
net.inet.ip.dummynet.dualpi2.profile=tuned
END
rc_conf=$work/root/etc/rc.conf.local rules=$work/root/usr/local/etc/l4sllm/ipfw.rules
keys=$work/root/root/.ssh/authorized_keys
holds "l4sllmd=YES" "$rc_conf" 'l4sllmd_enable="YES"'
expect "the disk is mounted as cd9660" \
    grep -q 'mount -t cd9660 -o ro .*/dev/iso9660/L4SLLM ' "$work/mounts"
expect "authorized_keys is root's alone" \
    [ "$(stat -c %a "$keys" 2>/dev/null || stat -f %Lp "$keys")" = 600 ]
same "authorized_keys" "$keys" <<'END'
ssh-ed25519 AAAA someone
END
printf 'rtt=7\n' >"$work/config/testbed.conf"
becomes "again, with another setting"
holds "way there of an odd round-trip time" "$rules" 'pipe 1 config bw 8Mbit/s delay 3'
holds "way back of an odd round-trip time" "$rules" 'pipe 2 config delay 4'
# A router that becomes a host keeps no router settings.
echo "em0 em1" >"$work/interfaces"
becomes "a router becomes a client" client2
expect "the router's rules are gone" [ ! -e "$rules" ]
holds "the role of the argument" "$work/root/var/db/l4sllm/role" client2

# Sources of the role, in order of precedence.
found() {
	new_machine
	eval "$2"
	becomes "role by $2"
	holds "role by $2" "$work/root/var/db/l4sllm/role" "$1"
}
found client1 "echo client1 >$work/hostname"
found client2 "echo l4sllm-client2 >$work/kenv.smbios.system.serial; echo client1 >$work/hostname"
found server "echo server >$work/kenv.l4sllm.role; echo l4sllm-client2 >$work/kenv.smbios.system.serial"
found client1 "config_disk; echo client1 >$work/config/role; echo server >$work/kenv.l4sllm.role"
found client2 "echo 'VMware-56 4d 1a' >$work/kenv.smbios.system.serial; echo client2 >$work/hostname"
found server "mkdir -p $work/root/dev/msdosfs; : >$work/root/dev/msdosfs/L4SLLM; printf 'server\r\n' >$work/config/role"

# Congestion controls of other kernels; other interface names.
new_machine
printf '\nCCmod D PCB count\nnewreno * 0\ncubic 0\ndctcp 0\n' >"$work/cc"
echo "vtnet0 vtnet1" >"$work/interfaces"
becomes "all congestion controls built in" client1
holds "nothing to load" "$rc_conf" 'kld_list="siftr"'
holds "other interfaces" "$rc_conf" 'ifconfig_vtnet1="inet 192.168.1.2/24 -tso -lro"'

# Invalid input is refused.
new_machine
refused "no role" "no role found"
refused "unknown role" "'gateway' is not a role, expected one of: client1, client2, router, server" gateway
refused "too few interfaces" "a router has 4 Ethernet interfaces, this machine has 2: em0 em1" router
new_machine
config_disk
echo client3 >"$work/config/role"
refused "unknown role on the disk" "role is 'client3'"
new_machine
echo sever >"$work/kenv.l4sllm.role"
refused "unknown role of the loader" "l4sllm.role is 'sever'"
bad_setting() {
	new_machine
	config_disk
	printf '\n%s\n' "$1" >"$work/config/testbed.conf"
	refused "$1" "$2" client1
}
bad_setting "rtt=ten" "testbed.conf:2: rtt is 'ten', expected milliseconds, 0 to 9999"
bad_setting "rate=8Mbps" "rate is '8Mbps', expected a rate"
bad_setting "net_server=192.168.3.0" "expected three numbers of an address"
bad_setting "net_server=192.168.300" "expected three numbers of an address"
bad_setting "profile=\$(reboot)" "expected default, tuned or paper"
bad_setting "rules=none" "expected scenario or published"
bad_setting "colour=red" "testbed.conf:2: unknown setting 'colour'"
bad_setting "ecn" "expected KEY=VALUE, found 'ecn'"
bad_setting "net_client2=192.168.3" "must differ"
new_machine
sed -i.old '/^rate=/d' "$work/root/usr/local/etc/l4sllm/testbed.conf"
refused "missing setting" "testbed.conf: rate is missing" client1

echo "$passed passed, $failed failed"
[ $failed -eq 0 ]
