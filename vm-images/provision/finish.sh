#!/bin/sh
# Prepares the machine for use as an image: root logs in only with the given
# key, and everything that must differ between machines is created on the first
# boot.  Run last, before the shutdown.
set -eu

install -d -m 700 /root/.ssh
install -m 600 /root/build/authorized_keys /root/.ssh/authorized_keys
sed -i '' '/^PermitRootLogin yes$/d' /etc/ssh/sshd_config
cat >>/etc/ssh/sshd_config <<END
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
END
pw usermod root -h -

# No role and no name are set: see rc.d/l4sllm_role.
sysrc -x hostname
rm -rf /var/db/l4sllm/role /etc/rc.conf.local /etc/sysctl.conf.local
rm -f /etc/ssh/ssh_host_* /etc/hostid /etc/machine-id /var/db/dhclient.leases.*
rm -rf /root/build /root/.cargo /var/log/*.log.*

# Blocks of zeros are not stored in the image.
dd if=/dev/zero of=/zero bs=1m 2>/dev/null || :
rm -f /zero
rm -f /root/finish
sync
