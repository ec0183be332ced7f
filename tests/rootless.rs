//! An ordinary user's containers, from `spec --rootless` on: what holds for root's holds for them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::format_push_string)]

// Most of it is for those who look at the default configuration.
#[allow(dead_code)]
mod inside;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use coracle_tests::{Call, Coracle, User, json, need};
use inside::{look, mount_on, mounts};

#[test]
fn root_inside_is_the_user_outside() {
    let coracle = need!(Coracle::as_user());
    let user = coracle.user().unwrap();
    let script = "id -u; id -g; cat /proc/self/uid_map /proc/self/gid_map; cat /proc/self/setgroups; \
                  touch /tmp/own";
    let bundle = coracle.bundle().set("/root/readonly", false);
    let file = bundle.rootfs().join("tmp/own");
    let told = look(&coracle, bundle, script);
    let words: Vec<&str> = told.split_whitespace().collect();
    let (uid, gid) = (user.uid.to_string(), user.gid.to_string());
    assert_eq!(words, ["0", "0", "0", &uid, "1", "0", &gid, "1", "deny"]);
    let of = fs::metadata(file).unwrap();
    assert_eq!((of.uid(), of.gid()), (user.uid, user.gid));
}

#[test]
fn mounts_have_their_flags() {
    let coracle = need!(Coracle::as_user());
    let mounts = mounts(&coracle, coracle.bundle());
    for (point, kind, options) in [
        ("/proc", "proc", &[][..]),
        ("/dev", "tmpfs", &["nosuid", "size=65536k", "mode=755"]),
        ("/dev/pts", "devpts", &["nosuid", "noexec", "ptmxmode=666", "mode=620"]),
        ("/dev/shm", "tmpfs", &["nosuid", "noexec", "nodev", "size=65536k"]),
        ("/dev/mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
        ("/sys", "sysfs", &["ro", "nosuid", "noexec", "nodev"]),
    ] {
        let mount = mount_on(&mounts, point);
        assert_eq!(mount.kind, kind);
        for option in options {
            assert!(mount.has(option), "{option}: {mount:?}");
        }
    }
}

#[test]
fn subordinate_ids_are_mapped() {
    let coracle = need!(Coracle::as_user());
    let user: User = coracle.user().unwrap().clone();
    let (uids, count) = need!(user.subordinate_ids("subuid"));
    let (gids, _) = need!(user.subordinate_ids("subgid"));
    if Call::new(["sh", "-c", "command -v newuidmap newgidmap"]).output().code != Some(0) {
        coracle_tests::skipped("needs newuidmap (package uidmap)");
        return;
    }
    let map = |own: u32, first: u32| {
        json!([
            {"containerID": 0, "hostID": own, "size": 1},
            {"containerID": 1, "hostID": first, "size": count.min(2000)},
        ])
    };
    let bundle = coracle
        .bundle()
        .set("/linux/uidMappings", map(user.uid, uids))
        .set("/linux/gidMappings", map(user.gid, gids))
        .set("/process/user", json!({"uid": 1000, "gid": 1000, "additionalGids": [5]}))
        .set("/root/readonly", false);
    let file = bundle.rootfs().join("tmp/own");
    let told = look(&coracle, bundle, "id -u; id -g; id -G; touch /tmp/own");
    assert_eq!(told, "1000\n1000\n1000 5\n");
    let of = fs::metadata(file).unwrap();
    assert_eq!((of.uid(), of.gid()), (uids + 999, gids + 999));
    coracle.assert_nothing_left();
}

#[test]
fn containers_are_kept_in_the_runtime_directory() {
    let coracle = need!(Coracle::as_user());
    let bundle = coracle.bundle().sh("sleep 1000");
    let call = |args: &[&str]| coracle.bare().args(args).output().succeeds();
    call(&["run", "--detach", "--bundle", bundle.path().to_str().unwrap(), bundle.id()]);
    assert_eq!(call(&["list", "--quiet"]).stdout, format!("{}\n", bundle.id()));
    let name = coracle.binary().file_name().unwrap();
    let directory = coracle.path().join("xdg").join(name);
    let of = fs::metadata(&directory).unwrap();
    // Sticky: not to be swept away as old (XDG base directory specification).
    assert_eq!(of.permissions().mode() & 0o7777, 0o1700);
    assert!(directory.join(bundle.id()).is_dir());
    call(&["delete", "--force", bundle.id()]);
    assert!(!directory.join(bundle.id()).exists());
    coracle.assert_nothing_left();
}

#[test]
fn what_a_user_may_not_do_is_told() {
    let coracle = need!(Coracle::as_user());
    // Without a user namespace there is nothing that an ordinary user could make.
    let bundle = coracle.bundle().without_namespace("user").sh("exit 0");
    let bundle = bundle.remove("/linux/uidMappings").remove("/linux/gidMappings");
    coracle.run(&bundle).fails().says("spec --rootless");
    coracle.assert_nothing_left();
    // Until it is the program, the first process is closed to its owner.
    let bundle = coracle.bundle().sh("sleep 1000");
    coracle.create(&bundle);
    let exec = || coracle.call(["exec", bundle.id(), "true"]).output();
    exec().fails().says("start it first");
    coracle.call(["start", bundle.id()]).output().succeeds();
    exec().succeeds();
    coracle.delete(bundle.id());
    coracle.assert_nothing_left();
    // Others are told from its processes by a namespace or a cgroup, and there is neither.
    let bundle = coracle.bundle().without_namespace("pid").sh("exec sleep 1000");
    let told = coracle.start(&bundle);
    assert!(told.stderr.contains("what outlives the container's first process"), "{told:?}");
    coracle.call(["kill", "--all", bundle.id(), "KILL"]).output().fails().says("--all");
    coracle.call(["kill", bundle.id(), "KILL"]).output().succeeds();
    coracle.becomes(bundle.id(), "stopped");
    coracle.delete(bundle.id());
    // Another's ID.
    let map = json!([{"containerID": 0, "hostID": 0, "size": 1}]);
    let bundle = coracle.bundle().set("/linux/uidMappings", map).sh("exit 0");
    coracle.run(&bundle).fails();
    coracle.assert_nothing_left();
}

/// What takes the host's root is refused at its place, with the way out.
fn what_only_root_may_ask_for_is_refused(coracle: &Coracle) {
    let device = json!({"path": "/dev/none", "type": "c", "major": 1, "minor": 99});
    let disk = json!({"destination": "/home", "type": "ext4", "source": "/dev/null"});
    let ids = json!({"destination": "/home", "source": "/tmp", "options": ["bind", "idmap"]});
    let real_time = json!({"policy": "SCHED_FIFO", "priority": 10});
    let deadline = json!({"policy": "SCHED_DEADLINE", "runtime": 1_000_000, "deadline": 10_000_000,
        "period": 10_000_000});
    let favoured = json!({"policy": "SCHED_OTHER", "nice": -5});
    let urgent = json!({"class": "IOPRIO_CLASS_RT", "priority": 1});
    for (place, value, way_out) in [
        ("/process/scheduler", real_time, "CAP_SYS_NICE"),
        ("/process/scheduler", deadline, "CAP_SYS_NICE"),
        ("/process/scheduler", favoured, "CAP_SYS_NICE"),
        ("/process/ioPriority", urgent, "CAP_SYS_NICE"),
        ("/process/oomScoreAdj", json!(-500), "CAP_SYS_RESOURCE"),
        ("/linux/sysctl", json!({"net.ipv4.ip_forward": "1"}), "add {\"type\": \"network\"}"),
        ("/linux/sysctl", json!({"kernel.pid_max": "1000000"}), "on the host"),
        ("/linux/resources/memory/limit", json!(64 << 20), "delegated to"),
        ("/linux/cgroupsPath", json!("/not-mine"), "without linux.cgroupsPath"),
        ("/linux/devices", json!([device]), "there has to be one"),
        ("/mounts", disk, "mount those on the host and bind them"),
        ("/mounts", ids, "only root of the host may make an ID-mapped mount"),
    ] {
        let item = if place == "/mounts" { "/mounts/-" } else { place };
        let bundle = coracle.bundle().set(item, value).sh("exit 0");
        let told = coracle.run(&bundle).fails().says("help: ").says(way_out);
        // Of a cgroup its path is said.
        assert!(told.stderr.contains(place) || told.stderr.contains("/sys/fs/cgroup"), "{told:?}");
        coracle.assert_nothing_left();
    }
}

/// Without a namespace of its own a container would name the host.
fn the_host_s_names_are_not_a_user_s_to_change(coracle: &Coracle) {
    for name in ["hostname", "domainname"] {
        let bundle = coracle.bundle().without_namespace("uts").remove("/hostname");
        let bundle = bundle.set(&format!("/{name}"), "mine").sh("exit 0");
        coracle.run(&bundle).fails().says(&format!("/{name}")).says("help: ");
        coracle.assert_nothing_left();
    }
}

/// Engines write device rules for everybody. What a user may open is the host's own permissions'
/// affair, so there is nothing to refuse.
fn device_rules_are_root_s(coracle: &Coracle) {
    let rules = json!([{"allow": false, "access": "rwm"}]);
    let bundle =
        coracle.bundle().set("/linux/resources/devices", rules).set("/root/readonly", false);
    let told = coracle.run(&bundle.sh("head -c 1 /dev/zero | wc -c; mknod /tmp/null c 1 3"));
    assert_eq!(told.stdout, "1\n");
    told.fails().says("Operation not permitted");
    coracle.assert_nothing_left();
}

/// With one id only, there is nobody else inside.
fn with_one_id_there_are_no_others(coracle: &Coracle) {
    for (place, value, way_out) in [
        ("/process/user", json!({"uid": 1000, "gid": 0}), "map it in /linux/uidMappings"),
        ("/process/user", json!({"uid": 0, "gid": 1000}), "map it in /linux/gidMappings"),
        (
            "/process/user/additionalGids",
            json!([0]),
            "map a range of subordinate ids (newgidmap), or take the groups out",
        ),
    ] {
        let bundle = coracle.bundle().set(place, value).sh("exit 0");
        coracle.run(&bundle).fails().says(place).says(way_out);
        coracle.assert_nothing_left();
    }
}

coracle_tests::tests! {
    as_ranged_user, as_single_user =>
        what_only_root_may_ask_for_is_refused,
        the_host_s_names_are_not_a_user_s_to_change;
    as_ranged_user, as_single_user, as_delegated_user, as_delegated_single_user =>
        device_rules_are_root_s;
    as_single_user => with_one_id_there_are_no_others;
}
