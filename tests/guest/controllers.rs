//! Limits of cgroup v2, held by its controllers.

use std::fs;
use std::path::{Path, PathBuf};

use coracle_tests::{Coracle, Disk, controlled, eventually, host, json, need};

/// The cgroup of a container.
fn cgroup(coracle: &Coracle, id: &str) -> PathBuf {
    controlled(coracle.pid(id), "memory").expect("the memory controller").0
}

/// The number behind a name, or `name=`, in a file of a cgroup.
fn count(cgroup: &Path, file: &str, name: &str) -> u64 {
    let text = fs::read_to_string(cgroup.join(file)).unwrap();
    let mut words = text.split([' ', '\n', '=']).skip_while(|&word| word != name).skip(1);
    words.next().map_or(0, |number| number.parse().unwrap())
}

#[test]
fn every_controller_that_a_limit_needs_is_enabled() {
    let coracle = need!(Coracle::as_root());
    let all = ["cpu", "cpuset", "hugetlb", "io", "memory", "pids"];
    need!(host::cgroup2_with(&all));
    // Two levels that nobody has made yet.
    let bundle = coracle.bundle().sh("sleep 1000");
    let path = format!("/{}/below", bundle.id());
    let bundle = bundle.set("/linux/cgroupsPath", path).limited(&json!({
        "memory": {"limit": 64 << 20}, "pids": {"limit": 20}, "blockIO": {"weight": 300},
        "cpu": {"shares": 512, "cpus": "0"},
        "hugepageLimits": [{"pageSize": "2MB", "limit": 2 << 20}],
    }));
    coracle.create(&bundle);
    let enabled = fs::read_to_string(cgroup(&coracle, bundle.id()).join("cgroup.controllers"));
    let enabled = enabled.unwrap();
    for name in all {
        assert!(enabled.split_whitespace().any(|one| one == name), "{name}: {enabled}");
    }
    coracle.delete(bundle.id());
}

#[test]
fn a_kill_for_memory_is_counted_and_told() {
    let coracle = need!(Coracle::as_root());
    need!(host::cgroup2_with(&["memory"]));
    // The shell lives on, so that the cgroup can be looked at.
    let script = "tail /dev/zero; echo ended with $?; sleep 1000";
    let limit = json!({"memory": {"limit": 16 << 20, "swap": 16 << 20}});
    let bundle = coracle.bundle().sh(script).limited(&limit);
    let started = coracle.start(&bundle);
    eventually("tail is killed", || started.stdout_by_now().contains("ended with 137"));
    let path = cgroup(&coracle, bundle.id());
    assert_eq!(count(&path, "memory.events", "oom_kill"), 1);
    assert!(count(&path, "memory.events", "max") > 0);
    coracle.delete(bundle.id());
    coracle.assert_nothing_left();
}

#[test]
fn forks_beyond_the_limit_are_counted() {
    let coracle = need!(Coracle::as_root());
    need!(host::cgroup2_with(&["pids", "memory"]));
    let bomb = "bomb() { bomb | bomb & }; bomb; while :; do sleep 1; done";
    let bundle = coracle.bundle().sh(bomb).limited(&json!({"pids": {"limit": 25}}));
    let id = bundle.id();
    coracle.start(&bundle);
    let path = cgroup(&coracle, id);
    eventually("the bomb meets its limit", || count(&path, "pids.events", "max") > 10);
    let peak: u64 = fs::read_to_string(path.join("pids.peak")).unwrap().trim().parse().unwrap();
    assert!(peak <= 25, "{peak} tasks at once");
    coracle.delete(id);
    coracle.assert_nothing_left();
}

#[test]
fn writing_is_slowed_down() {
    let coracle = need!(Coracle::as_root());
    need!(host::cgroup2_with(&["io", "memory"]));
    // On a disk, and not where temporary files may be in memory.
    let disk = need!(Disk::new());
    let write = "dd if=/dev/zero of=/disk/$0 bs=64k count=64 oflag=direct 2>&1; sleep 1000";
    let writer = |name: &str| {
        let source = disk.path().to_str().unwrap();
        coracle.bundle().args(["sh", "-c", write, name]).set(
            "/mounts/-",
            json!({
                "destination": "/disk", "type": "bind", "source": source, "options": ["rbind"],
            }),
        )
    };
    let (major, minor) = disk.numbers();
    let rate = json!([{"major": major, "minor": minor, "rate": 128 << 10}]);
    let slow = writer("slow").set("/linux/resources/blockIO/throttleWriteBpsDevice", rate);
    let free = writer("free");
    coracle.start(&slow);
    let ended = coracle.start(&free);
    eventually("who is free has written", || ended.stdout_by_now().contains("64+0 records out"));
    let written = |id: &str| count(&cgroup(&coracle, id), "io.stat", "wbytes");
    eventually("the slow one has begun", || written(slow.id()) > 0);
    // Of 4 MiB, which it would take half a minute for.
    assert!(written(slow.id()) < 4 << 20, "{}", written(slow.id()));
    for bundle in [&slow, &free] {
        coracle.delete(bundle.id());
    }
    coracle.assert_nothing_left();
}

#[test]
fn huge_pages_are_limited() {
    let coracle = need!(Coracle::as_root());
    need!(host::cgroup2_with(&["hugetlb"]));
    let free = fs::read_to_string("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages");
    if !free.is_ok_and(|free| free.trim().parse::<u32>().is_ok_and(|free| free >= 6)) {
        return coracle_tests::skipped("needs six free huge pages (the guest)");
    }
    let script = "fallocate -l 4m /huge/fits && echo fits; fallocate -l 4m /huge/more || echo held";
    let bundle = coracle
        .bundle()
        .sh(script)
        .set("/linux/resources/hugepageLimits", json!([{"pageSize": "2MB", "limit": 4 << 20}]))
        .set(
            "/mounts/-",
            json!({
                "destination": "/huge", "type": "hugetlbfs", "source": "hugetlbfs",
                "options": ["pagesize=2M"],
            }),
        );
    assert_eq!(coracle.run(&bundle).succeeds().stdout, "fits\nheld\n");
    coracle.assert_nothing_left();
}

#[test]
fn limits_follow_an_update() {
    let coracle = need!(Coracle::as_root());
    need!(host::cgroup2_with(&["cpu", "cpuset", "memory", "pids"]));
    let bundle = coracle.bundle().sh("while :; do :; done");
    let id = bundle.id();
    coracle.start(&bundle);
    let path = cgroup(&coracle, id);
    assert_eq!(count(&path, "cpu.stat", "nr_throttled"), 0);
    let update = ["update", "--cpu-quota", "2000", "--cpu-period", "20000", "--cpuset-cpus", "1"];
    coracle.call(update).args([id]).output().succeeds();
    eventually("it is throttled", || count(&path, "cpu.stat", "nr_throttled") > 2);
    let status = fs::read_to_string(format!("/proc/{}/status", coracle.pid(id))).unwrap();
    assert!(status.contains("Cpus_allowed_list:\t1\n"), "{status}");
    let check = json!({"memory": {"limit": 4096, "checkBeforeUpdate": true}});
    let told = coracle.call(["update", "-r", "-", id]).stdin_text(&check.to_string()).output();
    told.fails();
    let unlimited = fs::read_to_string(path.join("memory.max")).unwrap();
    assert_eq!((unlimited.as_str(), coracle.status(id).as_str()), ("max\n", "running"));
    coracle.delete(id);
    coracle.assert_nothing_left();
}
