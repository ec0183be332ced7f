//! What is said to systemd and what becomes of its answers, with a bus of the test's own: no
//! systemd is needed.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod bus;
mod patience;
mod versions;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use bus::{Answer, Bus, Said, bundle, obedient};
use coracle_tests::{Coracle, controlled, eventually, json, need};

fn lives_with_few_words(coracle: &Coracle, unified: bool) {
    let (bundle, unit) = bundle(coracle);
    let bus = Bus::new(coracle, obedient(&unit, unified));
    bus.create(coracle, &bundle).output().succeeds();
    // One wait in all for: who am I, tell me of the job, start it, it has ended.
    assert_eq!(bus.said(), "| Hello AddMatch StartTransientUnit");
    let pid = coracle.pid(bundle.id());
    let cgroup = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    assert!(cgroup.lines().any(|line| line.ends_with(&format!(":/{unit}"))), "{cgroup}");
    // Neither looking nor starting asks systemd anything.
    for words in
        [&["start", bundle.id()][..], &["state", bundle.id()], &["kill", bundle.id(), "KILL"]]
    {
        bus.call(coracle, words).output().succeeds();
    }
    coracle.becomes(bundle.id(), "stopped");
    bus.call(coracle, &["delete", bundle.id()]).output().succeeds();
    let said = "| Hello AddMatch StartTransientUnit | Hello AddMatch StopUnit ResetFailedUnit";
    assert_eq!(bus.said(), said);
    coracle.assert_nothing_left();
}

#[test]
fn a_life_takes_few_words() {
    lives_with_few_words(&need!(Coracle::as_root()), false);
}

#[test]
fn a_life_takes_few_words_on_cgroup2() {
    lives_with_few_words(&need!(Coracle::on_cgroup2()), true);
}

/// Without a bus, systemd is talked to itself.
#[test]
fn where_no_bus_is_systemd_s_own_socket_serves() {
    let coracle = need!(Coracle::as_root());
    let (bundle, unit) = bundle(&coracle);
    let bus = Bus::direct(&coracle, obedient(&unit, false));
    let path = bundle.path().to_str().unwrap().to_owned();
    let call = |words: &[&str]| bus.call_directly(&coracle, words).output().succeeds();
    call(&["create", "--bundle", &path, bundle.id()]);
    call(&["update", "--cpu-share", "100", bundle.id()]);
    call(&["delete", "--force", bundle.id()]);
    // It has no names to give, and no signals but its own.
    let said = "| StartTransientUnit | SetUnitProperties | StopUnit ResetFailedUnit";
    assert_eq!(bus.said(), said);
    coracle.assert_nothing_left();
}

/// systemd, too, writes the rules of version 1 one by one, beginning with none allowed.
#[test]
fn on_version_1_init_makes_no_node_before_its_unit_is_there() {
    let coracle = need!(Coracle::as_root());
    let tree = Path::new("/sys/fs/cgroup/devices");
    if !tree.join("cgroup.procs").exists() {
        return coracle_tests::skipped("needs the devices controller in version 1");
    }
    let (bundle, unit) = bundle(&coracle);
    let device = json!([{"path": "/node", "type": "c", "major": 1, "minor": 3}]);
    let bundle = bundle.set("/linux/devices", device);
    let obey = obedient(&unit, false);
    let denied = tree.join(&unit);
    let bus = Bus::new(&coracle, move |said| {
        if said.member == "StartTransientUnit" {
            fs::create_dir(&denied).unwrap();
            fs::write(denied.join("devices.deny"), "a").unwrap();
            fs::write(denied.join("cgroup.procs"), said.pid()).unwrap();
            // Until it does no more by itself.
            eventually("init waits", || {
                let stat = fs::read_to_string(format!("/proc/{}/stat", said.pid())).unwrap();
                stat.contains(") S ")
            });
        }
        obey(said)
    });
    bus.create(&coracle, &bundle).output().succeeds();
    // One that may not be made is bound, on a file.
    let node = fs::symlink_metadata(bundle.rootfs().join("node")).unwrap();
    assert_eq!(node.rdev(), rustix::fs::makedev(1, 3));
    bus.call(&coracle, &["delete", "--force", bundle.id()]).output().succeeds();
    coracle.assert_nothing_left();
}

/// Tries to create a container against a systemd like this; what it says, and all that was said.
fn refused(answer: impl Fn(&Said) -> Answer + Send + 'static) -> (String, String) {
    let coracle = Coracle::as_root().unwrap();
    let (bundle, _) = bundle(&coracle);
    let bus = Bus::new(&coracle, answer);
    let told = bus.create(&coracle, &bundle).output().fails();
    eventually("all is gone", || coracle.leftovers().is_empty());
    (told.stderr, bus.said())
}

#[test]
fn what_systemd_refuses_leaves_nothing_behind() {
    need!(Coracle::as_root());
    let (told, said) = refused(|_| Answer::Refuse("org.example.Error.No", "Not today.".to_owned()));
    assert!(told.contains("Not today"), "{told}");
    assert_eq!(said, "| Hello AddMatch StartTransientUnit");
}

#[test]
fn a_job_that_fails_is_told_and_reset() {
    need!(Coracle::as_root());
    for result in ["failed", "canceled", "timeout", "dependency", "skipped"] {
        let (told, said) = refused(move |_| Answer::Job(result));
        assert!(told.contains(&format!("\"{result}\"")), "{told}");
        assert_eq!(said, "| Hello AddMatch StartTransientUnit ResetFailedUnit");
    }
}

#[test]
fn a_bus_that_hangs_up_is_told() {
    need!(Coracle::as_root());
    let (told, _) = refused(|_| Answer::HangUp);
    assert!(told.contains("the bus hung up"), "{told}");
}

#[test]
fn a_bus_that_is_not_there_is_told() {
    let coracle = need!(Coracle::as_root());
    let (bundle, _) = bundle(&coracle);
    let bus = Bus { path: coracle.path().join("none"), said: Arc::default() };
    bus.create(&coracle, &bundle).output().fails().says("cannot be reached").says("cgroupfs");
    coracle.assert_nothing_left();
}

#[test]
fn signals_of_others_are_not_believed() {
    need!(Coracle::as_root());
    let (told, _) = refused(|_| Answer::Forged("failed"));
    assert!(told.contains("\"failed\""), "{told}");
}

#[test]
fn a_process_that_was_not_moved_is_told() {
    need!(Coracle::as_root());
    let (told, said) = refused(|said| match said.member.as_str() {
        "StartTransientUnit" | "StopUnit" => Answer::Job("done"),
        _ => Answer::Done,
    });
    assert!(told.contains("did not put process"), "{told}");
    assert!(said.ends_with("| Hello AddMatch StopUnit ResetFailedUnit"), "{said}");
}

#[test]
fn a_unit_that_is_there_is_reset_once() {
    need!(Coracle::as_root());
    let (told, said) = refused(|said| match said.member.as_str() {
        "StartTransientUnit" => Answer::Refuse(
            "org.freedesktop.systemd1.UnitExists",
            "Unit x was already loaded.".to_owned(),
        ),
        _ => Answer::Done,
    });
    assert!(told.contains("already loaded") && told.contains("systemctl stop"), "{told}");
    let said: Vec<&str> = said.split(' ').filter(|word| word.ends_with("Unit")).collect();
    assert_eq!(said, ["StartTransientUnit", "ResetFailedUnit", "StartTransientUnit"]);
}

#[test]
fn what_init_says_comes_before_what_follows_from_it() {
    let coracle = need!(Coracle::on_cgroup2());
    let (bundle, _) = bundle(&coracle);
    let bad = json!({"destination": "/x", "type": "tmpfs", "source": "x", "options": ["mode=9"]});
    let bundle = bundle.set("/mounts/-", bad);
    let bus = Bus::new(&coracle, |said| {
        let pid = said.pid();
        eventually("init gives up", || !coracle_tests::is_alive(pid.parse().unwrap()));
        Answer::Refuse("org.example.No", "No such process.".to_owned())
    });
    bus.create(&coracle, &bundle).output().fails().says("/mounts/");
    coracle.assert_nothing_left();
}

#[test]
fn an_annotation_that_systemd_refuses_is_named() {
    let coracle = need!(Coracle::as_root());
    let (bundle, _) = bundle(&coracle);
    let key = "org.systemd.property.OnFailure";
    let bundle = bundle.set("/annotations", json!({ key: "['x.service']" }));
    let bus = Bus::new(&coracle, |said| {
        assert!(said.mentions("OnFailure") && said.mentions("x.service"));
        Answer::Refuse(
            "org.example.No",
            "Cannot set property OnFailure, or unknown property.".to_owned(),
        )
    });
    bus.create(&coracle, &bundle).output().fails().says(&format!("/annotations/{key}"));
}

#[test]
fn an_update_that_systemd_refuses_changes_nothing() {
    let coracle = need!(Coracle::as_root());
    let (bundle, unit) = bundle(&coracle);
    let bundle = bundle.set("/linux/resources/pids", json!({"limit": 50}));
    let obey = obedient(&unit, false);
    let bus = Bus::new(&coracle, move |said| match said.member.as_str() {
        "SetUnitProperties" if said.mentions("CPUShares") || said.mentions("CPUWeight") => {
            Answer::Refuse("org.example.No", "No shares.".to_owned())
        }
        _ => obey(said),
    });
    bus.create(&coracle, &bundle).output().succeeds();
    let pid = coracle.pid(bundle.id());
    let limit = || {
        let (cgroup, _) = controlled(pid, "pids").unwrap();
        fs::read_to_string(cgroup.join("pids.max")).unwrap()
    };
    assert_eq!(limit(), "50\n");
    bus.call(&coracle, &["update", "--pids-limit", "60", bundle.id()]).output().succeeds();
    assert_eq!(limit(), "60\n");
    assert!(bus.said().ends_with("| Hello SetUnitProperties"), "{}", bus.said());
    let words = ["update", "--pids-limit", "70", "--cpu-share", "100", bundle.id()];
    bus.call(&coracle, &words).output().fails().says("No shares");
    assert_eq!(limit(), "60\n");
    bus.call(&coracle, &["delete", "--force", bundle.id()]).output().succeeds();
    coracle.assert_nothing_left();
}

#[test]
fn where_systemd_does_not_run_it_is_said() {
    let coracle = need!(Coracle::as_root());
    if Path::new("/run/systemd/system").exists() {
        coracle_tests::skipped("systemd runs here");
        return;
    }
    let (bundle, _) = bundle(&coracle);
    let words = ["--cgroup-manager=systemd", "create", "--bundle"];
    coracle
        .call(words)
        .args([bundle.path()])
        .args([bundle.id()])
        .output()
        .fails()
        .says("systemd not running on this host, cannot use systemd cgroups manager")
        .says("cgroupfs");
    coracle.assert_nothing_left();
}
