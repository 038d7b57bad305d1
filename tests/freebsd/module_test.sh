#! /usr/libexec/atf-sh
#
# SPDX-License-Identifier: BSD-2-Clause
#
# Copyright (c) 2026 The l4sllm authors

# Loading, unloading and sysctls, on the host itself.

dualpi2=net.inet.ip.dummynet.dualpi2

module()
{
	atf_config_get module
}

atf_test_case reload cleanup
reload_head()
{
	atf_set descr "Loads and unloads a thousand times without a leak"
	atf_set require.user root
	atf_set require.config module
	atf_set timeout 900
}
reload_body()
{
	kldunload dualpi2_llm || atf_fail "in use, or not loaded"
	before=$(vmstat -m | awk '{n += $2} END {print n}')
	i=0
	while [ $i -lt 1000 ]; do
		kldload "$(module)" || atf_fail "load $i"
		kldunload dualpi2_llm || atf_fail "unload $i"
		i=$((i + 1))
	done
	after=$(vmstat -m | awk '{n += $2} END {print n}')
	# A leak of one allocation per cycle would add up to a thousand.
	[ $((after - before)) -lt 500 ] ||
		atf_fail "allocations: $before before, $after after"
}
reload_cleanup()
{
	kldstat -q -m dualpi2_llm || kldload "$(module)"
}

atf_test_case busy_scheduler cleanup
busy_scheduler_head()
{
	atf_set descr "EBUSY while a scheduler is configured"
	atf_set require.user root
}
busy_scheduler_body()
{
	atf_check -o ignore -e ignore ipfw sched 4711 config type dualpi2
	atf_check -s not-exit:0 -e match:busy kldunload dualpi2_llm
	atf_check -s not-exit:0 -e match:busy kldunload -f dualpi2_llm
	atf_check -o ignore -e ignore ipfw pipe 4711 delete
	atf_check kldunload dualpi2_llm
}
busy_scheduler_cleanup()
{
	ipfw pipe 4711 delete 2>/dev/null
	kldstat -q -m dualpi2_llm || kldload "$(module)"
}

atf_test_case busy_descriptor cleanup
busy_descriptor_head()
{
	atf_set descr "EBUSY while the device is open"
	atf_set require.user root
}
busy_descriptor_body()
{
	exec 9</dev/l4sllm
	atf_check -s not-exit:0 -e match:busy kldunload dualpi2_llm
	exec 9<&-
	atf_check kldunload dualpi2_llm
	[ ! -e /dev/l4sllm ] || atf_fail "the device is still there"
}
busy_descriptor_cleanup()
{
	kldstat -q -m dualpi2_llm || kldload "$(module)"
}

# refused NAME VALUE...
refused()
{
	name=$1
	shift
	before=$(sysctl -n "$name")
	for value; do
		atf_check -s not-exit:0 -o ignore -e match:"Invalid argument" \
		    sysctl "$name=$value"
	done
	atf_check_equal "$before" "$(sysctl -n "$name")"
}

atf_test_case sysctls cleanup
sysctls_head()
{
	atf_set descr "Values out of range are EINVAL and change nothing"
	atf_set require.user root
}
sysctls_body()
{
	refused $dualpi2.target 0 5000001 18446744073709551615
	refused $dualpi2.tupdate 99 1000001
	refused $dualpi2.coupling 255 65536
	refused $dualpi2.limit 0 1048577
	refused $dualpi2.classic_weight 101 256 266
	refused $dualpi2.ecn 2 256
	refused $dualpi2.l4s_ecn 0 2 4
	refused $dualpi2.overflow 2
	refused $dualpi2.flow_weights 2
	refused $dualpi2.limit_bytes 1499
	refused $dualpi2.typical_rtt 99 1000001
	refused $dualpi2.max_rtt 10000001
	refused $dualpi2.profile rfc ""
	refused net.inet.l4sllm.limits.drop_share 65537
	refused net.inet.l4sllm.limits.mark_share 65537
	refused net.inet.l4sllm.limits.factor_min 0 65537
	refused net.inet.l4sllm.limits.factor_max 65535
	refused net.inet.l4sllm.limits.gain_min 0 65537
	refused net.inet.l4sllm.limits.gain_max 65535
	refused net.inet.l4sllm.interval 65537
	refused net.inet.l4sllm.period 60001
	refused net.inet.l4sllm.idle_budget 999
	refused net.inet.l4sllm.idle_budget 20001
	refused net.inet.l4sllm.mode twice
	refused net.inet.l4sllm.engine fuzzy
	atf_check -o ignore sysctl net.inet.l4sllm.engine=adaptive
	atf_check_equal adaptive "$(sysctl -n net.inet.l4sllm.engine)"
	atf_check -o ignore sysctl net.inet.l4sllm.engine=config
	for profile in tuned paper default; do
		atf_check -o ignore sysctl $dualpi2.profile=$profile
		atf_check_equal $profile "$(sysctl -n $dualpi2.profile)"
	done
	atf_check -o ignore sysctl $dualpi2.target=9999
	atf_check_equal custom "$(sysctl -n $dualpi2.profile)"
	# Each has a description.
	for name in $(sysctl -N net.inet.l4sllm $dualpi2); do
		atf_check -o match:": ." sysctl -d "$name"
	done
}
sysctls_cleanup()
{
	sysctl -q $dualpi2.profile=default
}

atf_init_test_cases()
{
	atf_add_test_case reload
	atf_add_test_case busy_scheduler
	atf_add_test_case busy_descriptor
	atf_add_test_case sysctls
}
