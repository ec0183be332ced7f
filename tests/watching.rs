//! A container can be held still, and watched: pause, resume, ps and events.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;

use coracle_tests::{
    Bundle, Call, Coracle, Value, controlled, eventually, has_controller, json, skipped,
};

const SLEEP: &str = "sleep 1000";

/// The statistics that `events --stats` prints.
#[track_caller]
fn stats(coracle: &Coracle, id: &str) -> Value {
    let told = coracle.call(["events", "--stats", id]).output().succeeds();
    assert_eq!(told.stdout.lines().count(), 1);
    let event: Value = told.stdout.parse().expect("JSON");
    assert_eq!((&event["type"], &event["id"]), (&json!("stats"), &json!(id)));
    event["data"].clone()
}

fn statistics_have_the_form_that_engines_read(coracle: &Coracle) {
    let bundle = coracle.bundle().sh(SLEEP).set("/linux/resources/pids/limit", 20);
    coracle.start(&bundle);
    let stats = stats(coracle, bundle.id());
    let keys: Vec<&String> = stats.as_object().unwrap().keys().collect();
    let expected =
        ["cpu", "cpuset", "memory", "pids", "blkio", "hugetlb", "intel_rdt", "network_interfaces"];
    assert_eq!(keys, expected);
    for pointer in [
        "/cpu/usage/kernel",
        "/cpu/usage/user",
        "/cpu/throttling",
        "/cpuset/cpu_exclusive",
        "/memory/usage/limit",
        "/memory/usage/failcnt",
        "/memory/swap/limit",
        "/memory/kernel/failcnt",
        "/memory/kernelTCP/limit",
    ] {
        assert!(stats.pointer(pointer).is_some(), "{pointer}: {stats}");
    }
    assert_eq!(stats["pids"], json!({"current": 1, "limit": 20}));
    if has_controller("memory") {
        assert!(stats["memory"]["usage"]["usage"].as_u64() > Some(0), "{stats}");
        assert!(!stats["memory"]["raw"].as_object().unwrap().is_empty());
    }
    coracle.delete(bundle.id());
    coracle.call(["events", "--stats", bundle.id()]).output().fails().says("does not exist");
}

fn events_go_on_until_the_end_and_tell_of_a_kill(coracle: &Coracle) {
    if !has_controller("memory") {
        return skipped("needs the memory controller");
    }
    let limit = json!({"memory": {"limit": 16 << 20, "swap": 16 << 20}});
    let script = "until [ -e /go ]; do sleep 0.01; done; exec tail /dev/zero";
    let bundle = coracle.bundle().sh(script).limited(&limit);
    let id = bundle.id();
    coracle.start(&bundle);
    let events = coracle.call(["events", "--interval", "20ms", id]).spawn();
    events.prints("\"type\":\"stats\"");
    fs::write(bundle.rootfs().join("go"), "").unwrap();
    let told = events.wait().succeeds();
    let lines: Vec<Value> = told.stdout.lines().map(|line| line.parse().expect(line)).collect();
    assert!(lines.iter().filter(|event| event["type"] == "stats").count() > 0);
    let kills: Vec<_> = lines.iter().filter(|event| event["type"] == "oom").collect();
    assert!(!kills.is_empty(), "{}", told.stdout);
    assert_eq!(*kills[0], json!({"type": "oom", "id": id}));
    coracle.becomes(id, "stopped");
    coracle.call(["events", id]).output().fails().says("container not running");
    coracle.delete(id);
}

fn events_end_with_their_reader_and_refuse_no_interval(coracle: &Coracle) {
    let bundle = coracle.bundle().sh(SLEEP);
    coracle.start(&bundle);
    let id = bundle.id();
    let pipe = "\"$@\" | head -n 1";
    let events =
        coracle.call(["events", "--interval", "10ms", id]).through(["sh", "-c", pipe, "sh"]);
    assert_eq!(events.output().succeeds().stdout.lines().count(), 1);
    for interval in ["0s", "5", "x"] {
        coracle.call(["events", "--interval", interval, id]).output().fails().says("interval");
    }
    coracle.delete(id);
}

/// How far a container has counted.
fn count(bundle: &Bundle) -> u64 {
    let text = fs::read_to_string(bundle.rootfs().join("tmp/count")).unwrap_or_default();
    text.trim().parse().unwrap_or(0)
}

const COUNTING: &str = "n=0; while :; do n=$((n+1)); echo $n > /tmp/c; mv /tmp/c /tmp/count; done";

fn writable(bundle: Bundle) -> Bundle {
    bundle.set("/root/readonly", false)
}

fn a_paused_container_stands_still_and_goes_on(coracle: &Coracle) {
    let bundle = writable(coracle.bundle()).sh(COUNTING);
    let id = bundle.id();
    let call = |command: &str| coracle.call([command, id]).output();
    coracle.start(&bundle);
    eventually("it counts", || count(&bundle) > 1);
    call("resume").fails().says("container not paused");
    call("pause").succeeds();
    assert_eq!(coracle.status(id), "paused");
    let stood = count(&bundle);
    call("pause").fails().says("container not running");
    call("start").fails();
    call("delete").fails();
    assert_eq!(count(&bundle), stood);
    call("resume").succeeds();
    assert_eq!(coracle.status(id), "running");
    eventually("it counts again", || count(&bundle) > stood);
    call("pause").succeeds();
    coracle.call(["kill", id, "KILL"]).output().succeeds();
    coracle.becomes(id, "stopped");
    call("pause").fails().says("container not running");
    call("resume").fails().says("container not paused");
    call("delete").succeeds();
    call("pause").fails().says("does not exist");
    coracle.assert_nothing_left();
}

fn a_created_container_can_be_paused(coracle: &Coracle) {
    let bundle = coracle.bundle().sh(SLEEP);
    let id = bundle.id();
    coracle.create(&bundle);
    coracle.call(["pause", id]).output().succeeds();
    assert_eq!(coracle.status(id), "paused");
    coracle.call(["start", id]).output().fails();
    coracle.call(["resume", id]).output().succeeds();
    assert_eq!(coracle.status(id), "created");
    coracle.call(["start", id]).output().succeeds();
    coracle.call(["pause", id]).output().succeeds();
    coracle.delete(id);
    coracle.assert_nothing_left();
}

fn an_ordinary_user_without_a_cgroup_cannot_pause(coracle: &Coracle) {
    let bundle = coracle.bundle().sh(SLEEP);
    coracle.start(&bundle);
    if controlled(coracle.pid(bundle.id()), "freezer").is_some_and(|(path, _)| path.exists()) {
        coracle.call(["pause", bundle.id()]).output().fails().says("no cgroup");
        assert_eq!(coracle.status(bundle.id()), "running");
    }
    coracle.delete(bundle.id());
}

fn processes_are_listed(coracle: &Coracle) {
    let bundle = coracle.bundle().sh("sleep 1001 & sleep 1002 & wait");
    let id = bundle.id();
    let ps = |words: &[&str]| coracle.call(["ps"]).args(words).output();
    coracle.start(&bundle);
    let pids = || -> Vec<u32> {
        let told = ps(&["--format", "json", id]).succeeds().stdout;
        assert_eq!((told.lines().count(), told.ends_with('\n')), (1, true), "{told}");
        serde_json::from_str(&told).unwrap()
    };
    eventually("all three run", || pids().len() == 3);
    assert!(pids().contains(&coracle.pid(id)));
    if fs::exists("/usr/bin/ps").unwrap() {
        let table = ps(&[id]).succeeds().stdout;
        let mut lines = table.lines();
        let head = lines.next().unwrap();
        assert!(head.contains("PID") && head.contains("CMD"), "{table}");
        assert_eq!(lines.count(), 3, "{table}");
        let chosen = ps(&[id, "-e", "-o", "pid,args"]).succeeds().stdout;
        assert!(chosen.contains("sleep 1002") && !chosen.contains("UID"), "{chosen}");
        assert_eq!(ps(&[id, "aux"]).succeeds().stdout.lines().count(), 4);
        ps(&[id, "-e", "-o", "args"]).fails().says("PID");
        ps(&[id, "--no-such-option"]).fails();
    }
    ps(&["--format", "xml", id]).fails().says("invalid format option");
    coracle.call(["kill", id, "KILL"]).output().succeeds();
    coracle.becomes(id, "stopped");
    ps(&["-f", "json", id]).fails().says("container not running");
    coracle.delete(id);
}

fn under_the_name_of_crun_processes_are_a_column(coracle: &Coracle) {
    let bundle = coracle.bundle().sh(SLEEP);
    let id = bundle.id();
    coracle.start(&bundle);
    let crun = coracle.path().join("crun");
    std::os::unix::fs::symlink(coracle.binary(), &crun).unwrap();
    let call = Call::new([crun.as_os_str(), "--root".as_ref()]).args([coracle.state_directory()]);
    let told = call.args(["ps", id]).output().succeeds().stdout;
    assert_eq!(told, format!("PID\n{}\n", coracle.pid(id)));
    coracle.delete(id);
}

coracle_tests::tests! {
    as_root, as_delegated_user, as_delegated_single_user =>
        statistics_have_the_form_that_engines_read,
        events_go_on_until_the_end_and_tell_of_a_kill,
        events_end_with_their_reader_and_refuse_no_interval;
    as_root, on_cgroup2, as_delegated_user, as_delegated_single_user,
    as_delegated_user_on_cgroup2, as_delegated_single_user_on_cgroup2 =>
        a_paused_container_stands_still_and_goes_on,
        a_created_container_can_be_paused,
        processes_are_listed;
    as_ranged_user, as_single_user => an_ordinary_user_without_a_cgroup_cannot_pause;
    as_root => under_the_name_of_crun_processes_are_a_column;
}
