#! /usr/libexec/atf-sh
#
# SPDX-License-Identifier: BSD-2-Clause
#
# Copyright (c) 2026 The l4sllm authors

# Packets through the scheduler. The bottleneck is 8 Mbit/s; the sending rate
# is above it where the queue must build. Nothing here checks delays: timers of
# virtual machines are too coarse for that.

. "$(atf_get_srcdir)/topology.subr"

# A test case with a topology: l4s_test NAME DESCRIPTION; the body is NAME_run.
l4s_test()
{
	atf_test_case "$1" cleanup
	eval "$1_head() {
		atf_set descr '$2'
		atf_set require.user root
		atf_set require.progs ipfw jail sockstat
	}
	$1_body() { topology_up; bottleneck 8Mbit/s; $1_run; accounts; }
	$1_cleanup() { topology_down; }"
	tests="$tests $1"
}

l4s_test forwards "Below the rate everything arrives, unchanged"
forwards_run()
{
	patient
	for tos in 0 1 2 3; do
		blast $tos 200 2000
		atf_check_equal 200 $((not_ect + ect1 + ect0 + ce))
	done
	atf_check_equal 800 "$(counter forwarded)"
	atf_check_equal 0 "$(counter dropped)"
}

l4s_test marks_ect1 "ECT(1) above the rate is marked, with a good checksum"
marks_ect1_run()
{
	blast 1 3000 10000
	above "$ce" 0 "CE"
	atf_check_equal 0 $((not_ect + ect0))
	above "$(($(counter marks_native) + $(counter marks_coupled)))" 0 \
	    "L4S marks"
	atf_check -o match:"^0 bad header checksums" -x \
	    "jexec $R netstat -s -p ip | sed 's/^[[:space:]]*//'"
}

l4s_test marks_ipv6 "The same over IPv6"
marks_ipv6_run()
{
	blast 1 3000 10000 $RIGHT6
	above "$ce" 0 "CE"
	atf_check_equal 0 $((not_ect + ect0))
}

l4s_test marks_ect0 "ECT(0) above the rate is marked by the classic queue"
marks_ect0_run()
{
	blast 2 3000 10000
	above "$ce" 0 "CE"
	above "$(counter marks_classic)" 0 "classic marks"
}

l4s_test drops_not_ect "Not-ECT above the rate is dropped and never marked"
drops_not_ect_run()
{
	blast 0 3000 10000
	atf_check_equal 0 $((ect1 + ect0 + ce))
	above "$(counter drops_base)" 0 "drops"
	atf_check_equal "$not_ect" "$(counter forwarded)"
}

l4s_test override_once "once: exactly one packet is marked"
override_once_run()
{
	patient
	blast 1 1 2000
	jexec "$M" "$tools/l4sdev" override 1 once mark 1 8 &
	until [ "$(counter overrides_waiting)" = 1 ]; do :; done
	blast 1 100 2000
	atf_check_equal 1 "$(counter marks_override)"
	atf_check_equal 1 "$ce"
	atf_check_equal 1 "$(counter overrides_applied)"
	wait
}

l4s_test override_hold "hold: the requested number of packets"
override_hold_run()
{
	patient
	blast 1 1 2000
	jexec "$M" "$tools/l4sdev" override 1 hold mark 20 8 &
	until [ "$(counter overrides_waiting)" = 1 ]; do :; done
	blast 1 100 2000
	atf_check_equal 20 "$(counter marks_override)"
	atf_check_equal 20 "$ce"
	wait
}

l4s_test override_not_ect "A mark on Not-ECT is refused"
override_not_ect_run()
{
	blast 0 1 2000
	jexec "$M" "$tools/l4sdev" override 1 hold mark 20 8 &
	until [ "$(counter overrides_waiting)" = 1 ]; do :; done
	blast 0 100 2000
	atf_check_equal 0 "$ce"
	atf_check_equal 100 "$not_ect"
	atf_check_equal 20 "$(counter refused_not_ect)"
	wait
}

l4s_test override_drop_share "Drops stay within their share"
override_drop_share_run()
{
	jexec "$M" sysctl -q net.inet.l4sllm.limits.drop_share=655
	blast 1 1000 4000
	jexec "$M" "$tools/l4sdev" override 1 hold drop 1000 15 &
	until [ "$(counter overrides_waiting)" = 1 ]; do :; done
	blast 1 1000 4000
	above "$(counter drops_override)" 0 "override drops"
	above 100 "$(counter drops_override)" "room below 5 percent"
	above "$(counter refused_drop_share)" 0 "refusals"
	wait
}

l4s_test override_mark_share "Marks beyond DualPI2's stay within their share"
override_mark_share_run()
{
	patient
	jexec "$M" sysctl -q net.inet.l4sllm.limits.mark_share=655
	blast 1 1 2000
	jexec "$M" "$tools/l4sdev" override 1 hold mark 1000 8 &
	until [ "$(counter overrides_waiting)" = 1 ]; do :; done
	blast 1 1000 2000
	above "$(counter marks_override)" 0 "override marks"
	above 100 "$(counter marks_override)" "64 and a hundredth"
	above "$(counter refused_mark_share)" 0 "refusals"
	wait
}

l4s_test override_ends_with_close "An override ends when its controller closes the device"
override_ends_with_close_run()
{
	patient
	blast 1 1 2000
	jexec "$M" "$tools/l4sdev" override 1 hold mark 1000 1
	atf_check_equal base "$(jexec "$M" sysctl -n net.inet.l4sllm.state)"
	blast 1 100 2000
	atf_check_equal 0 "$ce"
}

l4s_test override_steer "steer: in effect until it expires"
override_steer_run()
{
	blast 1 1 2000
	jexec "$M" "$tools/l4sdev" steer 1 0.5 6 &
	until [ "$(counter overrides_waiting)" = 1 ]; do :; done
	jexec "$M" "$tools/l4sdev" records 5 reason=3 >steered &
	records=$!
	blast 1 100 2000
	wait $records
	above "$(cat steered)" 0 "steered decisions"
	wait
	jexec "$M" "$tools/l4sdev" records 5 reason=3 >steered &
	records=$!
	blast 1 100 2000
	wait $records
	atf_check_equal 0 "$(cat steered)"
}

l4s_test watchdog "A silent controller misses its deadline"
watchdog_run()
{
	jexec "$M" sysctl -q net.inet.l4sllm.limits.watchdog=500000 \
	    net.inet.l4sllm.limits.mark_share=65536
	blast 1 1 2000
	jexec "$M" "$tools/l4sdev" override 1 hold mark 1000 10 &
	until [ "$(counter overrides_waiting)" = 1 ]; do :; done
	blast 1 500 1000
	above "$(counter watchdog_misses)" 0 "misses"
	atf_check_equal watchdog "$(jexec "$M" sysctl -n net.inet.l4sllm.state)"
	above "$ect1" 0 "unmarked packets after the deadline"
	wait
}

l4s_test records "One record per decision, in the right queue"
records_run()
{
	patient
	jexec "$M" "$tools/l4sdev" records 6 queue=1 ecn=1 >l4s &
	first=$!
	jexec "$M" "$tools/l4sdev" records 6 queue=0 >classic &
	second=$!
	blast 1 300 2000
	wait $first $second
	atf_check_equal 300 "$(cat l4s)"
	atf_check_equal 0 "$(cat classic)"
}

l4s_test reconfigure "Reconfiguration under traffic"
reconfigure_run()
{
	blast 1 8000 10000 &
	traffic=$!
	while kill -0 $traffic 2>/dev/null; do
		for bw in 4Mbit/s 8Mbit/s; do
			jexec "$M" ipfw pipe 1 config bw $bw
			jexec "$M" sysctl -q \
			    net.inet.ip.dummynet.dualpi2.profile=tuned \
			    net.inet.ip.dummynet.dualpi2.limit=50
			jexec "$M" sysctl -q \
			    net.inet.ip.dummynet.dualpi2.profile=default
		done
	done
	wait $traffic
	above "$(counter forwarded)" 0 "forwarded"
}

# The scheduler is deleted and recreated.
recreate()
{
	# dummynet has no `sched delete'; deleting the pipe deletes it too.
	jexec "$M" ipfw pipe 1 delete
	jexec "$M" ipfw pipe 1 config bw 8Mbit/s
	jexec "$M" ipfw sched 1 config pipe 1 type fifo
	jexec "$M" ipfw sched 1 config pipe 1 type dualpi2
	jexec "$M" ipfw queue 1 config sched 1
}

l4s_test late_override "A stale override does not reach a new scheduler"
late_override_run()
{
	patient
	blast 1 1 2000
	recreate
	blast 1 1 2000
	atf_check -s exit:1 -e match:"L4S_IOC_OVERRIDE: No such" \
	    jexec "$M" "$tools/l4sdev" override 1.0 hold mark 20 1
	jexec "$M" "$tools/l4sdev" override 1.1 hold mark 20 8 &
	until [ "$(counter overrides_waiting)" = 1 ]; do :; done
	blast 1 100 2000
	atf_check_equal 20 "$ce"
	wait
}

l4s_test delete "Deleting and recreating the scheduler under traffic"
delete_run()
{
	blast 1 8000 10000 &
	traffic=$!
	while kill -0 $traffic 2>/dev/null; do
		recreate
	done
	wait $traffic
	before=$(counter packets_in)
	blast 1 100 2000
	above "$(counter packets_in)" $((before + 99)) \
	    "packets after the last deletion"
}

l4s_test dropped_with_scheduler "Packets queued in a deleted scheduler are counted"
dropped_with_scheduler_run()
{
	jexec "$M" ipfw pipe 1 config bw 64Kbit/s
	# 10 is L4S_REASON_FLUSH.
	jexec "$M" "$tools/l4sdev" records 4 reason=10 action=1 >flushed &
	reader=$!
	until jexec "$M" fstat -p $reader | grep -q l4sllm; do
		kill -0 $reader || atf_fail "no reader"
	done
	jexec "$L" "$tools/blast" send $RIGHT4 $PORT 0 1200 100 5000
	above "$(counter queued)" 10 "packets waiting"
	jexec "$M" ipfw pipe 1 delete
	atf_check_equal 0 "$(counter queued)"
	atf_check_equal 0 "$(counter queued_bytes)"
	above "$(counter drops_flush)" 10 "packets dropped with the scheduler"
	atf_check_equal "$(counter drops_flush)" \
	    "$(counter classic.drops_flush)"
	atf_check_equal 100 "$(counter packets_in)"
	wait $reader
	atf_check_equal "$(counter drops_flush)" "$(cat flushed)"
}

# All monotonic counters of the router, as NAME=VALUE.
growing()
{
	jexec "$M" sysctl -e net.inet.l4sllm.stats |
	    grep -v -e queued= -e queued_bytes= -e waiting= -e delay_ns= \
	    -e probability= -e credit= -e overload= -e delays=
}

l4s_test totals "No counter decreases when a scheduler is deleted"
totals_run()
{
	blast 1 500 10000
	blast 0 500 10000
	for i in 1 2 3; do
		growing >before
		above "$(wc -l <before)" 50 "counters"
		recreate
		growing >after
		while IFS='=' read -r name value; do
			now=$(sed -n "s/^$name=//p" after)
			[ "$now" -ge "$value" ] ||
				atf_fail "$name fell from $value to $now"
		done <before
		blast 1 100 2000
	done
	atf_check_equal 1300 "$(counter packets_in)"
}

l4s_test instances "Several instances by mask"
instances_run()
{
	jexec "$M" ipfw sched 1 config pipe 1 type dualpi2 \
	    mask dst-port 0xffff
	for port in 5001 5002 5003; do
		jexec "$L" "$tools/blast" send $RIGHT4 $port 1 1200 200 3000
	done
	for port in 5001 5002 5003; do
		PORT=$port
		blast 1 100 3000
		above "$((ect1 + ce))" 0 "arrivals at port $port"
	done
}

l4s_test receiver_gone "An interface that is destroyed while packets are queued"
receiver_gone_run()
{
	[ "$(sysctl -n kern.osreldate)" -ge 1400000 ] ||
		atf_skip "before 14 dummynet keeps pointers to interfaces"
	jexec "$M" ipfw pipe 1 config bw 100Kbit/s
	jexec "$L" "$tools/blast" send $RIGHT4 $PORT 1 1200 100 5000
	in=$(jexec "$M" ifconfig -l | tr ' ' '\n' | grep 'epair.*b$')
	ifconfig "$in" -vnet "$M"
	ifconfig "$in" destroy
	sed -i '' "/^${in%b}a\$/d" epairs
	# Waiting packets are freed with their interface, and the queue drains.
	until [ "$(counter queued)" = 0 ]; do :; done
}

atf_test_case two_vnets cleanup
two_vnets_head()
{
	atf_set descr "Two routers at once share nothing"
	atf_set require.user root
}
two_vnets_body()
{
	topology_up 1
	bottleneck 8Mbit/s
	first=$M
	blast 1 100 2000
	# The same addresses again, in different networks.
	topology_up 2
	bottleneck 8Mbit/s
	jexec "$M" sysctl -q net.inet.ip.dummynet.dualpi2.target=5000
	atf_check_equal 15000 \
	    "$(jexec "$first" sysctl -n net.inet.ip.dummynet.dualpi2.target)"
	atf_check_equal 0 "$(counter packets_in)"
	blast 1 50 2000
	atf_check_equal 50 "$(counter packets_in)"
	atf_check_equal 100 \
	    "$(jexec "$first" sysctl -n net.inet.l4sllm.stats.packets_in)"
	accounts
	# One is destroyed with its queue full and a reader waiting; the other
	# stays.
	jexec "$first" "$tools/l4sdev" records 60 >/dev/null 2>&1 &
	jail -r "$first"
	sed -i '' "/^$first\$/d" jails
	blast 1 50 2000
	atf_check_equal 100 "$(counter packets_in)"
}
two_vnets_cleanup()
{
	topology_down
}

atf_init_test_cases()
{
	for t in $tests two_vnets; do
		atf_add_test_case "$t"
	done
}
