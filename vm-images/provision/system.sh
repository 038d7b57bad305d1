#!/bin/sh
# Settings that all four machines share.
set -eu
build=/root/build

# Services; roles add theirs in rc.conf.local.
sysrc sshd_enable=YES ntpd_enable=YES ntpd_sync_on_start=YES dumpdev=AUTO \
    sendmail_enable=NONE l4sllm_role_enable=YES

# A tick of 10 ms, the default of virtual machines, exceeds the delay intended
# for L4S traffic.  A router without rules must forward.
cat >>/boot/loader.conf <<END
kern.hz=1000
net.inet.ip.fw.default_to_accept=1
autoboot_delay=2
END

install -d /usr/local/etc/l4sllm /usr/local/libexec/l4sllm /usr/local/etc/rc.d
install -m 644 $build/testbed.conf /usr/local/etc/l4sllm/testbed.conf
install -m 755 $build/files/role /usr/local/libexec/l4sllm/role
install -m 755 $build/files/l4sllm_role $build/files/l4sllm_iperf3 \
    /usr/local/etc/rc.d/
