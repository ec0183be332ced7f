//! Limits that a kernel or a user does not have: each is refused with its place and what to do, or
//! ignored with a word, wherever it may be asked for.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::os::unix::fs::chown;

use coracle_tests::{
    Coracle, Value, controlled, controllers, has_controller, json, lacking_on_version_2, limit_of,
    skipped,
};

const SLEEP: &str = "sleep 1000";

fn what_version_2_lacks_is_refused(coracle: &Coracle) {
    for (resources, words) in lacking_on_version_2() {
        let bundle = coracle.bundle().sh("true").limited(&resources);
        coracle.run(&bundle).fails().says(words);
    }
    // What is so anyway asks for nothing.
    let usual = json!({"memory": {"disableOOMKiller": false, "useHierarchy": true}});
    coracle.run(&coracle.bundle().sh("exit 7").limited(&usual)).exits(7);
    coracle.assert_nothing_left();
}

fn limits_of_kernel_memory_are_ignored_with_a_word(coracle: &Coracle) {
    let memory = json!({"memory": {"kernel": 1 << 20, "kernelTCP": 1 << 20}});
    let told = coracle.run(&coracle.bundle().sh("exit 7").limited(&memory)).exits(7);
    let words = "limits of kernel memory are deprecated: ignored";
    assert_eq!(told.stderr.matches(words).count(), 2, "{}", told.stderr);
    for field in ["kernel", "kernelTCP"] {
        let pointer = format!("/linux/resources/memory/{field}]");
        assert!(told.stderr.contains(&pointer), "{}", told.stderr);
    }
    coracle.assert_nothing_left();
}

/// The scheduler that had them left Linux with 5.0.
fn leaf_weights_are_refused(coracle: &Coracle) {
    if !has_controller("blkio") && !has_controller("io") {
        return skipped("needs the controller of block devices");
    }
    let device = json!([{"major": 7, "minor": 0, "leafWeight": 10}]);
    for (block_io, pointer) in [
        (json!({"leafWeight": 10}), "/linux/resources/blockIO/leafWeight = 10"),
        (
            json!({"weightDevice": device}),
            "/linux/resources/blockIO/weightDevice/0/leafWeight = 10",
        ),
    ] {
        let bundle = coracle.bundle().sh("true").set("/linux/resources/blockIO", block_io);
        coracle.run(&bundle).fails().says(pointer).says("help: ");
    }
    coracle.assert_nothing_left();
}

fn a_device_for_remote_memory_that_is_not_there_is_refused(coracle: &Coracle) {
    let rdma = json!({"rdma": {"none": {"hcaHandles": 1}}});
    let told = coracle.run(&coracle.bundle().sh("true").limited(&rdma)).fails();
    if !has_controller("rdma") {
        told.says("enabling the rdma controller").says("the machine or the cgroup above lacks it");
    } else if coracle.user().is_some() {
        // Either the controller was not handed down to the user, or it was and has no such device.
        told.says("/linux/resources").says("help: ");
    } else {
        told.says("/linux/resources/rdma/none").says("help: limits of a device that there is");
    }
    coracle.assert_nothing_left();
}

/// A user to whom the top of what is theirs was not given to hand controllers on with.
fn a_controller_that_is_not_delegated_is_named(coracle: &Coracle) {
    if !has_controller("hugetlb") {
        return skipped("needs the hugetlb controller in version 2");
    }
    for cgroup in coracle.delegated() {
        let file = cgroup.join("cgroup.subtree_control");
        if file.exists() {
            chown(file, Some(0), Some(0)).unwrap();
        }
    }
    let huge = json!({"hugepageLimits": [{"pageSize": "2MB", "limit": 2 << 20}]});
    let told = coracle.run(&coracle.bundle().sh("true").limited(&huge)).fails();
    told.says("enabling the hugetlb controller").says("have this controller delegated to you");
    coracle.run(&coracle.bundle().sh("exit 7")).exits(7);
    coracle.assert_nothing_left();
}

fn huge_pages_that_are_delegated_are_limited(coracle: &Coracle) {
    if !has_controller("hugetlb") {
        return skipped("needs the hugetlb controller in version 2");
    }
    let huge = json!({"hugepageLimits": [{"pageSize": "2MB", "limit": 2 << 20}]});
    let bundle = coracle.bundle().sh(SLEEP).limited(&huge);
    coracle.create(&bundle);
    let pid = coracle.pid(bundle.id());
    for file in ["hugetlb.2MB.max", "hugetlb.2MB.rsvd.max"] {
        let (_, path) = controllers(pid).into_iter().find(|(names, _)| names.is_empty()).unwrap();
        assert_eq!(fs::read_to_string(path.join(file)).unwrap(), "2097152\n", "{file}");
    }
    coracle.delete(bundle.id());
    coracle.assert_nothing_left();
}

/// On a hybrid the user's cgroup is in the one of the runtime, whose processes are in the way.
fn a_cgroup_with_processes_in_it_hands_nothing_on(coracle: &Coracle) {
    if !has_controller("hugetlb") || fs::exists("/sys/fs/cgroup/cgroup.controllers").unwrap() {
        return skipped("needs the hugetlb controller in version 2, beside version 1");
    }
    let huge = json!({"hugepageLimits": [{"pageSize": "2MB", "limit": 2 << 20}]});
    let told = coracle.run(&coracle.bundle().sh("true").limited(&huge)).fails();
    told.says("EBUSY").says("a cgroup above it has processes in it");
    coracle.assert_nothing_left();
}

/// Groups share out what the one above them has; a new one has nothing.
fn a_user_shares_out_the_real_time_that_root_gave(coracle: &Coracle) {
    if !fs::exists("/sys/fs/cgroup/cpu/cpu.rt_runtime_us").unwrap() {
        return skipped("needs real-time groups, in version 1");
    }
    let limited = || {
        let realtime = json!({"cpu": {"realtimeRuntime": 1000, "realtimePeriod": 500_000}});
        coracle.bundle().sh(SLEEP).limited(&realtime)
    };
    let told = coracle.run(&limited()).fails().says("/linux/resources/cpu/realtimeRuntime = 1000");
    told.says("of time that the cgroup above has to give");
    let own = coracle.delegated().iter().find(|path| path.starts_with("/sys/fs/cgroup/cpu"));
    let own = own.unwrap();
    for (path, time) in [(own.clone(), "20000"), (own.join("session"), "10000")] {
        fs::write(path.join("cpu.rt_runtime_us"), time).unwrap();
    }
    let bundle = limited();
    coracle.create(&bundle);
    let pid = coracle.pid(bundle.id());
    assert_eq!(limit_of(pid, "cpu", ["cpu.rt_runtime_us"; 2]), "1000");
    assert_eq!(limit_of(pid, "cpu", ["cpu.rt_period_us"; 2]), "500000");
    coracle.delete(bundle.id());
    coracle.assert_nothing_left();
}

/// The kernel lets nobody but root set them; nor can a user's container make a device. So they add
/// nothing, and engines pass them always.
fn device_rules_of_a_user_do_not_hold_and_nothing_is_said(coracle: &Coracle) {
    let script = "head -c 1 /dev/zero | wc -c; mknod /tmp/mine c 1 5 2> /dev/null || echo no node";
    let run = |rules: Value| {
        let bundle = coracle.bundle().set("/root/readonly", false).sh(script);
        let told = coracle.run(&bundle.set("/linux/resources/devices", rules)).succeeds();
        assert_eq!((told.stdout.as_str(), told.stderr.as_str()), ("1\nno node\n", ""));
    };
    run(json!([{"allow": false, "access": "rwm"}]));
    // Against a rule about it, too.
    let zero = json!({"allow": false, "type": "c", "major": 1, "minor": 5, "access": "rwm"});
    run(json!([{"allow": true, "access": "rwm"}, zero]));
    let bundle = coracle.bundle().sh(SLEEP);
    let bundle = bundle.set("/linux/resources/devices", json!([{"allow": false, "access": "rwm"}]));
    coracle.create(&bundle);
    if let Some((path, false)) = controlled(coracle.pid(bundle.id()), "devices") {
        let list = fs::read_to_string(path.join("devices.list")).unwrap();
        assert_eq!(list, "a *:* rwm\n");
    }
    coracle.delete(bundle.id());
    coracle.assert_nothing_left();
}

coracle_tests::tests! {
    on_cgroup2, as_delegated_user_on_cgroup2 =>
        what_version_2_lacks_is_refused;
    as_root, on_cgroup2, as_delegated_user, as_delegated_user_on_cgroup2 =>
        limits_of_kernel_memory_are_ignored_with_a_word;
    as_root, as_delegated_user =>
        leaf_weights_are_refused,
        a_device_for_remote_memory_that_is_not_there_is_refused;
    as_delegated_user, as_delegated_user_on_cgroup2 =>
        a_controller_that_is_not_delegated_is_named;
    as_delegated_user_on_cgroup2 =>
        huge_pages_that_are_delegated_are_limited;
    as_delegated_user =>
        a_cgroup_with_processes_in_it_hands_nothing_on,
        a_user_shares_out_the_real_time_that_root_gave;
    as_single_user, as_delegated_user =>
        device_rules_of_a_user_do_not_hold_and_nothing_is_said;
}
