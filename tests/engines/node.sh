# The first process of a node: called as `sh node.sh NAME DIRECTORY CGROUPS`, in new mount, PID,
# network, UTS and IPC namespaces and a new cgroup namespace at the cgroup NAME of every tree. It
# gives the engines the directories that they expect and ends up as something that only waits.
# CGROUPS has a line for each tree: where it is mounted, its type, its options.
set -e
name=$1 directory=$2 cgroups=$3

mount --make-rprivate /
# Volatile: sockets, locks, network namespaces, and the runtimes' state.
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p /run/lock /run/netns
for kept in containers docker containerd cni; do
    mkdir -p "$directory/lib/$kept" "/var/lib/$kept"
    mount --bind "$directory/lib/$kept" "/var/lib/$kept"
done
for file in subuid subgid; do
    mount --bind "$directory/$file" "/etc/$file"
done

# Whoever looks for an image elsewhere is refused at once.
echo 'nameserver 127.0.0.1' >"$directory/resolv.conf"
[ ! -e /etc/resolv.conf ] || mount --bind "$directory/resolv.conf" /etc/resolv.conf

# sysfs of the new network namespace, and the cgroup trees as this cgroup namespace sees them.
umount -R /sys/fs/cgroup
umount -R /sys
mount -t sysfs sysfs /sys
if [ "$(echo "$cgroups" | wc -l)" -gt 1 ]; then
    mount -t tmpfs -o mode=755 tmpfs /sys/fs/cgroup
fi
echo "$cgroups" | while read -r point type options; do
    mkdir -p "$point"
    case $type in
        cgroup2) mount -t cgroup2 cgroup2 "$point" ;;
        *) mount -t cgroup -o "$options" cgroup "$point" ;;
    esac
done

# slirp4netns of an ordinary user makes its device with it.
mknod -m 666 "$directory/tun" c 10 200
[ ! -e /dev/net/tun ] || mount --bind "$directory/tun" /dev/net/tun

# As an init system leaves it; peers are in this node only.
mount --make-rshared /

ip link set lo up
hostname "$name"
# Says to who started it that the rest may come.
touch "$directory/ready"
# Waiting reaps whoever is left to it.
sleep infinity &
wait
