//! What podman's containers are limited to, and their checkpoints.

use coracle_tests::need;

use super::{LEFT, turn};
use crate::compare::same;
use crate::machine::Machine;

/// What systemd was told of the container `c`.
const SCOPE: &str = "show libpod-$(podman inspect c --format '{{.Id}}').scope -p MemoryMax -p MemorySwapMax \
    -p CPUQuotaPerSecUSec -p TasksMax -p Delegate -p Slice -p ActiveState";

#[test]
fn podman_keeps_limits_and_profiles() {
    let _turn = turn();
    let machines = need!(Machine::of_root());
    let scenario = r#"
        podman load -q -i $D/image.tar => localhost/base
        podman run --rm base sh -c 'cat /proc/self/attr/current; grep -e Cap -e NoNewPrivs -e Seccomp /proc/self/status' => containers-default
        podman run --rm --memory 64m --memory-swap 80m --memory-reservation 32m --cpus 0.5 --cpuset-cpus 0 --pids-limit 33 base sh -c 'cd /sys/fs/cgroup; cat memory.max memory.swap.max memory.low cpu.max cpuset.cpus pids.max' => 67108864
        podman run -d --name c --memory 64m --cpus 0.5 --pids-limit 50 base sh -c 'trap "exit 9" TERM; while :; do sleep 0.3; done'
        systemctl SCOPE -p DevicePolicy => ActiveState=active
        podman exec c sh -c 'cat /proc/self/attr/current /proc/self/cgroup; grep -e Cap -e NoNew /proc/self/status'
        podman update --memory 96m --cpus 0.25 --pids-limit 60 c
        podman exec c sh -c 'cd /sys/fs/cgroup; cat memory.max memory.swap.max cpu.max pids.max' => 100663296
        systemctl SCOPE => MemoryMax=100663296
        podman pause c
        podman unpause c
        podman stop -t 10 c
        podman wait c => 9
        "#;
    same(&machines, &scenario.replace("SCOPE", SCOPE));
    same(&machines, LEFT);
}

#[test]
fn podman_checkpoints_and_restores() {
    let _turn = turn();
    let machines = need!(Machine::of_root());
    same(
        &machines,
        r#"
        podman load -q -i $D/image.tar => localhost/base
        podman run -d --name h --memory 64m base sh -c 'i=0; while :; do i=$((i+1)); echo $i >/dev/shm/n; sleep 0.2; done'
        until_ok podman exec h test -s /dev/shm/n
        podman container checkpoint h
        podman inspect h --format '{{.State.Status}} {{.State.Checkpointed}}' => exited true
        podman container restore h
        podman inspect h --format '{{.State.Status}} {{.State.Restored}}' => running true
        podman exec h cat /sys/fs/cgroup/memory.max => 67108864
        podman exec h sh -c 'was=$(cat /dev/shm/n); until test "$(cat /dev/shm/n)" -gt $was; do sleep 0.1; done; cat /proc/1/attr/current' => containers-default
        podman container checkpoint --leave-running --export running.tar h
        podman container checkpoint --export ended.tar.gz h
        podman rm h
        podman container restore --import ended.tar.gz
        podman exec h sh -c 'was=$(cat /dev/shm/n); until test "$(cat /dev/shm/n)" -gt $was; do sleep 0.1; done'
        podman container restore --import running.tar --name other
        podman exec other sh -c 'was=$(cat /dev/shm/n); until test "$(cat /dev/shm/n)" -gt $was; do sleep 0.1; done'
        podman ps --format '{{.Names}} {{.State}}' | sort => other running
        "#,
    );
    same(&machines, LEFT);
}

#[test]
fn podman_of_an_ordinary_user_keeps_limits() {
    let machines = need!(Machine::of_user());
    let scenario = r#"
        podman load -q -i $D/image.tar => localhost/base
        podman run --rm --memory 64m --cpus 0.5 --pids-limit 33 base sh -c 'cd /sys/fs/cgroup; cat memory.max memory.swap.max cpu.max pids.max' => 67108864
        podman run -d --name c --memory 64m base sh -c 'trap "exit 9" TERM; while :; do sleep 0.3; done'
        # Only runc asks for DevicePolicy, which a user's systemd cannot hold.
        systemctl --user SCOPE => ActiveState=active
        podman update --memory 96m --cpus 0.25 --pids-limit 60 c
        podman exec c sh -c 'cd /sys/fs/cgroup; cat memory.max cpu.max pids.max' => 100663296
        # runc warns that it may fail.
        podman pause c 2>/dev/null
        podman unpause c 2>/dev/null
        podman rm -f -t 0 c
        "#;
    same(&machines, &scenario.replace("SCOPE", SCOPE));
}
