#!/bin/busybox sh
# The guest's first process: mounts the program and the data, runs the server, and waits to lose its power.
/bin/busybox --install -s /bin
mkdir -p /proc /sys /dev /tmp /program /data
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mount -t tmpfs tmp /tmp
# Modules need each other; a pass over all of them loads at least those whose needs are there.
for pass in 1 2 3 4; do
    for module in /modules/*.ko; do insmod "$module" 2>/dev/null; done
done
for try in 1 2 3 4 5 6 7 8 9 10; do [ -b /dev/vdb ] && break; sleep 0.3; done
mount -t ext4 -o ro /dev/vda /program || { echo "GUEST: no program disk"; poweroff -f; }
# Replays the journal of the file system, as after any power cut.
mount -t ext4 /dev/vdb /data || { echo "GUEST: no data disk"; poweroff -f; }
ip link set lo up
ip link set eth0 up
ip addr add 10.0.2.15/24 dev eth0
echo "GUEST: serving"
/program/lib/ld.so --library-path /program/lib /program/headwater serve --data-dir /data/headwater \
    --ilp-addr 0.0.0.0:9009 --http-addr 0.0.0.0:9000
echo "GUEST: the server ended with $?"
poweroff -f
