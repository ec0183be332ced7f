//! A docker swarm of several nodes, with the runtime as every node's default.

use coracle_tests::{Call, Needs, need};

use crate::compare::{Place, same};
use crate::node::{Node, Runtime};
use crate::programs::program;

const UP: &str = r#"
    daemon dockerd dockerd --config-file $D/daemon.json
    WAIT=40 until_ok docker version >/dev/null 2>&1
    docker load -qi $D/image.tar && docker tag localhost/base base
"#;

/// The runtimes to compare, and a node of each: the manager, or a worker.
type Rank = [Node; 2];

/// Swarms of so many nodes, one for each runtime. The first node has a bridge that the others are
/// connected to: 10.80.0.1, .2, ….
fn bridged(count: u8) -> Needs<Vec<Rank>> {
    program("dockerd", "docker.io")?;
    program("iptables", "iptables")?;
    let runtimes = [Runtime::runc()?, Runtime::coracle()?];
    let rank = || runtimes.clone().map(|runtime| Node::new(runtime, None));
    let ranks: Vec<Rank> = (0..count).map(|_| rank()).collect();
    let managers = &ranks[0];
    same(
        managers,
        r#"
        ip link add hub type bridge && ip link set hub up
        ip addr add 10.80.0.1/24 dev hub && ip route add default dev hub
        "#,
    );
    for (workers, number) in ranks.iter().zip(1..).skip(1) {
        for (manager, worker) in managers.iter().zip(workers) {
            // Made where they belong: never in this machine's own network namespace.
            let [hub, other] = [manager, worker].map(|node| node.pid().to_string());
            Call::new(["ip", "link", "add", &format!("port{number}"), "netns", &hub])
                .args(["type", "veth", "peer", "name", "eth0", "netns", &other])
                .output()
                .succeeds();
        }
        same(managers, &format!("ip link set port{number} master hub up"));
        let up = format!(
            "ip addr add 10.80.0.{number}/24 dev eth0 && ip link set eth0 up && \
             ip route add default via 10.80.0.1"
        );
        same(workers, &up);
    }
    for node in ranks.iter().flatten() {
        let config = format!(
            r#"{{"runtimes": {{"tried": {{"path": "{}"}}}}, "default-runtime": "tried",
            "exec-opts": ["native.cgroupdriver=cgroupfs"], "storage-driver": "overlay2"}}"#,
            node.runtime().1.display()
        );
        std::fs::write(node.path().join("daemon.json"), config).unwrap();
    }
    std::thread::scope(|scope| {
        for rank in &ranks {
            scope.spawn(|| same(rank, UP));
        }
    });
    Ok(ranks)
}

#[test]
fn a_swarm_keeps_its_replicas() {
    let mut ranks = need!(bridged(3));
    same(&ranks[0], "docker swarm init --advertise-addr 10.80.0.1 >/dev/null");
    for workers in &ranks[1..] {
        for (manager, worker) in ranks[0].iter().zip(workers) {
            let token = manager.sh("docker swarm join-token -q worker").output().succeeds().stdout;
            let join = format!("docker swarm join --token {} 10.80.0.1:2377", token.trim());
            worker.sh(&join).output().succeeds();
        }
    }
    same(
        &ranks[0],
        r#"
        docker network create -d overlay --subnet 10.81.0.0/24 net >/dev/null
        docker service create -d --name web --replicas 20 --network net --endpoint-mode dnsrr --no-resolve-image --stop-grace-period 0s --restart-delay 0s --update-parallelism 10 --update-delay 0s --limit-memory 32m base sh -c 'mkdir -p /www; echo served >/www/index.html; httpd -f -h /www -p 80' >/dev/null
        WAIT=55 until_ok sh -c 'test $(docker service ps web -f desired-state=running --format "{{.CurrentState}}" | grep -c ^Running) = 20'
        docker service ps web -f desired-state=running --format '{{.Node}}' | sort | uniq -c | wc -l => 3
        until_ok docker exec $(docker ps -q | head -1) wget -q -O- http://web/ => served
        docker inspect $(docker ps -q | head -1) --format '{{.HostConfig.Runtime}}' => tried
        # A rolling update.
        docker service update -d --env-add NEW=1 --no-resolve-image web >/dev/null
        WAIT=55 until_ok sh -c 'docker service inspect web --format "{{.UpdateStatus.State}}" | grep -q completed'
        docker exec $(docker ps -q | head -1) sh -c 'echo $NEW' => 1
        "#,
    );
    // The last one is lost, with all that ran on it.
    drop(ranks.pop());
    same(
        &ranks[0],
        r#"
        WAIT=55 until_ok sh -c 'docker node ls --format "{{.Status}}" | grep -q Down'
        WAIT=55 until_ok sh -c 'test $(docker service ps web -f desired-state=running --format "{{.Node}} {{.CurrentState}}" | grep -c " Running") = 20'
        docker service ps web -f desired-state=running --format '{{.Node}}' | sort | uniq -c | wc -l => 2
        docker service scale -d web=3 >/dev/null
        WAIT=55 until_ok sh -c 'test $(docker service ps web -f desired-state=running --format "{{.CurrentState}}" | grep -c ^Running) = 3'
        docker service rm web
        "#,
    );
    for rank in &ranks {
        same(
            rank,
            r#"
            until_ok sh -c 'test -z "$(docker ps -aq)"'
            none_left /sys/fs/cgroup -mindepth 2 -type d -path '*/docker/*'
            "#,
        );
    }
}
