//! Cgroups that systemd makes (`--systemd-cgroup`). These tests need a machine that it runs; the
//! guest is one.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;

use coracle_tests::systemd::{Host, is_unified, tracked, tracked_directory};
use coracle_tests::{
    Bundle, Call, eventually, has_controller, host, json, need, of_process, skipped,
};

#[test]
fn a_scope_lives_and_dies_with_its_container() {
    let host = need!(Host::as_root());
    let (bundle, unit, slice) = host.bundle();
    let pid = host.start(&bundle);
    assert_eq!(tracked(pid), format!("/{slice}/{unit}"));
    let control_group = format!("/{slice}/{unit}");
    host.has(
        &unit,
        &[
            ("ControlGroup", &control_group),
            ("Slice", &slice),
            ("Delegate", "yes"),
            ("DefaultDependencies", "no"),
            ("Description", &format!("libcontainer container {}", bundle.id())),
            ("ActiveState", "active"),
            ("CollectMode", "inactive-or-failed"),
        ],
    );
    let inside = |words: &[&str]| host.call(&[&["exec", bundle.id()], words].concat()).output();
    let told = inside(&["cat", "/proc/self/cgroup"]).succeeds().stdout;
    assert!(told.contains(&unit), "{told}");
    host.call(&["pause", bundle.id()]).output().succeeds();
    assert_eq!(host.coracle.status(bundle.id()), "paused");
    host.call(&["resume", bundle.id()]).output().succeeds();
    host.call(&["kill", bundle.id(), "KILL"]).output().succeeds();
    host.coracle.becomes(bundle.id(), "stopped");
    host.call(&["delete", bundle.id()]).output().succeeds();
    host.is_gone(&unit);
}

#[test]
fn names_are_runc_s() {
    let host = need!(Host::as_root());
    let id = host.coracle.bundle().id().to_owned();
    for (path, unit, place) in [
        (String::new(), format!("runc-{id}.scope"), "/system.slice/"),
        (
            format!("coracle_a-b.slice:x:{id}"),
            format!("x-{id}.scope"),
            "/coracle_a.slice/coracle_a-b.slice/",
        ),
        (format!("-.slice:y:{id}"), format!("y-{id}.scope"), "/"),
    ] {
        let bundle = host.coracle.bundle().sh("sleep 1000").set("/linux/cgroupsPath", path);
        let words = ["create", "--bundle", bundle.path().to_str().unwrap(), &id];
        host.call(&words).output().succeeds();
        assert_eq!(tracked(host.coracle.pid(&id)), format!("{place}{unit}"));
        host.delete(&id);
        host.is_gone(&unit);
    }
}

#[test]
fn crun_s_state_names_the_scope() {
    let host = need!(Host::as_root());
    let (bundle, unit, _) = host.bundle();
    host.start(&bundle);
    let crun = host.coracle.path().join("crun");
    std::os::unix::fs::symlink(host.coracle.binary(), &crun).unwrap();
    let root = host.coracle.state_directory();
    let told = Call::new([crun.as_os_str(), "--root".as_ref(), root.as_os_str()])
        .args(["state", bundle.id()])
        .output()
        .succeeds();
    assert!(told.stdout.contains(&format!("\"systemd-scope\": \"{unit}\"")), "{}", told.stdout);
    assert!(host.coracle.state(bundle.id()).get("systemd-scope").is_none());
    host.delete(bundle.id());
    host.is_gone(&unit);
}

#[test]
fn annotations_are_properties() {
    let host = need!(Host::as_root());
    let (bundle, unit, _) = host.bundle();
    let bundle = bundle.set(
        "/annotations",
        json!({
            "org.systemd.property.TimeoutStopSec": "uint64 7",
            "org.systemd.property.CollectMode": "'inactive'",
            "org.systemd.property.After": "['sysinit.target']",
        }),
    );
    host.start(&bundle);
    host.has(&unit, &[("TimeoutStopUSec", "7s"), ("CollectMode", "inactive")]);
    assert!(host.property(&unit, "After").contains("sysinit.target"));
    host.delete(bundle.id());
    host.is_gone(&unit);

    for (name, value) in [("NoSuchThing", "true"), ("TimeoutStopSec", "'x'"), ("After", "x")] {
        let key = format!("org.systemd.property.{name}");
        let bundle = bundle_with(&host, "/annotations", json!({ &key: value }));
        host.with_bundle("create", &bundle).output().fails().says(&format!("/annotations/{key}"));
    }
    host.coracle.assert_nothing_left();
}

fn bundle_with(host: &Host, pointer: &str, value: coracle_tests::Value) -> Bundle {
    host.bundle().0.set(pointer, value)
}

/// Starts a container with limits, looks at both sides, and does it again after a daemon-reload.
fn limits_last(host: &Host) {
    let (bundle, unit, _) = host.bundle();
    let bundle = bundle.set(
        "/linux/resources",
        json!({
            "memory": {"limit": 64 << 20, "reservation": 32 << 20, "swap": 96 << 20},
            "cpu": {"shares": 512, "quota": 33_333, "period": 100_000, "cpus": "0"},
            "pids": {"limit": 100},
            "unified": {"memory.high": "50331648"},
        }),
    );
    let pid = host.start(&bundle);
    let directory = tracked_directory(pid);
    let file = |name: &str| fs::read_to_string(directory.join(name)).unwrap().trim_end().to_owned();
    let same = |high: &str, infinity: &str| {
        host.has(
            &unit,
            &[
                ("MemoryMax", "67108864"),
                ("MemoryLow", "33554432"),
                ("MemorySwapMax", "33554432"),
                ("MemoryHigh", infinity),
                ("CPUWeight", "59"),
                ("CPUQuotaPerSecUSec", "340ms"),
                ("TasksMax", "100"),
                ("AllowedCPUs", "0"),
            ],
        );
        for (name, value) in [
            ("memory.max", "67108864"),
            ("memory.low", "33554432"),
            ("memory.swap.max", "33554432"),
            ("memory.high", high),
            ("cpu.weight", "59"),
            ("cpu.max", "33333 100000"),
            ("pids.max", "100"),
            ("cpuset.cpus", "0"),
        ] {
            assert_eq!(file(name), value, "{name}");
        }
    };
    same("50331648", "50331648");
    host.systemctl(&["daemon-reload"]);
    assert_eq!(file("memory.max"), "67108864");
    assert_eq!(file("pids.max"), "100");

    let changed = r#"{"unified": {"memory.high": "max"}, "cpu": {"quota": 33333}}"#;
    host.call(&["update", "--resources", "-", bundle.id()]).stdin_text(changed).output().succeeds();
    same("max", "infinity");
    // What the kernel refuses changes nothing on either side.
    let words = ["update", "--pids-limit", "50", "--cpu-period", "7", bundle.id()];
    host.call(&words).output().fails().says("cpu.max");
    same("max", "infinity");
    host.call(&["update", "--pids-limit", "-1", bundle.id()]).output().succeeds();
    host.has(&unit, &[("TasksMax", "infinity")]);
    assert_eq!(file("pids.max"), "max");
    host.delete(bundle.id());
    host.is_gone(&unit);
}

/// The controllers of those limits.
const CONTROLLERS: [&str; 4] = ["memory", "cpu", "cpuset", "pids"];

#[test]
fn limits_are_properties_and_last() {
    need!(host::cgroup2_with(&CONTROLLERS));
    limits_last(&need!(Host::as_root()));
}

#[test]
fn limits_of_an_ordinary_user_are_properties_and_last() {
    need!(host::cgroup2_with(&CONTROLLERS));
    limits_last(&need!(Host::as_user()));
}

#[test]
fn limits_with_and_without_a_property_are_in_the_files() {
    need!(host::cgroup2_with(&["cpu", "cpuset", "hugetlb", "io", "memory"]));
    let host = need!(Host::as_root());
    let disk = need!(coracle_tests::Disk::new());
    let (major, minor) = disk.numbers();
    let (bundle, unit, _) = host.bundle();
    let bundle = bundle.set(
        "/linux/resources",
        json!({
            "memory": {"limit": 64 << 20},
            "cpu": {"quota": 20000, "burst": 7000, "mems": "0"},
            "blockIO": {
                "weight": 200,
                "throttleReadBpsDevice": [{"major": major, "minor": minor, "rate": 4096}],
            },
            "hugepageLimits": [{"pageSize": "2MB", "limit": 2 << 20}],
        }),
    );
    let pid = host.start(&bundle);
    let id = bundle.id();
    let directory = tracked_directory(pid);
    let file = |name: &str| fs::read_to_string(directory.join(name)).unwrap().trim_end().to_owned();
    assert_eq!(file("cpu.max.burst"), "7000");
    assert_eq!(file("cpuset.mems"), "0");
    assert_eq!(file("io.max"), format!("{major}:{minor} rbps=4096 wbps=max riops=max wiops=max"));
    assert_eq!(file("hugetlb.2MB.max"), "2097152");
    host.has(&unit, &[("AllowedMemoryNodes", "0"), ("IOWeight", "1920")]);
    let check = r#"{"memory": {"limit": 4096, "checkBeforeUpdate": true}}"#;
    let told = host.call(&["update", "-r", "-", id]).stdin_text(check).output().fails();
    assert!(told.stderr.contains("rejecting memory limit"), "{}", told.stderr);
    host.has(&unit, &[("MemoryMax", "67108864")]);
    host.delete(id);
    host.is_gone(&unit);
}

#[test]
fn device_rules_are_the_unit_s_and_hold() {
    let host = need!(Host::as_root());
    let (bundle, unit, _) = host.bundle();
    let script = "head -c 1 /dev/zero | wc -c; (: < /dev/fuse) 2>&1; (: > /dev/fuse) 2>&1; \
                  sleep 1000";
    let fuse = json!({"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229});
    let rule = json!({"allow": true, "type": "c", "major": 10, "minor": 229, "access": "r"});
    let bundle = bundle
        .sh(script)
        .set("/linux/devices", json!([fuse]))
        .set("/linux/resources/devices", json!([{"allow": false, "access": "rwm"}, rule]));
    let started = host.started(&bundle);
    let said = || started.stdout_by_now();
    eventually("writing is refused, and nothing else", || {
        said().starts_with("1\n") && said().matches("Operation not permitted").count() == 1
    });
    host.has(&unit, &[("DevicePolicy", "strict")]);
    host.delete(bundle.id());
    host.is_gone(&unit);
}

#[test]
fn limits_of_a_scope_are_held_and_told() {
    need!(host::cgroup2_with(&CONTROLLERS));
    let host = need!(Host::as_root());
    let (bundle, unit, _) = host.bundle();
    let bundle = bundle
        .set("/linux/resources/memory", json!({"limit": 16 << 20, "swap": 16 << 20}))
        .set("/linux/resources/pids", json!({"limit": 20}))
        .sh("until [ -e /go ]; do sleep 0.1; done; tail /dev/zero; sleep 1000");
    let id = bundle.id();
    host.start(&bundle);
    let stats = host.call(&["events", "--stats", id]).output().succeeds().stdout;
    assert!(stats.contains("\"limit\":20"), "{stats}");
    let listed = host.call(&["ps", "--format", "json", id]).output().succeeds().stdout;
    assert!(listed.contains(&host.coracle.pid(id).to_string()), "{listed}");
    let events = host.call(&["events", "--interval", "50ms", id]).spawn();
    events.prints("\"type\":\"stats\"");
    fs::write(bundle.rootfs().join("go"), "").unwrap();
    events.prints("\"type\":\"oom\"");
    host.call(&["kill", "--all", id, "KILL"]).output().succeeds();
    host.coracle.becomes(id, "stopped");
    events.wait();
    host.call(&["delete", id]).output().succeeds();
    host.is_gone(&unit);
}

#[test]
fn an_ordinary_user_s_scope_is_the_user_s_systemd_s() {
    let host = need!(Host::as_user());
    let (bundle, unit, slice) = host.bundle();
    let pid = host.start(&bundle);
    let place = tracked(pid);
    assert!(place.ends_with(&format!(".service/{slice}/{unit}")), "{place}");
    host.has(&unit, &[("ControlGroup", &place), ("Delegate", "yes")]);
    // Also from outside of the user's cgroups, where only systemd can move it from.
    let told = host.call(&["exec", bundle.id(), "cat", "/proc/self/cgroup"]).output().succeeds();
    assert!(told.stdout.contains(&unit), "{}", told.stdout);
    host.delete(bundle.id());
    host.is_gone(&unit);

    let default = host.coracle.bundle().sh("sleep 1000");
    let pid = host.start(&default);
    let place = tracked(pid);
    let unit = format!("runc-{}.scope", default.id());
    assert!(place.ends_with(&format!(".service/user.slice/{unit}")), "{place}");
    host.delete(default.id());
    host.is_gone(&unit);
}

/// Runs a call where these sockets are none.
fn without(host: &Host, sockets: &[&str], call: Call) -> Call {
    let mut words = vec!["unshare", "-m", "sh", "-c"];
    words.push("until [ $1 = -- ]; do mount --bind /dev/null $1; shift; done; shift; exec \"$@\"");
    words.push("sh");
    words.extend(sockets);
    words.push("--");
    let user = host.coracle.user().map(|user| {
        let (uid, gid) = (format!("--reuid={}", user.uid), format!("--regid={}", user.gid));
        ["setpriv".into(), uid, gid, "--clear-groups".into()]
    });
    call.user(None).through(user.into_iter().flatten()).through(words)
}

/// A life where the bus does not run. systemd's own socket is no public interface: what is said to
/// it has to be tried with a real one.
fn without_a_bus(host: &Host, bus: &str, own: &str) {
    let (bundle, unit, slice) = host.bundle();
    let bundle = bundle.set("/linux/resources/pids", json!({"limit": 100}));
    let (id, path) = (bundle.id(), bundle.path().to_str().unwrap());
    let call = |words: &[&str]| without(host, &[bus], host.call(words)).output().succeeds();
    call(&["create", "--bundle", path, id]);
    let place = tracked(host.coracle.pid(id));
    assert!(place.ends_with(&format!("/{slice}/{unit}")), "{place}");
    host.has(&unit, &[("ActiveState", "active"), ("TasksMax", "100")]);
    call(&["start", id]);
    call(&["update", "--pids-limit", "50", id]);
    host.has(&unit, &[("TasksMax", "50")]);
    let told = call(&["exec", id, "cat", "/proc/self/cgroup"]).stdout;
    assert!(told.contains(&unit), "{told}");
    call(&["delete", "--force", id]);
    host.is_gone(&unit);

    // So it was that socket.
    let create = host.with_bundle("create", &bundle);
    without(host, &[bus, own], create).output().fails().says("the bus cannot be reached");
    host.coracle.assert_nothing_left();
}

#[test]
fn where_no_bus_runs_systemd_is_talked_to_itself() {
    need!(host::cgroup2_with(&["pids"]));
    let host = need!(Host::as_root());
    without_a_bus(&host, "/run/dbus/system_bus_socket", "/run/systemd/private");
}

#[test]
fn where_no_bus_runs_a_user_s_systemd_is_talked_to_itself() {
    need!(host::cgroup2_with(&["pids"]));
    let host = need!(Host::as_user());
    let directory = format!("/run/user/{}", host.coracle.user().unwrap().uid);
    without_a_bus(&host, &format!("{directory}/bus"), &format!("{directory}/systemd/private"));
}

#[test]
fn a_name_that_is_taken_is_refused_and_left_alone() {
    let host = need!(Host::as_root());
    let (first, unit, _) = host.bundle();
    host.start(&first);
    let path = first.config()["linux"]["cgroupsPath"].clone();
    let second = host.coracle.bundle().sh("exit 0").set("/linux/cgroupsPath", path);
    host.with_bundle("run", &second).output().fails().says("systemctl stop").says(&unit);
    assert_eq!(host.coracle.status(first.id()), "running");
    assert_eq!(host.property(&unit, "ActiveState"), "active");
    host.delete(first.id());
    host.is_gone(&unit);
}

#[test]
fn a_start_that_fails_leaves_no_unit() {
    let host = need!(Host::as_root());
    let (bundle, unit, _) = host.bundle();
    let bundle = bundle.args(["/no/such/program"]);
    host.with_bundle("run", &bundle).output().fails();
    host.is_gone(&unit);
}

#[test]
fn one_that_ran_out_of_memory_can_be_made_again() {
    need!(host::cgroup2_with(&CONTROLLERS));
    let host = need!(Host::as_root());
    let (bundle, unit, _) = host.bundle();
    let bundle = bundle
        .set("/linux/resources/memory", json!({"limit": 16 << 20, "swap": 16 << 20}))
        .sh("dd if=/dev/zero of=/dev/null bs=200M count=1; exit 3");
    for _ in 0..2 {
        host.with_bundle("run", &bundle).output().fails();
        host.is_gone(&unit);
    }
}

#[test]
fn a_slice_takes_a_container() {
    let host = need!(Host::as_root());
    let bundle = host.coracle.bundle().sh("sleep 1000");
    let name = format!("{}.slice", bundle.id().replace('-', "_"));
    let bundle = bundle.set("/linux/cgroupsPath", format!("system.slice:x:{name}"));
    let pid = host.start(&bundle);
    assert_eq!(tracked(pid), format!("/{name}"));
    host.has(&name, &[("ActiveState", "active"), ("ControlGroup", &format!("/{name}"))]);
    host.delete(bundle.id());
    host.is_gone(&name);
}

#[test]
fn a_sub_cgroup_is_the_container_s() {
    let host = need!(Host::as_root());
    if !is_unified() {
        skipped("needs cgroup v2");
        return;
    }
    let (bundle, unit, slice) = host.bundle();
    let bundle = bundle.set(
        "/annotations",
        json!({"run.oci.systemd.subgroup": "box", "run.oci.delegate-cgroup": "payload"}),
    );
    let bundle = if has_controller("pids") {
        bundle.set("/linux/resources/pids", json!({"limit": 100}))
    } else {
        bundle
    };
    let pid = host.start(&bundle);
    let place = format!("/{slice}/{unit}/box");
    assert_eq!(tracked(pid), format!("{place}/payload"));
    host.has(&unit, &[("ControlGroup", &format!("/{slice}/{unit}"))]);
    if has_controller("pids") {
        let limit = fs::read_to_string(format!("/sys/fs/cgroup{place}/pids.max")).unwrap();
        assert_eq!(limit, "100\n");
        host.has(&unit, &[("TasksMax", "100")]);
    }
    host.call(&["exec", bundle.id(), "true"]).output().succeeds();
    host.delete(bundle.id());
    host.is_gone(&unit);
}

#[test]
fn on_version_1_every_hierarchy_is_joined() {
    let host = need!(Host::as_root());
    if is_unified() {
        skipped("needs cgroup v1");
        return;
    }
    let (bundle, unit, slice) = host.bundle();
    let bundle = bundle.set("/linux/resources/pids", json!({"limit": 100}));
    let pid = host.start(&bundle);
    for (names, place) in of_process(pid) {
        if !names.is_empty() {
            assert_eq!(place, format!("/{slice}/{unit}"), "{names}");
        }
    }
    host.has(&unit, &[("TasksMax", "100")]);
    host.delete(bundle.id());
    host.is_gone(&unit);
}
