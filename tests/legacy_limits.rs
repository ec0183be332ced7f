//! Limits of cgroup v1, held by its controllers, by their own account. For v2: tests/guest.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::path::PathBuf;

use coracle_tests::{Coracle, Disk, Needs, controlled, eventually, json, need};

/// The cgroup of a container in the hierarchy of a controller of version 1.
fn cgroup(coracle: &Coracle, id: &str, controller: &str) -> PathBuf {
    controlled(coracle.pid(id), controller).expect(controller).0
}

/// Version 1 with these controllers.
fn version_1_with(controllers: &[&str]) -> Needs<()> {
    let there = |name: &&str| fs::exists(format!("/sys/fs/cgroup/{name}/cgroup.procs")).unwrap();
    match controllers.iter().find(|name| !there(name)) {
        Some(missing) => Err(format!("needs the {missing} controller in version 1")),
        None => Ok(()),
    }
}

/// The number behind a name in a file.
fn count(cgroup: &std::path::Path, file: &str, name: &str) -> u64 {
    let text = fs::read_to_string(cgroup.join(file)).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.map_or(0, |number| number.parse().unwrap())
}

fn a_kill_for_memory_is_counted_and_told(coracle: &Coracle) {
    need!(version_1_with(&["memory"]));
    // The shell lives on, so that the cgroup can be looked at.
    let script = "until [ -e /go ]; do sleep 0.01; done; tail /dev/zero; echo ended with $?; \
                  sleep 1000";
    let limit = json!({"memory": {"limit": 16 << 20, "swap": 16 << 20}});
    let bundle = coracle.bundle().sh(script).limited(&limit);
    let id = bundle.id();
    let started = coracle.start(&bundle);
    let events = coracle.call(["events", "--interval", "20ms", id]).spawn();
    events.prints("\"type\":\"stats\"");
    fs::write(bundle.rootfs().join("go"), "").unwrap();
    eventually("tail is killed", || started.stdout_by_now().contains("ended with 137"));
    events.prints("\"type\":\"oom\"");
    let path = cgroup(coracle, id, "memory");
    assert_eq!(count(&path, "memory.oom_control", "oom_kill"), 1);
    let most = fs::read_to_string(path.join("memory.max_usage_in_bytes")).unwrap();
    assert!(most.trim().parse::<u64>().unwrap() <= 16 << 20, "{most}");
    coracle.delete(id);
    assert!(events.wait().stdout.contains("oom"));
    coracle.assert_nothing_left();
}

fn forks_beyond_the_limit_are_counted(coracle: &Coracle) {
    need!(version_1_with(&["pids"]));
    let bomb = "bomb() { bomb | bomb & }; bomb; while :; do sleep 1; done";
    let bundle = coracle.bundle().sh(bomb).limited(&json!({"pids": {"limit": 25}}));
    let id = bundle.id();
    coracle.start(&bundle);
    let path = cgroup(coracle, id, "pids");
    eventually("the bomb meets its limit", || count(&path, "pids.events", "max") > 10);
    let now: u64 = fs::read_to_string(path.join("pids.current")).unwrap().trim().parse().unwrap();
    assert!(now <= 25, "{now} tasks at once");
    coracle.delete(id);
    coracle.assert_nothing_left();
}

#[test]
fn writing_is_slowed_down() {
    let coracle = need!(Coracle::as_root());
    need!(version_1_with(&["blkio"]));
    let disk = need!(Disk::new());
    let write = "dd if=/dev/zero of=/disk/$0 bs=64k count=64 oflag=direct 2>&1; sleep 1000";
    let writer = |name: &str| {
        coracle.bundle().args(["sh", "-c", write, name]).set(
            "/mounts/-",
            json!({
                "destination": "/disk", "type": "bind", "source": disk.path(),
                "options": ["rbind"],
            }),
        )
    };
    let (major, minor) = disk.numbers();
    let rate = json!([{"major": major, "minor": minor, "rate": 16 << 10}]);
    let slow = writer("slow").set("/linux/resources/blockIO/throttleWriteBpsDevice", rate);
    let free = writer("free");
    coracle.start(&slow);
    let ended = coracle.start(&free);
    eventually("who is free has written", || ended.stdout_by_now().contains("64+0 records out"));
    let written = |id: &str| {
        let path = cgroup(&coracle, id, "blkio");
        count(&path, "blkio.throttle.io_service_bytes", &format!("{major}:{minor} Write"))
    };
    assert!(written(free.id()) >= 4 << 20, "{}", written(free.id()));
    eventually("the slow one has begun", || written(slow.id()) > 0);
    // Of 4 MiB, which it would take four minutes for.
    assert!(written(slow.id()) < 4 << 20, "{}", written(slow.id()));
    for bundle in [&slow, &free] {
        coracle.delete(bundle.id());
    }
    coracle.assert_nothing_left();
}

coracle_tests::tests! {
    as_root, as_delegated_user, as_delegated_single_user =>
        a_kill_for_memory_is_counted_and_told,
        forks_beyond_the_limit_are_counted;
}
