//! containerd, by `ctr` and the shim for runc.

use coracle_tests::{Needs, Pty, need};

use crate::compare::{Place, same};
use crate::node::Node;
use crate::nodes;

const UP: &str = r#"
    mkdir -p /run/containerd /etc/containerd
    echo 'disabled_plugins = ["io.containerd.grpc.v1.cri"]' >$D/containerd.toml
    echo 'version = 2' >>$D/containerd.toml
    daemon containerd containerd -c $D/containerd.toml
    until_ok ctr version >/dev/null 2>&1
    ctr image import $D/image.tar >/dev/null
    ctr image ls -q => localhost/base:latest
"#;

/// Everything that must be gone when the containers are.
const LEFT: &str = r#"
    until_ok sh -c '! pgrep -f "[c]ontainerd-shim" >/dev/null'
    none_left /run/containerd/runc /run/containerd/io.containerd.runtime.v2.task -mindepth 2
    none_left /sys/fs/cgroup -mindepth 2 -type d -path '*/default/*'
    ctr task ls -q
"#;

fn containerd() -> Needs<[Node; 2]> {
    let nodes = nodes(&[("containerd", "containerd"), ("ctr", "containerd")])?;
    same(&nodes, UP);
    Ok(nodes)
}

#[test]
fn containerd_runs_tasks() {
    let nodes = need!(containerd());
    // `run` stands for `ctr run` with the runtime and the image, and for `lingering`: now and then `ctr`
    // loses what a short command prints, whatever the runtime.
    let run = |scenario: &str, lingering: &str| {
        let scenario = scenario.replace("run --rm", "ctr run --runc-binary $RUNTIME --rm");
        let what = format!(" localhost/base:latest c {lingering}");
        same(&nodes, &scenario.replace(" c ", &what));
    };
    let scenario = r#"
        run --rm c echo hello => hello
        !7 run --rm c sh -c 'exit 7'
        !143 run --rm c sh -c 'sleep 100 & kill $!; wait $!' 2>/dev/null
        run --rm c sh -c 'echo out; echo err >&2'
        run --rm c sh -c 'grep -e Cap -e NoNewPrivs -e Seccomp: /proc/self/status; id; pwd; env | sort'
        run --rm c sh -c 'cut -d" " -f5,6,9 /proc/self/mountinfo | sort | grep -v -e /proc/keys -e /proc/timer_list -e /proc/kcore -e /proc/latency -e /proc/sched'
        run --rm --env A=b --cwd /tmp c sh -c 'pwd; echo $A' => /tmp
        run --rm --privileged c sh -c 'grep CapEff /proc/self/status; ls /dev | wc -l'
        !1 run --rm --read-only c touch /x
        run --rm --seccomp c grep Seccomp: /proc/self/status => 2
        run --rm --allow-new-privs c grep NoNewPrivs /proc/self/status => 0
        run --rm --cap-drop CAP_CHOWN --cap-add CAP_SYS_ADMIN c grep CapEff /proc/self/status
        run --rm --mount type=bind,src=/etc,dst=/host,options=rbind:ro c sh -c 'test -e /host/passwd; grep " /host " /proc/self/mountinfo | cut -d" " -f5-6' => ro
        run --rm --device /dev/fuse c stat -c "%F %a %u:%g %t:%T" /dev/fuse => a:e5
        run --rm --net-host c ip -o link
        run --rm --cgroup '' c true
        run --rm --no-pivot c echo moved => moved
        run --rm --uidmap 0:100000:1000 --gidmap 0:100000:1000 c cat /proc/self/uid_map => 100000
        # runc leaves the root private.
        ~ run --rm --rootfs-propagation shared c grep -c shared /proc/self/mountinfo
        run --rm --pid-file $D/pid c true
        run --rm --annotation a=b --label c=d c true
        "#;
    run(scenario, "lingering ");
    let scenario = r#"
        !1 run --rm c nowhere
        !1 run --rm c /etc
        !1 run --rm c /no/where
        !1 run --rm --cwd /etc/passwd c true
        "#;
    run(scenario, "");
    same(&nodes, LEFT);
}

/// The sleeps are for `ctr task exec`, which loses output as `ctr run` does.
#[test]
fn containerd_drives_a_task_s_life() {
    let nodes = need!(containerd());
    same(
        &nodes,
        r#"
        daemon events ctr events
        ctr run --runc-binary $RUNTIME -d --pid-file $D/pid localhost/base:latest c sh -c 'trap "exit 9" TERM; while :; do sleep 0.1; done'
        kill -0 $(cat $D/pid)
        ctr task ls | grep -o RUNNING => RUNNING
        ctr task exec --exec-id e c sh -c 'id; sleep 0.2' => uid=0
        ctr task exec --exec-id e --user 1000 --cwd /tmp c sh -c 'id; pwd; sleep 0.2' => uid=1000
        !5 ctr task exec --exec-id e c sh -c 'exit 5'
        echo typed | ctr task exec --exec-id e c sh -c 'cat; sleep 0.2' => typed
        ctr task exec -d --exec-id bg c sleep 1000
        ctr task ps c | grep -c "^$(cat $D/pid)" => 1
        ctr task kill --exec-id bg -s SIGKILL c
        !1 ctr task exec --exec-id e c nowhere
        !1 ctr task exec --exec-id e c /etc
        ctr task metrics c | grep -c -e memory -e pids -e cpu
        ctr task pause c
        ctr task ls | grep -o PAUSED => PAUSED
        ctr task resume c
        ctr task ls | grep -o RUNNING => RUNNING
        !1 ctr task rm c
        ctr task kill c
        until_ok sh -c 'ctr task ls | grep STOPPED' | grep -o STOPPED => STOPPED
        ctr task rm c 2>&1 | grep -o 'exit code.*' => 9
        ctr task start -d c
        ctr task kill -s SIGKILL c
        until_ok sh -c 'ctr task ls | grep STOPPED' | grep -o STOPPED => STOPPED
        ctr task rm c 2>&1 | grep -o 'exit code.*' => 137
        ctr container rm c
        ctr run --runc-binary $RUNTIME -d --memory-limit 67108864 --cpus 0.5 --cgroup /limited localhost/base:latest forced sleep 1000
        cd /sys/fs/cgroup; cat limited/memory.max limited/cpu.max 2>/dev/null || cat memory/limited/memory.limit_in_bytes cpu/limited/cpu.cfs_quota_us => 67108864
        ctr task rm -f forced
        ctr container rm forced
        ctr run --runc-binary $RUNTIME -d localhost/base:latest all sh -c 'sleep 1000 & sleep 1000'
        ctr task kill --all -s SIGKILL all
        until_ok sh -c 'ctr task ls | grep STOPPED' | grep -o STOPPED => STOPPED
        ctr task rm all
        ctr container rm all
        mkdir $D/bare && tar -xf $D/rootfs.tar -C $D/bare
        ctr run --runc-binary $RUNTIME --rm --rootfs $D/bare bare /bin/echo bare => bare
        ctr run --runc-binary $RUNTIME -d --memory-limit 16777216 localhost/base:latest oom tail /dev/zero
        until_ok sh -c 'ctr task ls | grep STOPPED' | grep -o STOPPED => STOPPED
        ctr task rm oom 2>&1 | grep -o 'exit code.*' => 137
        ctr container rm oom
        until_ok grep -q '/containers/delete.*oom' $D/events.log
        end events TERM
        grep -o '/[a-z]*/[-a-z]* {' $D/events.log | sort | uniq -c
        "#,
    );
    same(&nodes, LEFT);
}

#[test]
fn containerd_s_tasks_have_terminals() {
    let nodes = need!(containerd());
    for node in &nodes {
        let mut pty = Pty::new(31, 97);
        let line = "exec ctr run --runc-binary $RUNTIME --rm -t localhost/base:latest c sh";
        let running = pty.spawn(node.sh(line));
        pty.shows("# ");
        pty.types("tty; stty size; echo $((6 * 7))\n");
        let shown = pty.shows("42");
        assert!(shown.contains("/dev/pts/0") && shown.contains("31 97"), "{shown}");
        let mut second = Pty::new(12, 34);
        let exec = second.spawn(node.sh("exec ctr task exec -t --exec-id e c sh"));
        second.shows("# ");
        second.types("stty size; exit 3\n");
        second.shows("12 34");
        exec.wait().exits(3);
        pty.resize(20, 60);
        pty.types("\nuntil stty size | grep '20 60'; do sleep 0.1; done\n");
        pty.shows("20 60\r");
        pty.types("exit 4\n");
        running.wait().exits(4);
    }
    same(&nodes, LEFT);
}

#[test]
fn containerd_finds_its_containers_again_after_being_killed() {
    let nodes = need!(containerd());
    same(
        &nodes,
        r#"
        ctr run --runc-binary $RUNTIME -d localhost/base:latest c sleep 1000
        end containerd KILL
        daemon containerd containerd -c $D/containerd.toml
        until_ok ctr version >/dev/null 2>&1
        ctr task ls | grep -o RUNNING => RUNNING
        ctr task exec --exec-id e c sh -c 'echo still; sleep 0.2' => still
        # Killed in the middle of creating, starting and executing.
        daemon one ctr run --runc-binary $RUNTIME -d localhost/base:latest x sleep 1000
        sleep 0.03; end containerd KILL
        daemon containerd containerd -c $D/containerd.toml
        until_ok ctr version >/dev/null 2>&1
        daemon two ctr task exec --exec-id f c sleep 1
        sleep 0.02; end containerd KILL
        daemon containerd containerd -c $D/containerd.toml
        until_ok ctr version >/dev/null 2>&1
        ctr task exec --exec-id g c sh -c 'echo still; sleep 0.2' => still
        ~ ctr task rm -f x; ctr container rm x
        ctr task rm -f c
        ctr container rm c
        # A name that failed is free again.
        ~ ctr container rm x
        ctr run --runc-binary $RUNTIME --rm localhost/base:latest x2 echo again => again
        "#,
    );
    // What containerd forgot, the runtime still knows. The shim of such a start lives on.
    same(
        &nodes,
        r#"
        for id in $(ls /run/containerd/runc/default); do $RUNTIME --root /run/containerd/runc/default delete --force $id; done
        none_left /run/containerd/runc/default -mindepth 1
        "#,
    );
    // runc may leave the cgroups of a start that was cut short.
    let [_, coracle] = &nodes;
    let cgroups = "none_left /sys/fs/cgroup -mindepth 2 -type d -path '*/default/*'";
    same(std::slice::from_ref(coracle), cgroups);
}
