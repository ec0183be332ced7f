//! Containers that are saved by CRIU, and go on where they were: a counter must not miss a number
//! and not say one twice.
//!
//! They need a `criu` in PATH that works on this kernel.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod bad_input;
mod broken;
mod connections;
mod memory;
mod namespaces;
mod outside;
mod saved;
mod terminals;
mod told;

use std::fs;

use coracle_tests::{Call, Coracle, need};
use saved::{Counter, criu, images, restore, save};

#[test]
fn it_goes_on_where_it_was() {
    need!(criu());
    let coracle = need!(Coracle::as_root());
    let counter = Counter::new(&coracle);
    counter.starts();
    counter.goes_on();
    save(&coracle, counter.id(), "one", &[]).succeeds();
    coracle.call(["state", counter.id()]).output().fails().says("does not exist");
    coracle.assert_nothing_left();

    let pid_file = coracle.path().join("pid");
    let options = ["--pid-file", pid_file.to_str().unwrap()];
    restore(&counter, counter.id(), "one", &options).succeeds();
    counter.goes_on();
    let state = coracle.state(counter.id());
    assert_eq!(state["status"], "running");
    assert_eq!(state["pid"].to_string(), fs::read_to_string(pid_file).unwrap());
    assert_eq!(state["bundle"], counter.bundle().path().to_str().unwrap());
    let cgroups = coracle_tests::of_process(coracle.pid(counter.id()));
    assert!(cgroups.iter().all(|(_, path)| path.ends_with(counter.id())), "{cgroups:?}");
    let inside = coracle.call(["exec", counter.id(), "sh", "-c", "echo inside; ls /proc"]).output();
    assert!(inside.succeeds().stdout.starts_with("inside\n1\n"));

    // And once more, from what was restored.
    save(&coracle, counter.id(), "two", &[]).succeeds();
    restore(&counter, counter.id(), "two", &[]).succeeds();
    counter.goes_on();
    coracle.delete(counter.id());
    coracle.assert_nothing_left();
}

#[test]
fn on_cgroup2() {
    need!(criu());
    let coracle = need!(Coracle::on_cgroup2());
    let counter = Counter::new(&coracle);
    counter.starts();
    counter.goes_on();
    // Where version 1 is there and only not seen, CRIU would save all that is below its roots.
    let ignore = ["--manage-cgroups-mode", "ignore"];
    save(&coracle, counter.id(), "one", &ignore).succeeds();
    restore(&counter, counter.id(), "one", &ignore).succeeds();
    counter.goes_on();
    let cgroups = coracle_tests::of_process(coracle.pid(counter.id()));
    let own = cgroups.iter().find(|(controllers, _)| controllers.is_empty()).unwrap();
    assert!(own.1.ends_with(counter.id()), "{cgroups:?}");
    coracle.call(["pause", counter.id()]).output().succeeds();
    save(&coracle, counter.id(), "paused", &ignore).succeeds();
    coracle.assert_nothing_left();
}

#[test]
fn under_another_id_in_another_root_and_cgroup() {
    need!(criu());
    let coracle = need!(Coracle::as_root());
    let counter = Counter::new(&coracle);
    counter.starts();
    counter.goes_on();
    save(&coracle, counter.id(), "one", &[]).succeeds();
    // Nothing of this bundle was ever mounted, so its mount points are missing.
    let other = Counter::writing_to(&coracle, counter.log());
    let id = other.bundle().other_id("again");
    restore(&other, &id, "one", &[]).succeeds();
    counter.goes_on();
    let state = coracle.state(&id);
    assert_eq!(state["rootfs"], other.bundle().rootfs().to_str().unwrap());
    let cgroups = coracle_tests::of_process(coracle.pid(&id));
    assert!(cgroups.iter().all(|(_, path)| path.ends_with(other.id())), "{cgroups:?}");
    let options = ["sh", "-c", "echo /proc/*/root; cat /proc/self/cgroup"];
    coracle.call(["exec", &id]).args(options).output().succeeds();
    coracle.delete(&id);
    coracle.assert_nothing_left();
}

#[test]
fn whatever_criu_does_to_cgroups() {
    need!(criu());
    let coracle = need!(Coracle::as_root());
    let counter = Counter::new(&coracle);
    counter.starts();
    for mode in ["ignore", "soft", "full"] {
        counter.goes_on();
        let options = ["--manage-cgroups-mode", mode];
        save(&coracle, counter.id(), mode, &options).succeeds();
        coracle.assert_nothing_left();
        restore(&counter, counter.id(), mode, &options).succeeds();
        let cgroups = coracle_tests::of_process(coracle.pid(counter.id()));
        assert!(cgroups.iter().all(|(_, path)| path.ends_with(counter.id())), "{cgroups:?}");
    }
    counter.goes_on();
    // The container's cgroup is made before, since CRIU is in it.
    let strict = ["--manage-cgroups-mode", "strict"];
    save(&coracle, counter.id(), "strict", &strict).succeeds();
    let failed = restore(&counter, counter.id(), "strict", &strict).fails();
    failed.says("existing cgroups").says("restore.log");
    coracle.assert_nothing_left();
}

#[test]
fn without_a_cgroup_of_its_own() {
    need!(criu());
    let coracle = need!(Coracle::as_root());
    let counter = Counter::new(&coracle).with(|bundle| bundle.remove("/linux/cgroupsPath"));
    let output = || fs::File::options().append(true).create(true).open(counter.log()).unwrap();
    let call = |command: &str| {
        let call = coracle.call(["--cgroup-manager", "disabled", command, "--detach", "--bundle"]);
        call.args([counter.bundle().path()]).stdout(output()).stderr(std::process::Stdio::null())
    };
    call("run").args([counter.id()]).output().succeeds();
    counter.goes_on();
    save(&coracle, counter.id(), "one", &[]).succeeds();
    let call = call("restore").args(["--no-pivot", "--no-subreaper", "--image-path"]);
    call.args([images(&coracle, "one")]).args([counter.id()]).output().succeeds();
    counter.goes_on();
    let own = coracle_tests::of_process(std::process::id());
    assert_eq!(coracle_tests::of_process(coracle.pid(counter.id())), own);
    coracle.delete(counter.id());
    coracle.assert_nothing_left();
}

#[test]
fn left_running() {
    need!(criu());
    let coracle = need!(Coracle::as_root());
    let counter = Counter::new(&coracle);
    counter.starts();
    let pid = coracle.pid(counter.id());
    counter.goes_on();
    save(&coracle, counter.id(), "one", &["--leave-running"]).succeeds();
    assert_eq!((coracle.status(counter.id()), coracle.pid(counter.id())), ("running".into(), pid));
    counter.goes_on();
    coracle.delete(counter.id());
}

#[test]
fn in_the_foreground_its_exit_code_is_told() {
    need!(criu());
    let coracle = need!(Coracle::as_root());
    let bundle = coracle.bundle().sh("echo begun; until [ -e /end ]; do sleep 0.05; done; exit 7");
    let counter = Counter::of(&coracle, bundle, coracle.path().join("log"));
    counter.starts();
    coracle_tests::eventually("it begins", || counter.text() == "begun\n");
    save(&coracle, counter.id(), "one", &[]).succeeds();
    let running = counter.restoring(counter.id(), "one", &[]).spawn();
    coracle_tests::eventually("it is back", || {
        coracle.call(["state", counter.id()]).output().code == Some(0)
    });
    coracle.becomes(counter.id(), "running");
    fs::write(counter.bundle().rootfs().join("end"), "").unwrap();
    running.wait().exits(7);
    coracle.assert_nothing_left();
}

#[test]
fn a_signal_reaches_what_was_restored() {
    need!(criu());
    let coracle = need!(Coracle::as_root());
    let script = "trap 'echo caught; exit 3' TERM; echo begun; while :; do sleep 0.05; done";
    let counter = Counter::of(&coracle, coracle.bundle().sh(script), coracle.path().join("log"));
    counter.starts();
    coracle_tests::eventually("it begins", || counter.text() == "begun\n");
    save(&coracle, counter.id(), "one", &[]).succeeds();
    restore(&counter, counter.id(), "one", &[]).succeeds();
    coracle.call(["kill", counter.id(), "TERM"]).output().succeeds();
    coracle.becomes(counter.id(), "stopped");
    assert_eq!(counter.text(), "begun\ncaught\n");
    coracle.delete(counter.id());
}

#[test]
fn hooks_of_the_runtime_run_again() {
    need!(criu());
    let coracle = need!(Coracle::as_root());
    let told = coracle.path().join("told");
    let hook = |kind: &str| {
        let script =
            format!("(echo -n '{kind} '; grep -o '\"status\":\"[a-z]*\"') >> {}", told.display());
        coracle_tests::json!([{ "path": "/bin/sh", "args": ["sh", "-c", script] }])
    };
    let log = coracle.path().join("log");
    let mut bundle = coracle.bundle();
    for kind in ["prestart", "createRuntime", "poststart", "poststop"] {
        bundle = bundle.set(&format!("/hooks/{kind}"), hook(kind));
    }
    let counter = Counter::of(&coracle, bundle.sh(saved::COUNT), log);
    counter.starts();
    counter.goes_on();
    save(&coracle, counter.id(), "one", &[]).succeeds();
    fs::remove_file(&told).unwrap();
    restore(&counter, counter.id(), "one", &[]).succeeds();
    assert_eq!(
        fs::read_to_string(&told).unwrap(),
        "prestart \"status\":\"creating\"\ncreateRuntime \"status\":\"creating\"\n\
         poststart \"status\":\"running\"\n"
    );
    coracle.delete(counter.id());
}

#[test]
fn a_failing_hook_undoes_the_restoration() {
    need!(criu());
    let coracle = need!(Coracle::as_root());
    let counter = Counter::new(&coracle);
    counter.starts();
    counter.goes_on();
    save(&coracle, counter.id(), "one", &[]).succeeds();
    let hook = coracle_tests::json!([{ "path": "/bin/false" }]);
    let counter = counter.with(|bundle| bundle.set("/hooks/createRuntime", hook));
    let failed = restore(&counter, counter.id(), "one", &[]).fails();
    failed.says("hook /bin/false failed").says("restore.log");
    coracle.assert_nothing_left();
}

#[test]
fn criu_is_configured_by_an_annotation() {
    need!(criu());
    let coracle = need!(Coracle::as_root());
    let config = coracle.path().join("criu.conf");
    fs::write(&config, "log-file told.log\n").unwrap();
    let config = config.to_str().unwrap();
    let counter =
        Counter::new(&coracle).with(|bundle| bundle.set("/annotations/org.criu.config", config));
    counter.starts();
    counter.goes_on();
    save(&coracle, counter.id(), "one", &["--leave-running"]).succeeds();
    assert!(images(&coracle, "one").join("told.log").exists());
    coracle.delete(counter.id());
}

#[test]
fn engines_find_the_options() {
    let coracle = need!(Coracle::as_root());
    coracle.bare().args(["checkpoint", "--help"]).output().succeeds();
    for option in ["--lsm-mount-context", "--lsm-profile"] {
        let words = format!("flag needs an argument: {option}");
        coracle.bare().args(["restore", option]).output().fails().says(&words);
    }
}

/// The log goes where it is told, and without one the containers' processes are all that is kept.
#[test]
fn a_directory_of_its_own_for_work() {
    need!(criu());
    let coracle = need!(Coracle::as_root());
    let counter = Counter::new(&coracle);
    counter.starts();
    counter.goes_on();
    let work = coracle.path().join("work");
    let options = ["--work-path", work.to_str().unwrap()];
    save(&coracle, counter.id(), "one", &options).succeeds();
    assert!(work.join("dump.log").exists());
    let kept = images(&coracle, "one");
    assert!(!kept.join("dump.log").exists() && kept.join("descriptors.json").exists());
    let listed = Call::new(["stat", "-c", "%a"]).args([&kept, &work]).output().succeeds();
    assert_eq!(listed.stdout, "700\n700\n");
    restore(&counter, counter.id(), "one", &options).succeeds();
    counter.goes_on();
    assert!(work.join("restore.log").exists());
    coracle.delete(counter.id());
}
