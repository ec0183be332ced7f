//! What an engine passes on the command line and reads back: identification files, descriptors,
//! logs and listings.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::os::fd::AsRawFd;

use coracle_tests::{Coracle, Receiver, Value, eventually, json, need};

/// Whether the text is a time of RFC 3339, section 5.6.
fn is_time(text: &str) -> bool {
    let shape: String =
        text.chars().map(|letter| if letter.is_ascii_digit() { '0' } else { letter }).collect();
    let zone = shape.strip_prefix("0000-00-00T00:00:00").unwrap_or("none");
    let zone = zone.strip_prefix('.').map_or(zone, |rest| rest.trim_start_matches('0'));
    ["Z", "+00:00", "-00:00"].contains(&zone)
}

#[test]
fn the_pid_file_holds_digits_alone() {
    let coracle = need!(Coracle::as_root());
    for command in [&["create"][..], &["run", "--detach"]] {
        let bundle = coracle.bundle().sh("sleep 1000");
        let file = coracle.path().join("pid");
        coracle
            .call(command)
            .args(["--pid-file".as_ref(), file.as_os_str()])
            .args(["--bundle".as_ref(), bundle.path().as_os_str()])
            .args([bundle.id()])
            .output()
            .succeeds();
        let pid = coracle.pid(bundle.id());
        assert_eq!(fs::read_to_string(&file).unwrap(), pid.to_string());
        coracle.delete(bundle.id());
    }
}

#[test]
fn the_bundle_is_the_current_directory_unless_named() {
    let coracle = need!(Coracle::as_root());
    let bundle = coracle.bundle().sh("echo here");
    let run = |args: &[&str]| coracle.call(args).within(bundle.path()).output().succeeds();
    assert_eq!(run(&["run", bundle.id()]).stdout, "here\n");
    assert_eq!(run(&["run", "--bundle", ".", bundle.id()]).stdout, "here\n");
    assert_eq!(run(&["run", "-b", "../0", bundle.id()]).stdout, "here\n");
    let path = format!("--bundle={}", bundle.path().display());
    assert_eq!(coracle.call(["run", &path, bundle.id()]).output().stdout, "here\n");

    // Options may follow the ID, and the state names the bundle in full.
    run(&["create", bundle.id(), "--bundle", "../0"]);
    assert_eq!(coracle.state(bundle.id())["bundle"], bundle.path().to_str().unwrap());
    coracle.delete(bundle.id());
}

#[test]
fn descriptors_are_kept_when_asked_for() {
    let coracle = need!(Coracle::as_root());
    let file = coracle.path().join("three");
    fs::write(&file, "from three\n").unwrap();
    let script = "cat <&3; echo to four >&4; ls /proc/self/fd";
    let bundle = coracle.bundle().sh(script);
    let give = ["sh", "-c", "exec \"$@\" 3<three 4>four 5</dev/null 9</dev/null", "sh"];
    let kept = coracle
        .with_bundle("run", &bundle, &["--preserve-fds", "2"])
        .through(give)
        .within(coracle.path())
        .output()
        .succeeds();
    // The last one is what ls reads the directory by.
    assert_eq!(kept.stdout, "from three\n0\n1\n2\n3\n4\n5\n");
    assert_eq!(fs::read_to_string(coracle.path().join("four")).unwrap(), "to four\n");

    let bundle = coracle.bundle().sh("ls /proc/self/fd");
    let call = coracle.with_bundle("run", &bundle, &[]).through(give).within(coracle.path());
    assert_eq!(call.output().succeeds().stdout, "0\n1\n2\n3\n");
}

#[test]
fn asking_to_keep_descriptors_that_are_not_there_is_an_error() {
    let coracle = need!(Coracle::as_root());
    let bundle = coracle.bundle().sh("exit 0");
    coracle.with_bundle("run", &bundle, &["--preserve-fds", "3"]).output().fails();
    coracle.assert_nothing_left();
}

#[test]
fn the_pidfd_socket_gets_the_container_s_process() {
    let coracle = need!(Coracle::as_root());
    let bundle = coracle.bundle().sh("sleep 1000");
    let receiver = Receiver::new(coracle.path().join("pidfd.sock"));
    coracle
        .with_bundle("create", &bundle, &["--pidfd-socket", receiver.path().to_str().unwrap()])
        .output()
        .succeeds();
    let (message, pidfd) = receiver.receive();
    assert!((1..4096).contains(&message.len()), "{message:?}");
    let info = fs::read_to_string(format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd())).unwrap();
    let pid = format!("Pid:\t{}\n", coracle.pid(bundle.id()));
    assert!(info.contains(&pid), "{info}");
    coracle.delete(bundle.id());
}

#[test]
fn other_options_of_create_are_understood() {
    let coracle = need!(Coracle::as_root());
    for options in [&["--no-pivot"][..], &["--no-new-keyring"], &["--no-pivot", "--no-new-keyring"]]
    {
        let bundle = coracle.bundle().sh("ls -d /proc/self /bin/sh /etc/passwd; exit 3");
        let ended = coracle.with_bundle("run", &bundle, options).output().exits(3);
        assert_eq!(ended.stdout, "/bin/sh\n/etc/passwd\n/proc/self\n");
        coracle.assert_nothing_left();
    }
}

#[test]
fn of_an_option_given_twice_the_last_counts() {
    let coracle = need!(Coracle::as_root());
    let bundle = coracle.bundle().sh("exit 3");
    let [first, last] = ["first", "last"].map(|name| bundle.path().join(name));
    let files = [first.to_str().unwrap(), "--pid-file", last.to_str().unwrap()];
    let options = ["--no-pivot", "--no-pivot", "--pid-file", files[0], files[1], files[2]];
    coracle.with_bundle("run", &bundle, &options).output().exits(3);
    assert!(last.exists() && !first.exists());
    coracle.assert_nothing_left();
}

#[test]
fn a_session_keyring_is_the_container_s_unless_told() {
    let coracle = need!(Coracle::as_root());
    let bundle = coracle.bundle().sh("cat /proc/keys");
    let session = format!("_ses.{}", bundle.id());
    // Before there is one: it may outlive its container for a moment.
    let told = coracle.with_bundle("run", &bundle, &["--no-new-keyring"]).output().succeeds();
    assert!(!told.stdout.contains(&session), "{}", told.stdout);
    let told = coracle.run(&bundle).succeeds().stdout;
    let line = told.lines().find(|line| line.contains(&session)).expect("its session keyring");
    // As runc has it: a new session keyring, which its user may search besides (keyctl_setperm(3)).
    assert!(line.contains(" 3f1b0000 "), "{line}");
}

#[test]
fn a_container_is_known_under_its_own_root_only() {
    let coracle = need!(Coracle::as_root());
    let bundle = coracle.bundle().sh("sleep 1000");
    coracle.start(&bundle);
    let other = coracle.path().join("other");
    let elsewhere = |args: &[&str]| {
        coracle.bare().args(["--root".as_ref(), other.as_os_str()]).args(args).output()
    };
    elsewhere(&["state", bundle.id()]).fails().says("does not exist");
    assert_eq!(elsewhere(&["list", "--quiet"]).succeeds().stdout, "");
    assert_eq!(coracle.status(bundle.id()), "running");
    coracle.delete(bundle.id());
}

#[test]
fn list_as_a_table() {
    let coracle = need!(Coracle::as_root());
    let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let list = || coracle.call(["list"]).output().succeeds().stdout;
    let header = ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"];
    assert_eq!(words(&list()), header);

    let bundles = [coracle.bundle().sh("sleep 1000"), coracle.bundle().sh("exit 0")];
    coracle.start(&bundles[0]);
    coracle.start(&bundles[1]);
    coracle.becomes(bundles[1].id(), "stopped");
    let table = list();
    let lines: Vec<_> = table.lines().map(words).collect();
    assert_eq!(lines[0], header);
    let pid = coracle.pid(bundles[0].id()).to_string();
    for (line, bundle, pid, status) in [
        (&lines[1], &bundles[0], pid.as_str(), "running"),
        (&lines[2], &bundles[1], "0", "stopped"),
    ] {
        let expected = [bundle.id(), pid, status, bundle.path().to_str().unwrap()];
        assert_eq!(line[..4], expected);
        assert!(is_time(&line[4]), "{line:?}");
        assert_eq!(line[5], "root");
    }
    for bundle in &bundles {
        coracle.delete(bundle.id());
    }
    assert_eq!(words(&list()), header);
}

#[test]
fn list_as_json_and_quietly() {
    let coracle = need!(Coracle::as_root());
    let json = || -> Value {
        let text = coracle.call(["list", "--format", "json"]).output().succeeds().stdout;
        assert!(text.ends_with('\n') && text.lines().count() == 1, "{text}");
        text.parse().unwrap_or_else(|error| panic!("{error}: {text}"))
    };
    assert_eq!(json(), Value::Null);
    assert_eq!(coracle.call(["list", "-q"]).output().succeeds().stdout, "");

    let bundle = coracle.bundle().set("/annotations/a", "b");
    coracle.create(&bundle);
    let listed = json();
    let state = coracle.state(bundle.id());
    assert_eq!(listed.as_array().unwrap().len(), 1);
    for key in ["id", "pid", "status", "bundle", "created", "rootfs", "annotations"] {
        assert_eq!(listed[0][key], state[key], "{key}");
    }
    assert_eq!(listed[0]["owner"], "root");
    assert!(is_time(state["created"].as_str().unwrap()));
    assert_eq!(state["rootfs"], bundle.rootfs().to_str().unwrap());
    for quiet in [&["list", "-q"][..], &["list", "--quiet"]] {
        assert_eq!(coracle.call(quiet).output().stdout, format!("{}\n", bundle.id()));
    }
    coracle.call(["list", "--format", "xml"]).output().fails();
    coracle.delete(bundle.id());
}

#[test]
fn the_log_takes_errors_as_lines_of_json() {
    let coracle = need!(Coracle::as_root());
    let log = coracle.path().join("log.json");
    fs::write(&log, "{\"kept\":true}\n").unwrap();
    let options = ["--log".as_ref(), log.as_os_str(), "--log-format".as_ref(), "json".as_ref()];
    let bundle = coracle.bundle().set("/process/cwd", "tmp");
    let told = coracle
        .call(options)
        .args(["create", "--bundle"])
        .args([bundle.path()])
        .args([bundle.id()])
        .output()
        .fails();
    assert!(told.stderr.contains("cwd"), "standard error tells it too: {}", told.stderr);

    let text = fs::read_to_string(&log).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| line.parse().expect(line)).collect();
    assert_eq!(lines[0], json!({"kept": true}), "a log is appended to");
    let error = &lines[1];
    assert_eq!(error["level"], "error");
    assert!(error["msg"].as_str().unwrap().contains("/process/cwd"), "{error}");
    assert!(is_time(error["time"].as_str().unwrap()), "{error}");
    assert_eq!(lines.len(), 2);
    coracle.assert_nothing_left();
}

#[test]
fn the_log_takes_errors_as_text() {
    let coracle = need!(Coracle::as_root());
    for options in [&["--log-format", "text"][..], &[]] {
        let log = coracle.path().join("log");
        let call = coracle.call(["--log".as_ref(), log.as_os_str()]).args(options);
        call.args(["state", "nobody"]).output().fails().says("does not exist");
        let text = fs::read_to_string(&log).unwrap();
        assert!(text.contains("does not exist"), "{text}");
    }
    let log = coracle.path().join("log");
    let call = coracle.call(["--log".as_ref(), log.as_os_str()]);
    call.args(["--log-format", "yaml", "list"]).output().fails();
}

#[test]
fn success_is_silent() {
    let coracle = need!(Coracle::as_root());
    let log = coracle.path().join("log");
    let log = log.to_str().unwrap();
    let call = |args: &[&str]| {
        let call = coracle.call(["--log", log, "--log-format", "json"]).args(args);
        let told = call.output().succeeds();
        assert_eq!(told.stderr, "", "{args:?}");
        told.stdout
    };
    let bundle = coracle.bundle().sh("sleep 1000");
    let id = bundle.id();
    assert_eq!(call(&["create", "--bundle", bundle.path().to_str().unwrap(), id]), "");
    assert_eq!(call(&["start", id]), "");
    call(&["state", id]);
    call(&["list"]);
    assert_eq!(call(&["kill", id, "KILL"]), "");
    coracle.becomes(id, "stopped");
    assert_eq!(call(&["delete", id]), "");
    assert_eq!(fs::read_to_string(log).unwrap_or_default(), "");
}

#[test]
fn cgroups_are_the_manager_s() {
    let coracle = need!(Coracle::as_root());
    let bundle = coracle.bundle().remove("/linux/cgroupsPath").sh("cat /proc/self/cgroup");
    let own = fs::read_to_string("/proc/self/cgroup").unwrap();
    let run = |manager: &[&str]| {
        coracle.call(manager).args(["run", "--bundle"]).args([bundle.path()]).args([bundle.id()])
    };
    let told = run(&["--cgroup-manager", "disabled"]).output().succeeds().stdout;
    assert_eq!(told, own);
    if !std::path::Path::new("/run/systemd/system").exists() {
        run(&["--systemd-cgroup"]).output().fails().says("systemd not running");
        run(&["--cgroup-manager=systemd"]).output().fails().says("systemd not running");
    }
    run(&["--cgroup-manager", "other"]).output().fails().says("other");
    run(&["--systemd-cgroup=false"]).output().succeeds();
    coracle.assert_nothing_left();
}

#[test]
fn the_version_names_the_runtime_and_the_specification() {
    let coracle = need!(Coracle::as_root());
    for option in ["--version", "-v"] {
        let told = coracle.bare().args([option]).output().succeeds().stdout;
        let lines: Vec<&str> = told.lines().collect();
        let name = coracle.binary().file_name().unwrap().to_str().unwrap();
        assert!(lines[0].starts_with(&format!("{name} version ")), "{told}");
        assert!(lines.iter().any(|line| line.starts_with("spec: 1.")), "{told}");
    }
}

#[test]
fn help_is_given_and_nonsense_refused() {
    let coracle = need!(Coracle::as_root());
    for help in [&["--help"][..], &["-h"], &["run", "--help"], &["create", "-h"]] {
        assert!(!coracle.bare().args(help).output().succeeds().stdout.is_empty());
    }
    for nonsense in [
        &["no-such-command"][..],
        &["--no-such-option", "list"],
        &["state"],
        &["create"],
        &["run", "--no-such-option", "x"],
        &["state", "one", "two"],
    ] {
        let told = coracle.call(nonsense).output().fails();
        assert!(!told.stderr.is_empty(), "{nonsense:?}");
    }
    coracle.assert_nothing_left();
}

#[test]
fn the_runtime_works_without_a_path_variable() {
    let coracle = need!(Coracle::as_root());
    let bundle = coracle.bundle().sh("sleep 1000");
    let started = coracle.start(&bundle);
    let bare = |args: &[&str]| {
        coracle.call(args).through(["env", "-i"]).output().succeeds();
    };
    bare(&["kill", bundle.id(), "KILL"]);
    coracle.becomes(bundle.id(), "stopped");
    bare(&["delete", bundle.id()]);
    assert_eq!(started.stdout_by_now(), "");
    eventually("all is gone", || coracle.leftovers().is_empty());
}
