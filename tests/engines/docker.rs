//! docker: the daemon, its containerd and its client.

use coracle_tests::{Needs, Pty, need};

use crate::compare::{Place, same};
use crate::node::Node;
use crate::nodes;

/// Starts the daemon again after it was ended.
const AGAIN: &str = r#"
    daemon dockerd dockerd --config-file $D/daemon.json
    until_ok docker version >/dev/null 2>&1
"#;

/// Everything that must be gone when the containers are.
const LEFT: &str = r#"
    docker ps -aq | xargs -r docker rm -f >/dev/null
    until_ok sh -c '! pgrep -f "[c]ontainerd-shim" >/dev/null'
    none_left /run/docker/runtime-tried /run/docker/containerd/daemon/io.containerd.runtime.v2.task -mindepth 2
    none_left /sys/fs/cgroup -mindepth 2 -type d -path '*/docker/*'
    test -z "$(grep merged /proc/self/mounts)"
"#;

fn docker(options: &str) -> Needs<[Node; 2]> {
    let nodes =
        nodes(&[("dockerd", "docker.io"), ("docker", "docker.io"), ("iptables", "iptables")])?;
    for node in &nodes {
        let config = format!(
            r#"{{"runtimes": {{"tried": {{"path": "{}"}}}}, "default-runtime": "tried", "live-restore": true,
            "exec-opts": ["native.cgroupdriver=cgroupfs"], "storage-driver": "overlay2"{options}}}"#,
            node.runtime().1.display()
        );
        std::fs::write(node.path().join("daemon.json"), config).unwrap();
    }
    same(&nodes, AGAIN);
    same(&nodes, "docker load -qi $D/image.tar && docker tag localhost/base base");
    Ok(nodes)
}

#[test]
fn docker_runs_what_it_is_asked_to() {
    let nodes = need!(docker(""));
    same(
        &nodes,
        r#"
        docker info --format '{{.DefaultRuntime}} {{.CgroupDriver}}' => tried cgroupfs
        docker run --rm base echo hello => hello
        !7 docker run --rm base sh -c 'exit 7'
        !137 docker run --rm base sh -c 'sleep 100 & kill -9 $!; wait $!' 2>/dev/null
        !127 docker run --rm base nowhere
        !127 docker run --rm base /no/where
        !126 docker run --rm base /etc
        !126 docker run --rm base /etc/passwd
        !125 docker run --rm --no-such-option base true
        !125 docker run --rm --sysctl no.such=1 base true
        echo typed | docker run --rm -i base cat => typed
        docker run --rm base sh -c 'echo out; echo err >&2'
        docker run --rm -u 1000:2000 -w /tmp -h h1 -e A=b base sh -c 'id; pwd; hostname; echo $A' => gid=2000
        docker run --rm -u guest --group-add 3000 base id => 3000
        !1 docker run --rm --read-only --tmpfs /t:size=64k base sh -c 'touch /t/x && touch /x'
        docker run --rm base sh -c 'grep -e Cap -e NoNewPrivs -e Seccomp: /proc/self/status; ulimit -a'
        docker run --rm base sh -c 'cut -d" " -f5,6,9 /proc/self/mountinfo | sort | grep -v -e " tmpfs" -e devtmpfs'
        docker run --rm base sh -c 'stat -c "%A %t:%T %N" /dev/*'
        # Without CAP_SYS_RESOURCE it cannot.
        ~ docker run --rm --privileged base sh -c 'grep -e CapEff -e Seccomp: /proc/self/status; ls /dev | wc -l; mount | grep -c cgroup'
        docker run --rm --cap-drop all --cap-add chown base grep Cap /proc/self/status
        docker run --rm --security-opt no-new-privileges --security-opt seccomp=unconfined base grep -e NoNewPrivs -e Seccomp: /proc/self/status
        docker run --rm --ulimit nofile=100:200 base sh -c 'ulimit -n; ulimit -Hn' => 200
        docker run --rm --device /dev/fuse:/dev/f:r base stat -c '%F %a %u:%g %t:%T' /dev/f => a:e5
        docker run --rm --sysctl net.ipv4.ip_default_ttl=77 base cat /proc/sys/net/ipv4/ip_default_ttl => 77
        docker run --rm --shm-size 1m --oom-score-adj 300 base sh -c 'df -k /dev/shm | tail -1 | tr -s " "; cat /proc/self/oom_score_adj' => 300
        docker run --rm --init base cat /proc/1/comm => docker-init
        docker run --rm --pid host --ipc host --uts host base hostname => NODE
        docker run --rm --network host base ip -o link | cut -d: -f2 | cut -d@ -f1 | grep -v veth
        docker run --rm --network none base ip -o link | cut -d: -f2
        docker run --rm --cgroupns private base cat /proc/self/cgroup
        docker run --rm --cgroup-parent /parent base grep -c parent /proc/self/cgroup
        docker run --rm --memory 64m --memory-swap 128m --cpus 0.5 --cpu-shares 300 --pids-limit 50 --cpuset-cpus 0 base sh -c 'cd /sys/fs/cgroup; cat memory.max cpu.max pids.max || cat memory/memory.limit_in_bytes cpu/cpu.cfs_quota_us cpu/cpu.shares pids/pids.max cpuset/cpuset.cpus' 2>/dev/null => 67108864
        docker volume create vol
        docker run --rm -v vol:/v base sh -c 'echo kept >/v/file'
        docker run --rm -v vol:/v:ro base cat /v/file => kept
        docker run --rm --mount type=bind,src=/etc,dst=/h,ro,bind-propagation=rslave base sh -c 'test -e /h/passwd; grep " /h " /proc/self/mountinfo | cut -d" " -f5,6' => ro
        docker network create --subnet 10.78.0.0/24 net
        docker run -d --name web --network net base sh -c 'mkdir /www; echo served >/www/index.html; httpd -f -h /www -p 80'
        until_ok docker run --rm --network net base wget -q -O- http://web/ => served
        docker run --rm --network container:web base wget -q -O- http://127.0.0.1/ => served
        docker run -d --name linked base sleep 1000
        docker run --rm --link linked:other base sh -c 'grep -c other /etc/hosts; ping -c1 -q other | grep received' => 1 packets received
        docker rm -f web linked
        mkdir context; cp $D/rootfs.tar context/; printf 'FROM scratch\nADD rootfs.tar /\nRUN echo built >/built && id -u\nUSER guest\nRUN id -un\nCMD ["cat", "/built"]\n' >context/Dockerfile
        docker build -q -t built context >/dev/null
        docker run --rm built => built
        printf 'FROM base\nRUN exit 5\n' | docker build - 2>&1 | tail -1 | cut -d: -f2-
        "#,
    );
    same(&nodes, LEFT);
}

#[test]
fn docker_drives_a_container_s_life() {
    let nodes = need!(docker(""));
    same(
        &nodes,
        r#"
        docker run -d --name box --memory 64m --cpus 0.5 base sh -c 'echo begin; trap "echo term; exit 9" TERM; while :; do sleep 0.1; done'
        docker inspect box --format '{{.State.Status}} {{.HostConfig.Runtime}}' => running tried
        docker exec box id
        docker exec -u guest -w /tmp -e X=y box sh -c 'id -u; pwd; echo $X' => 1000
        !5 docker exec box sh -c 'exit 5'
        !126 docker exec box nowhere
        !126 docker exec box /etc
        !126 docker exec box /etc/passwd
        echo typed | docker exec -i box cat => typed
        docker exec -d box touch /tmp/done
        until_ok docker exec box ls /tmp/done 2>/dev/null
        ~ docker exec --privileged box grep CapEff /proc/self/status
        docker update --memory 96m --memory-swap 96m --cpus 0.25 --pids-limit 77 box
        docker exec box sh -c 'cd /sys/fs/cgroup; cat memory.max cpu.max pids.max || cat memory/memory.limit_in_bytes cpu/cpu.cfs_quota_us pids/pids.max' 2>/dev/null => 100663296
        docker top box -eo comm,user | grep -v sleep | sort -u
        docker stats --no-stream --format '{{.Name}} {{.PIDs}}' box | grep -c 'box [1-9]'
        docker stats --no-stream --format '{{.MemUsage}}' box | grep -o '96MiB'
        docker pause box
        docker inspect box --format '{{.State.Status}}' => paused
        !1 docker exec box true
        docker unpause box
        echo copied >there; docker cp there box:/tmp/there
        docker exec box cat /tmp/there => copied
        docker cp box:/etc/passwd back && cat back
        docker diff box | sort
        docker commit box snapshot >/dev/null
        docker run --rm snapshot cat /tmp/there => copied
        docker kill -s CONT box
        !1 docker rm box
        docker stop -t 10 box
        docker wait box => 9
        docker logs box => term
        docker start box
        docker restart -t 5 box
        docker kill box
        docker wait box => 137
        docker rm box
        docker run -d --name again --restart on-failure:2 base sh -c 'exit 3'
        until_ok sh -c 'docker inspect again --format "{{.RestartCount}} {{.State.Status}}" | grep "2 exited"' => 2 exited
        docker run -d --name always --restart always base sh -c 'sleep 0.3; exit 1'
        until_ok sh -c 'docker inspect always --format "{{.RestartCount}}" | grep -q [1-9]'
        docker rm -f always
        docker run -d --name oom --memory 16m --memory-swap 16m base tail /dev/zero
        docker wait oom => 137
        # docker hears of the end and of its cause in either order, and asks once.
        until_ok sh -c 'docker start -a oom; docker inspect oom --format "{{.State.OOMKilled}}" | grep true' => true
        docker create --name made base echo later
        docker start -a made => later
        docker run -d --name healthy --health-cmd 'test -e /tmp/well' --health-interval 1s --health-retries 1 base sleep 1000
        until_ok sh -c 'docker inspect healthy --format "{{.State.Health.Status}}" | grep unhealthy' => unhealthy
        docker exec healthy touch /tmp/well
        until_ok sh -c 'docker inspect healthy --format "{{.State.Health.Status}}" | grep -x healthy' => healthy
        docker create --name nowhere base /no/where
        !1 docker start nowhere
        docker inspect nowhere --format '{{.State.Status}} {{.State.ExitCode}}' => created 127
        docker events --since 10m --until 0s --filter container=made --format '{{.Action}}'
        "#,
    );
    for node in &nodes {
        let mut pty = Pty::new(31, 97);
        let running = pty.spawn(node.sh("exec docker run --rm -it base sh"));
        pty.shows("# ");
        pty.types("tty; stty size; echo $((6 * 7))\n");
        let shown = pty.shows("42");
        assert!(shown.contains("/dev/pts/0") && shown.contains("31 97"), "{shown}");
        pty.types("exit 4\n");
        running.wait().exits(4);
    }
    same(&nodes, LEFT);
}

#[test]
fn docker_finds_its_containers_again_after_being_killed() {
    let nodes = need!(docker(""));
    let again = |before: &str, after: &str| same(&nodes, &[before, AGAIN, after].concat());
    again(
        r#"
        docker run -d --name live base sh -c 'while :; do sleep 0.1; done'
        docker inspect live --format '{{.State.Pid}}' >live
        end dockerd TERM
        kill -0 $(cat live)
        "#,
        r#"
        docker inspect live --format '{{.State.Pid}} {{.State.Status}}' | sed "s/$(cat live)/same/" => same running
        docker exec live echo still => still
        "#,
    );
    again(
        "end dockerd KILL\n kill -0 $(cat live)\n",
        "docker exec live echo still => still\n docker stats --no-stream --format '{{.Name}}' live\n",
    );
    // In the middle of creating, starting and executing.
    for (wait, what) in [
        ("0.15", "docker run -d --name try base sleep 1000"),
        ("0.3", "docker run -d --name try base sleep 1000"),
        ("0.05", "docker exec -d live sleep 1"),
    ] {
        again(
            &format!("daemon try {what}\n sleep {wait}; end dockerd KILL\n"),
            r#"
            docker exec live echo still => still
            docker rm -f try >/dev/null 2>&1; true
            docker run --rm --name try base echo free => free
            "#,
        );
    }
    // The shim of a start that docker forgot lives on, whatever the runtime.
    same(&nodes, "docker rm -f live\n docker ps -aq");
}

#[test]
fn docker_remaps_users() {
    let nodes = need!(docker(r#", "userns-remap": "coracle-test""#));
    same(
        &nodes,
        r#"
        docker run --rm base sh -c 'id -u; cat /proc/self/uid_map; stat -c %u /etc/passwd; touch /x' => 65536
        docker run --rm -u guest -v vol:/v base sh -c 'id; grep Cap /proc/self/status'
        docker run --rm --userns host base cat /proc/self/uid_map
        docker run -d --name box --memory 64m base sleep 1000
        docker exec box sh -c 'cat /proc/self/uid_map; grep CapEff /proc/self/status'
        docker cp $D/rootfs.tar box:/tmp/ && docker exec box ls -ln /tmp | tr -s ' ' | cut -d' ' -f3-5,9
        docker pause box
        docker unpause box
        docker kill box
        docker run --rm --read-only --tmpfs /t base sh -c 'touch /t/x; mount | grep -c cgroup'
        !126 docker run --rm base /etc
        "#,
    );
    same(&nodes, LEFT);
}
