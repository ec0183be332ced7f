#!/bin/bash
# Makes the files beside it: runs each engine with a stand-in for the runtime, which keeps the
# config.json of the bundle that it is given and fails.
#
# Everything happens in mount, network and process namespaces that go when it ends, and in a file
# system in memory. As root on Debian bookworm, with the packages that README.md names; where
# docker.io and rootlesskit are unpacked rather than installed, $UNPACKED is the directory.
set -eu

if [ "${1-}" != inside ]; then
    # Some engines copy their environment into hooks.
    cd "$(dirname "$0")" && data=$PWD
    exec env -i -C / PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root \
        unshare --mount --net --pid --fork --kill-child --mount-proc --propagation private \
        bash "$data/make.sh" inside "$data" "${UNPACKED-}"
fi
data=$2
unpacked=$3
user=coracle-test
scratch=/tmp/engines
ip link set lo up

# What engines write outside their own directories is written to memory.
for directory in /etc /var/lib; do
    upper=$(mktemp -d /dev/shm/engines.XXXXXX)
    mount -t tmpfs upper "$upper"
    mkdir "$upper/upper" "$upper/work"
    mount -t overlay overlay -o "lowerdir=$directory,upperdir=$upper/upper,workdir=$upper/work" "$directory"
    umount --lazy "$upper" && rmdir "$upper"
done
mount -t tmpfs run /run
mount -t tmpfs shm /dev/shm
mkdir -p "$scratch" && mount -t tmpfs -o mode=755 scratch "$scratch"
finish() {
    install -m 644 "$scratch"/kept/*.json "$data"
    umount -l "$scratch" && rmdir "$scratch"
    # The cgroups that the engines made for theirs.
    rmdir /sys/fs/cgroup/*/{libpod_parent,docker,default} 2>/dev/null || true
}
trap finish EXIT
export TMPDIR="$scratch/user"
mkdir -m 1777 "$scratch/kept" "$scratch/user"

cat >"$scratch/runtime" <<'RUNTIME'
#!/bin/sh
# The bundle is --bundle's, or the working directory.
bundle=. verb=
previous=
for word; do
    case $previous in -b|--bundle) bundle=$word ;; esac
    case $word in --bundle=*) bundle=${word#*=} ;; create|run) verb=$word ;; esac
    previous=$word
done
if [ "$verb" ]; then
    cp "$bundle/config.json" "/tmp/engines/kept/$(cat /tmp/engines/name).json"
    echo "kept" >&2
    exit 1
fi
exec /usr/sbin/runc "$@"
RUNTIME
chmod 755 "$scratch/runtime"
mkdir "$scratch/bin"
if [ "$unpacked" ]; then ln -s "$unpacked"/usr/{bin,sbin}/* "$scratch/bin"; fi
# By its default name, too: ctr forgets --runc-binary when IDs are mapped.
ln -s ../runtime "$scratch/bin/runc"

# A root file system, a volume, and what a toolkit for GPUs brings: nodes, a library, a hook.
mkdir -p "$scratch/image/bin" "$scratch/image/etc" "$scratch/volume" "$scratch/gpu" "$scratch/hooks.d"
cp /bin/busybox "$scratch/image/bin/busybox"
ln -s busybox "$scratch/image/bin/sh"
printf 'root:x:0:0:root:/root:/bin/sh\n' >"$scratch/image/etc/passwd"
tar -C "$scratch/image" -cf "$scratch/image.tar" .
echo library >"$scratch/gpu/libcuda.so.1"
for tool in nvidia-container-runtime-hook nvidia-container-cli nvidia-ctk; do
    printf '#!/bin/sh\nexit 0\n' >"$scratch/gpu/$tool"
done
chmod 755 "$scratch/gpu"/*
PATH="$scratch/bin:$PATH:$scratch/gpu"
mkdir -p /etc/cdi
cat >/etc/cdi/nvidia.json <<'CDI'
{
  "cdiVersion": "0.3.0",
  "kind": "nvidia.com/gpu",
  "devices": [{"name": "0", "containerEdits": {"deviceNodes": [{"path": "/dev/nvidia0", "type": "c", "major": 195, "minor": 0}]}}],
  "containerEdits": {
    "env": ["NVIDIA_VISIBLE_DEVICES=void"],
    "deviceNodes": [{"path": "/dev/nvidiactl", "type": "c", "major": 195, "minor": 255}],
    "mounts": [{
      "hostPath": "/tmp/engines/gpu/libcuda.so.1",
      "containerPath": "/usr/lib/libcuda.so.1",
      "options": ["ro", "nosuid", "nodev", "bind"]
    }],
    "hooks": [{
      "hookName": "createContainer",
      "path": "/tmp/engines/gpu/nvidia-ctk",
      "args": ["nvidia-ctk", "hook", "update-ldcache", "--folder", "/usr/lib"]
    }]
  }
}
CDI
cat >"$scratch/hooks.d/nvidia.json" <<'HOOK'
{
  "version": "1.0.0",
  "hook": {
    "path": "/tmp/engines/gpu/nvidia-container-runtime-hook",
    "args": ["nvidia-container-runtime-hook", "prestart"],
    "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]
  },
  "when": {"always": true},
  "stages": ["prestart"]
}
HOOK

# keep NAME COMMAND...: what the engine makes of the command is kept as NAME.json.
keep() {
    echo "$1" >"$scratch/name"
    chmod 666 "$scratch/name"
    shift
    "$@" </dev/null >"$scratch/said" 2>&1 || true
    if [ ! -s "$scratch/kept/$(cat "$scratch/name").json" ]; then
        echo "$(cat "$scratch/name"): nothing was kept" && cat "$scratch/said"
    fi
}

as_user=(setpriv --reuid "$user" --regid "$user" --clear-groups
    env "HOME=$scratch/user/home" "XDG_RUNTIME_DIR=$scratch/user/xdg" "USER=$user")
install -d -m 700 -o "$user" -g "$user" "$scratch/user/home" "$scratch/user/xdg"

limits=(--memory 64m --cpus 0.5 --pids-limit 100)
options=(--env KEY=value --volume "$scratch/volume:/data:ro")

podman_in() {
    podman=(podman --root "$1/storage" --runroot "$1/run" --tmpdir "$1/tmp"
        --storage-driver "$2" --cgroup-manager cgroupfs --runtime "$scratch/runtime")
}
podman_in "$scratch/podman" overlay
"${podman[@]}" import "$scratch/image.tar" mini >/dev/null 2>&1
keep podman-plain "${podman[@]}" run --rm "${limits[@]}" "${options[@]}" localhost/mini sh -c true
keep podman-privileged "${podman[@]}" run --rm --privileged "${options[@]}" localhost/mini sh -c true
keep podman-read-only "${podman[@]}" run --rm --read-only --user 1000:1000 --cap-drop all localhost/mini sh -c true
keep podman-user-namespace "${podman[@]}" run --rm --uidmap 0:100000:65536 --gidmap 0:100000:65536 localhost/mini sh -c true
keep podman-gpu "${podman[@]}" --hooks-dir "$scratch/hooks.d" run --rm --device nvidia.com/gpu=0 localhost/mini sh -c true
podman_in "$scratch/user/home/podman" vfs
"${as_user[@]}" "${podman[@]}" import "$scratch/image.tar" mini
keep podman-rootless "${as_user[@]}" "${podman[@]}" run --rm --network none localhost/mini sh -c true

# buildah has neither privileged nor read-only containers.
buildah_in() {
    buildah=(buildah --root "$1/storage" --runroot "$1/run" --storage-driver "$2")
    build=("${buildah[@]}" bud --no-cache --isolation oci --runtime "$scratch/runtime")
}
mkdir "$scratch/build"
cp "$scratch/image.tar" "$scratch/build"
printf 'FROM scratch\nADD image.tar /\nENV KEY=value\nRUN true\n' >"$scratch/build/Dockerfile"
buildah_in "$scratch/buildah" overlay
keep buildah-plain "${build[@]}" --memory 64m "$scratch/build"
keep buildah-user-namespace "${build[@]}" --userns-uid-map 0:100000:65536 --userns-gid-map 0:100000:65536 "$scratch/build"
keep buildah-gpu "${build[@]}" --device /dev/fuse --hooks-dir "$scratch/hooks.d" --volume "$scratch/gpu:/usr/lib/gpu:ro" "$scratch/build"
buildah_in "$scratch/user/home/buildah" vfs
keep buildah-rootless "${as_user[@]}" "${build[@]}" --network none "$scratch/build"

# serve NAME CHECK DAEMON...: runs a daemon that is up when the function CHECK succeeds.
serve() {
    name=$1 check=$2
    shift 2
    "$@" >"$scratch/$name.log" 2>&1 &
    daemon=$!
    for attempt in $(seq 100); do
        if "$check" >/dev/null 2>&1; then return; fi
        sleep 0.2
    done
    echo "$name does not answer" && cat "$scratch/$name.log" && exit 1
}
stop() {
    kill "$daemon" && wait "$daemon" || true
}
rootless=("${as_user[@]}" rootlesskit --net host --copy-up /etc --copy-up /run
    --state-dir "$scratch/user/home/rootlesskit")
joined() {
    "${as_user[@]}" nsenter --user --preserve-credentials --mount \
        --target "$(cat "$scratch/user/home/rootlesskit/child_pid")" "$@"
}

containerd_in() {
    mkdir "$1" && cat >"$1/config.toml" <<CONFIG
version = 2
root = "$1/root"
state = "$1/state"
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
address = "$1/containerd.sock"
CONFIG
    chown -R "$2" "$1"
    containerd=(containerd --config "$1/config.toml")
    ctr=(ctr --address "$1/containerd.sock")
}
image=localhost/mini:latest
podman_in "$scratch/podman" overlay
"${podman[@]}" save --format oci-archive -o "$scratch/kept/mini.oci" localhost/mini >/dev/null 2>&1
answers() { "${ctr[@]}" version; }
containerd_in "$scratch/containerd" root
serve containerd answers "${containerd[@]}"
"${ctr[@]}" images import "$scratch/kept/mini.oci" >/dev/null
keep containerd-plain "${ctr[@]}" run --rm --seccomp --memory-limit 67108864 --env KEY=value \
    --mount "type=bind,src=$scratch/volume,dst=/data,options=rbind:ro" "$image" plain sh -c true
keep containerd-privileged "${ctr[@]}" run --rm --privileged "$image" privileged sh -c true
keep containerd-read-only "${ctr[@]}" run --rm --read-only "$image" read-only sh -c true
keep containerd-user-namespace "${ctr[@]}" run --rm --uidmap 0:100000:65536 --gidmap 0:100000:65536 \
    "$image" user sh -c true
keep containerd-gpu "${ctr[@]}" run --rm --gpus 0 --device /dev/fuse "$image" gpu sh -c true
stop
rm -rf /run/containerd
answers() { joined "${ctr[@]}" version; }
containerd_in "$scratch/user/home/containerd" "$user"
serve containerd-rootless answers "${rootless[@]}" "${containerd[@]}"
joined "${ctr[@]}" images import --snapshotter native "$scratch/kept/mini.oci" >/dev/null
keep containerd-rootless joined "${ctr[@]}" run --rm --snapshotter native --fifo-dir "$scratch/user/fifo" --cgroup "" "$image" rootless sh -c true
stop

# docker: the same, and a daemon that maps IDs.
dockerd_in() {
    dockerd=(dockerd --data-root "$1/data" --exec-root "$1/exec" --pidfile "$1/pid" --host "unix://$1/socket"
        --add-runtime "keep=$scratch/runtime" --default-runtime keep --exec-opt native.cgroupdriver=cgroupfs)
    docker=(docker --host "unix://$1/socket")
}
answers() { "${docker[@]}" version; }
dockerd_in "$scratch/docker"
serve dockerd answers "${dockerd[@]}" --storage-driver overlay2
"${docker[@]}" import "$scratch/image.tar" mini >/dev/null
keep docker-plain "${docker[@]}" run --rm "${limits[@]}" "${options[@]}" mini sh -c true
keep docker-privileged "${docker[@]}" run --rm --privileged "${options[@]}" mini sh -c true
keep docker-read-only "${docker[@]}" run --rm --read-only --user 1000:1000 --cap-drop all mini sh -c true
keep docker-gpu "${docker[@]}" run --rm --gpus all --device /dev/fuse mini sh -c true
stop
dockerd_in "$scratch/docker-mapped"
serve dockerd-mapped answers "${dockerd[@]}" --storage-driver overlay2 --userns-remap "$user"
"${docker[@]}" import "$scratch/image.tar" mini >/dev/null
keep docker-user-namespace "${docker[@]}" run --rm mini sh -c true
stop
rm -rf /run/docker /run/containerd /run/xtables.lock
dockerd_in "$scratch/user/home/docker"
serve dockerd-rootless answers "${rootless[@]}" "${dockerd[@]}" --rootless --storage-driver vfs \
    --iptables=false --bridge none
"${docker[@]}" import "$scratch/image.tar" mini >/dev/null
keep docker-rootless "${docker[@]}" run --rm --network none mini sh -c true
stop

# Where cgroups are v2 alone, engines give each container a cgroup namespace.
umount -R /sys/fs/cgroup && mount -t cgroup2 cgroup2 /sys/fs/cgroup
podman_in "$scratch/podman" overlay
keep podman-cgroup2 "${podman[@]}" run --rm "${options[@]}" localhost/mini sh -c true
answers() { "${docker[@]}" version; }
dockerd_in "$scratch/docker"
rm -rf /run/docker /run/containerd
serve dockerd answers "${dockerd[@]}" --storage-driver overlay2
keep docker-cgroup2 "${docker[@]}" run --rm "${options[@]}" mini sh -c true
stop

# What is this run's own becomes a placeholder.
for file in "$scratch"/kept/*.json; do
    sed -E -i \
        -e 's|"root":\{"path":"/[^"]*|"root":{"path":"@ROOT@|' \
        -e 's,/tmp/engines,@HOST@,g' \
        -e 's,/buildah[0-9]+,/buildah,g' \
        -e 's,/run/netns/netns-[-0-9a-f]+,@NETNS@,g' \
        -e 's,/proc/[0-9]+/exe,@HOST@/dockerd,g' \
        -e 's,"path":"/usr/bin/containerd","path":"@HOST@/containerd",g' \
        "$file"
done
