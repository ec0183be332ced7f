//! docker, whose daemon is root's.

use std::fs;

use coracle_tests::need;

use crate::compare::{Place, same};
use crate::machine::Machine;

/// Starts the daemon, also again after it was ended.
const DAEMON: &str = r#"
    daemon dockerd dockerd --config-file $D/daemon.json
    until_ok docker version >/dev/null 2>&1
    "#;

/// Everything that must be gone when the containers are.
const LEFT: &str = r#"
    docker ps -aq | xargs -r docker rm -f >/dev/null
    none_left $D/exec/runtime-tried -mindepth 2
    until_ok sh -c '! systemctl list-units --all --plain --no-legend "docker-*.scope" | grep .'
    end dockerd TERM
    "#;

#[test]
fn docker_keeps_limits_and_profiles() {
    let machines = need!(Machine::of_root());
    for machine in &machines {
        // Both on one machine: neither its firewall nor its bridge is theirs.
        let config = format!(
            r#"{{"runtimes": {{"tried": {{"path": "{runtime}"}}}}, "default-runtime": "tried", "live-restore": true,
            "data-root": "{d}/data", "exec-root": "{d}/exec", "pidfile": "{d}/own.pid", "hosts": ["unix://{d}/docker.sock"],
            "bridge": "none", "iptables": false, "ip6tables": false, "storage-driver": "overlay2"}}"#,
            runtime = machine.runtime().1.display(),
            d = machine.path().display(),
        );
        fs::write(machine.path().join("daemon.json"), config).unwrap();
    }
    same(&machines, DAEMON);
    same(
        &machines,
        r#"
        docker info --format '{{.CgroupDriver}} {{.CgroupVersion}} {{.DefaultRuntime}} {{.SecurityOptions}}' => systemd 2 tried [name=apparmor
        docker load -qi $D/image.tar && docker tag localhost/base base
        docker run --rm base sh -c 'cat /proc/self/attr/current; grep -e Cap -e NoNewPrivs -e Seccomp: /proc/self/status; cat /proc/self/cgroup' => docker-default
        docker run --rm base sh -c 'cut -d" " -f5,6,9 /proc/self/mountinfo | sort | grep -v -e " tmpfs" -e devtmpfs'
        docker run --rm --privileged base sh -c 'cat /proc/self/attr/current; grep -e Cap -e Seccomp: /proc/self/status; mkdir /sys/fs/cgroup/mine && echo delegated' => unconfined
        docker run --rm --memory 64m --memory-swap 80m --memory-reservation 32m --cpus 0.5 --cpuset-cpus 0 --pids-limit 33 base sh -c 'cd /sys/fs/cgroup; cat memory.max memory.swap.max memory.low cpu.max cpuset.cpus pids.max' => 67108864
        !137 docker run --name oom --memory 16m base sh -c 'sleep 1; tail /dev/zero'
        # runc 1.1 loses that it was the kernel.
        docker inspect oom --format '{{.State.ExitCode}}' => 137
        docker run -d --name box --memory 64m --cpus 0.5 --pids-limit 50 base sh -c 'echo begin; trap "echo term; exit 9" TERM; while :; do sleep 0.3; done'
        systemctl show docker-$(docker inspect box --format '{{.Id}}').scope -p MemoryMax -p MemorySwapMax -p CPUQuotaPerSecUSec -p TasksMax -p Delegate -p Slice -p ActiveState -p DevicePolicy => ActiveState=active
        docker exec -u guest -w /tmp -e X=y box sh -c 'id; pwd; echo $X; cat /proc/self/attr/current /proc/self/cgroup; grep -e Cap -e NoNew /proc/self/status' => docker-default
        docker update --memory 96m --memory-swap 96m --cpus 0.25 --pids-limit 77 box
        docker exec box sh -c 'cd /sys/fs/cgroup; cat memory.max cpu.max pids.max' => 100663296
        systemctl show docker-$(docker inspect box --format '{{.Id}}').scope -p MemoryMax -p CPUQuotaPerSecUSec -p TasksMax => MemoryMax=100663296
        docker stats --no-stream --format '{{.Name}} {{.PIDs}}' box | grep -c 'box [1-9]'
        docker stats --no-stream --format '{{.MemUsage}}' box | grep -o '96MiB'
        docker pause box
        docker inspect box --format '{{.State.Status}}' => paused
        docker unpause box
        end dockerd KILL
        "#,
    );
    // Its containers live on without it.
    same(&machines, DAEMON);
    same(
        &machines,
        r#"
        docker exec box echo still => still
        docker stop -t 10 box
        docker wait box => 9
        "#,
    );
    same(&machines, LEFT);
}
