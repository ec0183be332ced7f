//! Limits that take what few machines have: a scheduler of block devices that knows weights, the
//! hierarchies that mark the network, a device for remote memory. A disk of the test's own, a mount
//! of its own and a device in software make them real.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::path::{Path, PathBuf};

use coracle_tests::{
    Coracle, LoopDisk, controlled, end_unmounted_hierarchies, has_controller, json, need, skipped,
};

const SLEEP: &str = "sleep 1000";

/// The cgroup of a container for block devices, and its file of weights.
fn weights(coracle: &Coracle, id: &str) -> (PathBuf, &'static str) {
    let (path, unified) = controlled(coracle.pid(id), "io").unwrap();
    (path, if unified { "io.bfq.weight" } else { "blkio.bfq.weight_device" })
}

fn weights_of_a_disk_are_its_scheduler_s(coracle: &Coracle) {
    if !has_controller("blkio") && !has_controller("io") {
        return skipped("needs the controller of block devices");
    }
    let disk = need!(LoopDisk::new("bfq"));
    let (major, minor) = disk.numbers();
    let weight = |weight: u16| {
        json!({"blockIO": {
            "weight": 300,
            "weightDevice": [{"major": major, "minor": minor, "weight": weight}],
        }})
    };
    let bundle = coracle.bundle().sh(SLEEP).limited(&weight(700));
    let id = bundle.id();
    coracle.create(&bundle);
    let (path, file) = weights(coracle, id);
    let line = || {
        let text = fs::read_to_string(path.join(file)).unwrap();
        let begins = format!("{major}:{minor} ");
        text.lines().find_map(|line| line.strip_prefix(&begins)).map(str::to_owned)
    };
    assert_eq!(line().as_deref(), Some("700"));
    let update = |resources: String| {
        coracle.call(["update", "--resources", "-", id]).stdin_text(&resources).output()
    };
    update(weight(200).to_string()).succeeds();
    assert_eq!(line().as_deref(), Some("200"));
    // A weight for all disks is no weight for this one, though bfq would make it so.
    update(json!({"blockIO": {"weight": 400}}).to_string()).succeeds();
    assert_eq!(line().as_deref(), Some("200"));
    // One that fails takes it back.
    let mut bad = weight(500);
    bad["pids"] = json!({"limit": i64::MAX});
    update(bad.to_string()).fails().says("all limits are as they were");
    assert_eq!(line().as_deref(), Some("200"));
    coracle.delete(id);
    coracle.assert_nothing_left();
}

fn a_scheduler_without_weights_is_named(coracle: &Coracle) {
    if !has_controller("blkio") && !has_controller("io") {
        return skipped("needs the controller of block devices");
    }
    let disk = need!(LoopDisk::new("none"));
    let (major, minor) = disk.numbers();
    let devices = json!([{"major": major, "minor": minor, "weight": 500}]);
    let bundle = coracle.bundle().sh("true");
    let bundle = bundle.set("/linux/resources/blockIO/weightDevice", devices);
    let told = coracle.run(&bundle).fails();
    told.says("/linux/resources/blockIO/weightDevice/0/weight = 500").says("such as bfq");
    coracle.assert_nothing_left();
}

/// The controller of costs knows weights too, of disks that it was told to look after, whatever their
/// scheduler.
#[test]
fn weights_of_a_disk_are_those_of_its_costs() {
    let coracle = need!(Coracle::as_root());
    need!(coracle_tests::host::cgroup2_with(&["io"]));
    let disk = need!(LoopDisk::new("none"));
    let (major, minor) = disk.numbers();
    let enable = fs::write("/sys/fs/cgroup/io.cost.qos", format!("{major}:{minor} enable=1"));
    if let Err(error) = enable {
        return skipped(&format!("needs the cost model of the io controller: {error}"));
    }
    let devices = json!([{"major": major, "minor": minor, "weight": 500}]);
    let bundle = coracle.bundle().sh(SLEEP);
    let bundle = bundle.set("/linux/resources/blockIO/weightDevice", devices);
    let id = bundle.id();
    coracle.create(&bundle);
    let (path, _) = controlled(coracle.pid(id), "io").unwrap();
    let line = format!("{major}:{minor} 4950\n");
    let read = || fs::read_to_string(path.join("io.weight")).unwrap();
    assert!(read().contains(&line), "{}", read());
    let bad = json!({
        "blockIO": {"weightDevice": [{"major": major, "minor": minor, "weight": 100}]},
        "pids": {"limit": i64::MAX},
    });
    let told = coracle.call(["update", "-r", "-", id]).stdin_text(&bad.to_string()).output();
    told.fails().says("all limits are as they were");
    assert!(read().contains(&line), "{}", read());
    coracle.delete(id);
    coracle.assert_nothing_left();
}

fn the_network_is_marked(coracle: &Coracle) {
    let network = |class: u32, priority: u32| {
        json!({"network": {
            "classID": class, "priorities": [{"name": "lo", "priority": priority}],
        }})
    };
    let bundle = coracle.bundle().sh(SLEEP).limited(&network(0x10_0001, 5));
    let id = bundle.id();
    coracle.create(&bundle);
    // What this process does not see mounted, one in the mount namespace of the runtime does.
    let record = coracle.state_directory().join(id).join("state.json");
    let record: coracle_tests::Value = fs::read_to_string(record).unwrap().parse().unwrap();
    let place = record["cgroup_paths"]["net_cls"].as_str().unwrap();
    assert_eq!(record["cgroup_paths"]["net_prio"], place);
    let read = |file: &str| coracle.cat(&Path::new(place).join(file)).output().succeeds().stdout;
    assert_eq!(read("net_cls.classid"), "1048577\n");
    assert!(read("net_prio.ifpriomap").starts_with("lo 5\n"), "{}", read("net_prio.ifpriomap"));
    assert_eq!(read("cgroup.procs"), format!("{}\n", coracle.pid(id)));
    let change = network(7, 9).to_string();
    coracle.call(["update", "-r", "-", id]).stdin_text(&change).output().succeeds();
    assert_eq!(read("net_cls.classid"), "7\n");
    assert!(read("net_prio.ifpriomap").starts_with("lo 9\n"));
    coracle.delete(id);
    coracle.cat(&Path::new(place).join("tasks")).output().fails();

    let unknown = json!({"network": {"priorities": [{"name": "none0", "priority": 1}]}});
    let told = coracle.run(&coracle.bundle().sh("true").limited(&unknown)).fails();
    told.says("/linux/resources/network/priorities/0/priority").says("a known interface");
    coracle.assert_nothing_left();
}

/// Not in parallel: of both, the first to mount makes the hierarchy and the last takes it away.
#[test]
fn the_network_is_marked_by_root_and_by_a_user() {
    the_network_is_marked(&need!(Coracle::with_network_marks()));
    the_network_is_marked(&need!(Coracle::as_delegated_user_with_network_marks()));
    end_unmounted_hierarchies();
}

coracle_tests::tests! {
    as_root, as_delegated_user =>
        weights_of_a_disk_are_its_scheduler_s,
        a_scheduler_without_weights_is_named;
}
