//! What podman's users ask for. How root's containers live otherwise does not depend on the machine:
//! `podman.rs`.

use std::fs;

use coracle_tests::{Pty, need};

use super::{LEFT, turn};
use crate::compare::{Place, same};
use crate::machine::Machine;

/// What a container is given and kept from, where systemd, cgroup v2 or `AppArmor` makes a difference.
const GIVEN: &str = r#"
    podman load -q -i $D/image.tar => localhost/base
    # As an ordinary user runc mounts a device twice where the file lists it as mount and as device.
    podman run --rm --privileged base sh -c 'grep -e Cap -e Seccomp: /proc/self/status; cat /proc/self/attr/current; ls /dev | grep -v -e tty -e vcs | wc -l; ls -A /sys/firmware | wc -l; cut -d" " -f5,6,9 /proc/self/mountinfo | sort -u | grep -v "^/dev/[a-z]"'
    podman run --rm --systemd=always base sh -c 'cut -d" " -f5,6,9 /proc/self/mountinfo | sort | grep -v -e /proc/; echo $container; mkdir /sys/fs/cgroup/mine && echo delegated' => delegated
    podman run --rm --userns=auto:size=5000 base sh -c 'id -u; touch /tmp/x && stat -c %u /tmp/x; tr -s " " </proc/self/uid_map | cut -d" " -f4' => 5000
    "#;

/// A container's life and its figures.
const LIFE: &str = r#"
    podman run -d --name box --memory 64m base sh -c 'echo begin; trap "echo term; exit 9" TERM; while :; do sleep 0.3; done'
    podman exec -u guest -w /tmp -e X=y box sh -c 'id; pwd; echo $X' => 1000
    echo typed | podman exec -i box cat => typed
    podman top box user comm | grep -v sleep | sort -u => sh
    podman stats --no-stream --no-reset --format '{{.Name}} {{.MemLimit}}' box => 67108864
    podman stats --no-stream --no-reset --format '{{.PIDs}}' box | grep -q '[1-9]'
    podman inspect box --format '{{.State.Status}} {{.OCIRuntime}} {{.State.CgroupPath}}' => running
    # runc warns an ordinary user that it may fail.
    podman pause box 2>/dev/null
    podman inspect box --format '{{.State.Status}}' => paused
    !255 podman exec box true
    podman unpause box 2>/dev/null
    podman stop -t 10 box
    podman wait box => 9
    podman logs box => term
    podman rm box
    "#;

/// Several containers that share namespaces.
const PODS: &str = r#"
    podman pod create --name pod --network none --hostname inpod --share pid,ipc,net,uts
    podman run -d --pod pod --name first base sleep 1001
    podman run --rm --pod pod base sh -c 'hostname; ps | grep -q "sleep 1001" && echo seen' 2>/dev/null => inpod
    podman pod top pod comm
    podman pod stats --no-stream --format '{{.Name}}' pod | grep -c -e infra -e first => 2
    podman pod stop -t 0 pod 2>/dev/null
    podman pod rm -f pod 2>/dev/null
    podman kube play --network none pod.yaml 2>/dev/null
    until_ok sh -c 'podman logs played-one | grep first' => first
    podman exec played-one sh -c 'id -u; echo $WHO; grep CapEff /proc/self/status; cat /sys/fs/cgroup/memory.max; touch /x || echo read-only' => 33554432
    podman kube down pod.yaml 2>/dev/null
    "#;

const POD: &str = "
apiVersion: v1
kind: Pod
metadata: {name: played}
spec:
  containers:
  - name: one
    image: localhost/base
    command: [sh, -c, 'echo first | tee /data/said; sleep 1000']
    env: [{name: WHO, value: one}]
    resources: {limits: {memory: 32Mi, cpu: 500m}}
    securityContext: {runAsUser: 1000, readOnlyRootFilesystem: true, capabilities: {drop: [ALL]}}
    volumeMounts: [{name: data, mountPath: /data}]
  - {name: two, image: localhost/base, command: [sleep, '1000']}
  volumes:
  - {name: data, emptyDir: {}}
";

/// What only root's containers can have.
const OF_ROOT: &str = r#"
    podman run --rm --network bridge base ip -4 -o addr show eth0 | grep -c inet => 1
    podman run --rm --uidmap 0:2000000:1000 --gidmap 0:2000000:1000 base sh -c 'id; touch /x && stat -c %u /x; cat /proc/self/uid_map' => 2000000
    "#;

/// What only an ordinary user's containers have, or root's in `podman.rs` too. Of the network of the machine it
/// is a likeness.
const OF_USER: &str = r#"
    # Masks come from another /dev/null.
    podman run --rm base sh -c 'id; grep -e Cap -e NoNewPrivs -e Seccomp: /proc/self/status; ls /dev /proc/self/fd; ulimit -a; cut -d" " -f5,6,9 /proc/self/mountinfo | sort | grep -v -e /proc/'
    podman run --rm --read-only --tmpfs /t:size=64k --device /dev/null:/dev/mine --init --shm-size 1m base sh -c 'echo >/dev/mine; touch /t/x /tmp/x /run/x; grep " /t " /proc/self/mounts; cat /proc/1/comm; df -k /dev/shm | tail -1 | tr -s " "; touch /x || echo read-only' => read-only
    podman run --rm --cap-drop all --cap-add net_bind_service --cap-add chown --ulimit nofile=100:200 --ulimit core=0 base sh -c 'grep Cap /proc/self/status; ulimit -n; ulimit -Hn; ulimit -c' => 0000000000000401
    podman run --rm --userns=keep-id base sh -c 'id -u; wc -l </proc/self/uid_map; touch /tmp/x && stat -c %u /tmp/x'
    !137 podman run --rm --memory 16m base sh -c 'sleep 1; tail /dev/zero'
    podman run --rm --network pasta base ip -4 -o addr show guest0 | grep -c inet => 1
    "#;

#[test]
fn root_s_containers_of_podman_are_given_the_same() {
    let _turn = turn();
    let machines = need!(Machine::of_root());
    same(&machines, GIVEN);
    same(&machines, OF_ROOT);
    same(&machines, LEFT);
}

#[test]
fn a_user_s_containers_of_podman_live_as_they_should() {
    let machines = need!(Machine::of_user());
    same(&machines, GIVEN);
    same(&machines, OF_USER);
    same(&machines, LIFE);
    for machine in &machines {
        fs::write(machine.path().join("work/pod.yaml"), POD).unwrap();
    }
    same(&machines, PODS);
    for machine in &machines {
        has_a_terminal(machine);
    }
}

fn has_a_terminal(machine: &Machine) {
    let mut pty = Pty::new(31, 97);
    let running = pty.spawn(machine.sh("exec podman run --rm --name term -it base sh"));
    pty.shows("# ");
    pty.types("tty; stty size; echo $((6 * 7))\n");
    let shown = pty.shows("42");
    assert!(shown.contains("/dev/pts/0") && shown.contains("31 97"), "{shown}");
    let mut second = Pty::new(12, 34);
    let exec = second.spawn(machine.sh("exec podman exec -it term sh"));
    second.shows("# ");
    second.types("stty size; exit 3\n");
    second.shows("12 34");
    exec.wait().exits(3);
    pty.resize(20, 60);
    pty.types("until stty size | grep '20 60'; do sleep 0.1; done\n");
    pty.shows("20 60\r");
    pty.types("exit 4\n");
    running.wait().exits(4);
}
