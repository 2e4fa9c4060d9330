#!/usr/bin/env bash
# prepare.sh DIR: makes what a virtual machine needs that is going to lose its power, and prints the path of QEMU.
#
# DIR/vmlinuz and DIR/modules/*.ko come from Debian's cloud kernel, DIR/busybox from its static busybox: both are downloaded and
# unpacked, not installed. QEMU itself is taken from the PATH; where it is missing and we are root, apt-get installs it.
set -euo pipefail
dir=${1:?usage: prepare.sh DIR}
fail() { echo "prepare.sh: $*" >&2; exit 1; }
[ "$(uname -m)" = x86_64 ] || fail "the guest is an x86-64 machine and runs the host's binary; this is $(uname -m)"
command -v mkfs.ext4 >/dev/null || fail "mkfs.ext4 is missing (Debian: e2fsprogs)"
mkdir -p "$dir"

updated=
apt() {
    command -v apt-get >/dev/null || fail "no apt-get here, and $* is needed"
    timeout 600 apt-get -qq "$@" >&2 && return
    [ -z "$updated" ] || fail "apt-get $* failed"
    timeout 300 apt-get -qq update >&2 || true
    updated=yes
    timeout 600 apt-get -qq "$@" >&2 || fail "apt-get $* failed"
}

if ! command -v qemu-system-x86_64 >/dev/null; then
    [ "$(id -u)" = 0 ] || fail "qemu-system-x86_64 is missing (Debian: qemu-system-x86)"
    DEBIAN_FRONTEND=noninteractive apt install -y --no-install-recommends qemu-system-x86
fi

unpack() { # PACKAGE DIR
    local work
    work=$(mktemp -d)
    (cd "$work" && apt download "$1")
    dpkg-deb -x "$work"/*.deb "$2"
    rm -rf "$work"
}

if [ ! -x "$dir/busybox" ]; then
    unpack busybox-static "$dir/busybox-package"
    mv "$dir/busybox-package/bin/busybox" "$dir/busybox" 2>/dev/null || mv "$dir/busybox-package/usr/bin/busybox" "$dir/busybox"
    rm -rf "$dir/busybox-package"
fi

if [ ! -e "$dir/vmlinuz" ]; then
    kernel() { apt-cache depends linux-image-cloud-amd64 2>/dev/null | sed -n 's/.*Depends: \(linux-image-[0-9][^ ]*\)$/\1/p' | head -1; }
    package=$(kernel)
    [ -n "$package" ] || { timeout 300 apt-get -qq update >&2 || true; package=$(kernel); }
    [ -n "$package" ] || fail "apt-get knows no linux-image-cloud-amd64"
    unpack "$package" "$dir/kernel"
    mkdir -p "$dir/modules"
    # A disk and a network; ext4 is built in. Whatever these need is among them.
    for module in virtio virtio_ring virtio_pci_modern_dev virtio_pci_legacy_dev virtio_pci virtio_blk failover net_failover virtio_net; do
        find "$dir/kernel" -name "$module.ko" -exec cp {} "$dir/modules/" \;
    done
    mv "$dir"/kernel/boot/vmlinuz-* "$dir/vmlinuz"
    rm -rf "$dir/kernel"
fi
command -v qemu-system-x86_64
