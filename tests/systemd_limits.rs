//! Limits of cgroups that systemd makes (`--systemd-cgroup`), and the commands about them: what holds
//! without systemd holds with it, and what is refused leaves no unit.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::path::Path;

use coracle_tests::systemd::{Host, is_unified, tracked, tracked_directory};
use coracle_tests::{
    Call, LoopDisk, Needs, Value, eventually, host, json, lacking_on_version_2, need,
};

/// Version 2 alone.
fn unified() -> Needs<()> {
    if is_unified() { Ok(()) } else { Err("needs cgroup v2 alone (the guest)".into()) }
}

fn read(directory: &Path, file: &str) -> String {
    fs::read_to_string(directory.join(file)).unwrap().trim_end().to_owned()
}

/// Asks for limits that are refused, and looks for what was left.
#[track_caller]
fn is_refused(host: &Host, resources: &Value, words: &str) {
    let (bundle, unit, _) = host.bundle();
    host.with_bundle("create", &bundle.limited(resources)).output().fails().says(words);
    host.is_gone(&unit);
}

fn what_version_2_lacks(host: &Host) {
    for (resources, words) in lacking_on_version_2() {
        is_refused(host, &resources, words);
    }
}

#[test]
fn what_version_2_lacks_is_refused_and_leaves_no_unit() {
    need!(unified());
    what_version_2_lacks(&need!(Host::as_root()));
}

#[test]
fn what_version_2_lacks_is_refused_to_a_user_and_leaves_no_unit() {
    need!(unified());
    what_version_2_lacks(&need!(Host::as_user()));
}

#[test]
fn what_the_kernel_refuses_leaves_no_unit() {
    need!(host::cgroup2_with(&["rdma", "hugetlb", "io"]));
    let host = need!(Host::as_root());
    let rdma = json!({"rdma": {"none": {"hcaHandles": 1}}});
    is_refused(&host, &rdma, "/linux/resources/rdma/none");
    let pages = json!({"hugepageLimits": [{"pageSize": "3MB", "limit": 3}]});
    is_refused(&host, &pages, "this machine's huge pages are of");
    let disk = need!(LoopDisk::new("none"));
    let (major, minor) = disk.numbers();
    let weight = json!([{"major": major, "minor": minor, "weight": 500}]);
    let words = "/linux/resources/blockIO/weightDevice/0/weight = 500";
    is_refused(&host, &json!({"blockIO": {"weightDevice": weight}}), words);
}

#[test]
fn limits_of_kernel_memory_are_ignored_with_a_word() {
    let host = need!(Host::as_root());
    let (bundle, unit, _) = host.bundle();
    let memory = json!({"memory": {"kernel": 1 << 20, "kernelTCP": 1 << 20}});
    let bundle = bundle.sh("exit 7").limited(&memory);
    let told = host.with_bundle("run", &bundle).output().exits(7);
    let words = "limits of kernel memory are deprecated: ignored";
    assert_eq!(told.stderr.matches(words).count(), 2, "{}", told.stderr);
    host.is_gone(&unit);
}

#[test]
fn an_idle_one_stays_idle() {
    need!(host::cgroup2_with(&["cpu", "pids"]));
    let host = need!(Host::as_root());
    let (bundle, unit, _) = host.bundle();
    let bundle = bundle.limited(&json!({"cpu": {"idle": 1}, "pids": {"limit": 30}}));
    let directory = tracked_directory(host.start(&bundle));
    assert_eq!(read(&directory, "cpu.idle"), "1");
    // systemd writes all that it knows of the unit.
    host.systemctl(&["daemon-reload"]);
    host.systemctl(&["set-property", "--runtime", &unit, "CPUQuota=50%"]);
    assert_eq!(read(&directory, "cpu.max"), "50000 100000");
    assert_eq!(read(&directory, "cpu.idle"), "1");
    let update = ["update", "--pids-limit", "40", bundle.id()];
    host.call(&update).output().succeeds();
    assert_eq!(read(&directory, "cpu.idle"), "1");
    host.call(&["update", "--cpu-idle", "0", bundle.id()]).output().succeeds();
    assert_eq!(read(&directory, "cpu.idle"), "0");
    host.delete(bundle.id());
    host.is_gone(&unit);
}

#[test]
fn weights_of_a_disk_are_its_scheduler_s() {
    need!(host::cgroup2_with(&["io"]));
    let host = need!(Host::as_root());
    let disk = need!(LoopDisk::new("bfq"));
    let (major, minor) = disk.numbers();
    let (bundle, unit, _) = host.bundle();
    let bundle = bundle.limited(&json!({"blockIO": {
        "weight": 300, "weightDevice": [{"major": major, "minor": minor, "weight": 700}],
    }}));
    let directory = tracked_directory(host.start(&bundle));
    // Whatever systemd writes meanwhile: on its scale, and as it is carried over to bfq's.
    let lasts = || {
        let text = read(&directory, "io.bfq.weight");
        let line = format!("{major}:{minor} 7");
        assert!(text.starts_with("default 3") && text.contains(&line), "{text}");
    };
    lasts();
    host.systemctl(&["daemon-reload"]);
    lasts();
    assert!(host.property(&unit, "IODeviceWeight").ends_with(" 6970"));
    host.delete(bundle.id());
    host.is_gone(&unit);
}

/// A process that lives on, and others that each make the next one and end.
const FORKING: &str = "next() { echo; next & }; for i in 1 2 3 4 5 6 7 8; do next & done; \
                       while :; do sleep 1000; done";

fn is_held_while_it_forks(host: &Host) {
    let (bundle, unit, _) = host.bundle();
    let bundle = bundle.sh(FORKING);
    let id = bundle.id();
    let started = host.started(&bundle);
    let directory = tracked_directory(host.coracle.pid(id));
    for _ in 0..2 {
        let before = started.stdout_by_now().len();
        eventually("it forks", || started.stdout_by_now().len() > before);
        host.call(&["pause", id]).output().succeeds();
        assert!(read(&directory, "cgroup.events").contains("frozen 1"));
        let held = read(&directory, "cgroup.procs");
        assert_eq!(host.coracle.status(id), "paused");
        assert_eq!(read(&directory, "cgroup.procs"), held);
        host.call(&["resume", id]).output().succeeds();
    }
    host.call(&["pause", id]).output().succeeds();
    host.delete(id);
    host.is_gone(&unit);
}

#[test]
fn a_scope_is_held_while_it_forks() {
    need!(unified());
    is_held_while_it_forks(&need!(Host::as_root()));
}

#[test]
fn a_user_s_scope_is_held_while_it_forks() {
    need!(unified());
    is_held_while_it_forks(&need!(Host::as_user()));
}

#[test]
fn a_signal_to_all_misses_none_that_is_being_made() {
    need!(unified());
    let host = need!(Host::as_root());
    for signal in ["TERM", "KILL"] {
        let (bundle, unit, _) = host.bundle();
        let bundle = bundle.without_namespace("pid").sh(FORKING);
        let started = host.started(&bundle);
        eventually("it forks", || started.stdout_by_now().len() > 10);
        let processes = tracked_directory(host.coracle.pid(bundle.id())).join("cgroup.procs");
        host.call(&["kill", "--all", bundle.id(), signal]).output().succeeds();
        // In one look: one process of /proc at a time, they would outrun this test as well.
        eventually("all die", || fs::read_to_string(&processes).unwrap_or_default().is_empty());
        host.coracle.becomes(bundle.id(), "stopped");
        host.delete(bundle.id());
        host.is_gone(&unit);
    }
}

fn what_is_nested(host: &Host) {
    let (bundle, unit, _) = host.bundle();
    let id = bundle.id();
    let pid = host.start(&bundle);
    let directory = tracked_directory(pid);
    let inner = directory.join("inner");
    fs::create_dir(&inner).unwrap();
    fs::write(inner.join("cgroup.procs"), pid.to_string()).unwrap();
    host.call(&["pause", id]).output().succeeds();
    assert!(read(&inner, "cgroup.events").contains("frozen 1"));
    host.call(&["resume", id]).output().succeeds();
    eventually("it goes on", || read(&inner, "cgroup.events").contains("frozen 0"));
    // It is looked at as deep as it is.
    let listed = host.call(&["ps", "--format", "json", id]).output().succeeds().stdout;
    assert_eq!(listed, format!("[{pid}]\n"));
    // One of the container's for another process, which goes with it.
    let told = host.call(&["exec", "--cgroup", "inner", id, "cat", "/proc/self/cgroup"]).output();
    let place = format!("{unit}/inner\n");
    assert!(told.succeeds().stdout.ends_with(&place), "{place}");
    let outside = host.call(&["exec", "--cgroup", "none", id, "true"]).output();
    outside.fails().says("no such file");
    host.delete(id);
    host.is_gone(&unit);
}

#[test]
fn cgroups_in_a_scope_are_the_container_s() {
    need!(unified());
    what_is_nested(&need!(Host::as_root()));
}

#[test]
fn cgroups_in_a_user_s_scope_are_the_container_s() {
    need!(unified());
    what_is_nested(&need!(Host::as_user()));
}

#[test]
fn a_stranger_in_a_scope_goes_with_it() {
    need!(unified());
    let host = need!(Host::as_root());
    let (bundle, unit, _) = host.bundle();
    let directory = tracked_directory(host.start(&bundle));
    let stranger = Call::new(["sleep", "1000"]).spawn();
    fs::write(directory.join("cgroup.procs"), stranger.pid().to_string()).unwrap();
    host.delete(bundle.id());
    assert!(stranger.wait().signal.is_some(), "it was killed");
    host.is_gone(&unit);
}

fn the_record_and_the_figures(host: &Host) {
    let (bundle, unit, _) = host.bundle();
    let bundle = bundle.limited(&json!({"memory": {"limit": 64 << 20}, "pids": {"limit": 20}}));
    let id = bundle.id();
    let pid = host.start(&bundle);
    let record = host.coracle.state_directory().join(id).join("state.json");
    let record: Value = fs::read_to_string(record).unwrap().parse().unwrap();
    let directory = tracked_directory(pid);
    assert_eq!(record["cgroup_paths"], json!({"": directory}), "{}", tracked(pid));
    assert_eq!(read(&directory, "cgroup.procs"), pid.to_string());
    host.call(&["pause", id]).output().succeeds();
    eventually("both tell the same", || {
        let before = read(&directory, "memory.current");
        let told = host.call(&["events", "--stats", id]).output().succeeds().stdout;
        let event: Value = told.parse().unwrap();
        let memory = &event["data"]["memory"]["usage"];
        assert_eq!(memory["limit"], 64 << 20, "{told}");
        assert_eq!(event["data"]["pids"], json!({"current": 1, "limit": 20}));
        assert!(event["data"]["cpu"]["usage"]["total"].as_u64() > Some(0), "{told}");
        memory["usage"].as_u64() == before.parse().ok()
    });
    host.delete(id);
    host.is_gone(&unit);
}

#[test]
fn the_record_says_where_figures_are() {
    need!(host::cgroup2_with(&["memory", "pids"]));
    the_record_and_the_figures(&need!(Host::as_root()));
}

#[test]
fn the_record_says_where_a_user_s_figures_are() {
    need!(host::cgroup2_with(&["memory", "pids"]));
    the_record_and_the_figures(&need!(Host::as_user()));
}

/// The user's systemd hands on what it was given, which the guest's was given in full but for this.
#[test]
fn a_controller_that_a_user_was_not_given_is_named() {
    need!(host::cgroup2_with(&["rdma", "hugetlb"]));
    let host = need!(Host::as_user());
    // systemd hands on neither, but others may have done so before.
    let uid = host.coracle.user().expect("an ordinary one").uid;
    let own = format!("/sys/fs/cgroup/user.slice/user-{uid}.slice/user@{uid}.service");
    let given = read(Path::new(&own), "cgroup.controllers");
    let is_given = |name: &str| given.split(' ').any(|one| one == name);
    let rdma = json!({"rdma": {"none": {"hcaHandles": 1}}});
    let words = "enabling the rdma controller";
    is_refused(&host, &rdma, if is_given("rdma") { "/linux/resources/rdma/none" } else { words });
    let huge = json!({"hugepageLimits": [{"pageSize": "2MB", "limit": 2 << 20}]});
    if !is_given("hugetlb") {
        return is_refused(&host, &huge, "enabling the hugetlb controller");
    }
    let (bundle, unit, _) = host.bundle();
    let bundle = bundle.limited(&huge);
    let directory = tracked_directory(host.start(&bundle));
    assert_eq!(read(&directory, "hugetlb.2MB.max"), "2097152");
    host.delete(bundle.id());
    host.is_gone(&unit);
}

#[test]
fn device_rules_of_a_user_do_not_hold_and_nothing_is_said() {
    need!(unified());
    let host = need!(Host::as_user());
    let (bundle, unit, _) = host.bundle();
    let rules = json!([{"allow": false, "access": "rwm"}]);
    let bundle = bundle.sh("head -c 1 /dev/zero | wc -c").set("/linux/resources/devices", rules);
    let told = host.with_bundle("run", &bundle).output().succeeds();
    assert_eq!((told.stdout.as_str(), told.stderr.as_str()), ("1\n", ""));
    host.is_gone(&unit);
}
