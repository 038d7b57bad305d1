#!/bin/sh
# Installs iperf3 from FreeBSD's packages, and the module and the daemon from
# packages built here from packaging/ports for this kernel; the built packages
# are kept.
#   BUILDER=qemu|virtualbox-iso|vmware-iso
set -eu
build=/root/build
packages=/var/db/l4sllm/packages
export ASSUME_ALWAYS_YES=yes BATCH=yes PACKAGES=$packages

pkg bootstrap -f
pkg install iperf3 rust
# VMware's tools report a machine's address.
if [ "$BUILDER" = vmware-iso ]; then
	pkg install open-vm-tools-nox11
	sysrc vmware_guestd_enable=YES
fi

install -d $packages /usr/ports/distfiles
cp $build/l4sllm-*.tar.gz /usr/ports/distfiles/
cp -R $build/ports/net/* /usr/ports/net/
cat $build/ports/UIDs >>/usr/ports/UIDs
cat $build/ports/GIDs >>/usr/ports/GIDs

make -C /usr/ports/net/dualpi2_llm-kmod package
pkg add $packages/All/dualpi2_llm-kmod-*.pkg
# The crates' checksums are added to that of the tarball.
make -C /usr/ports/net/l4sllmd makesum package
pkg add $packages/All/l4sllmd-*.pkg
cp -n /usr/local/etc/l4sllmd.toml.sample /usr/local/etc/l4sllmd.toml || :

# The module loads into this kernel, and the daemon accepts its configuration.
kldload dualpi2_llm
sysctl net.inet.l4sllm.release
l4sllmd --check -c /usr/local/etc/l4sllmd.toml
iperf3 --version
kldunload dualpi2_llm

pkg delete rust
pkg autoremove
pkg clean -a
rm -rf /usr/ports /usr/src
