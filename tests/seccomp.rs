//! The system call filter, seen from inside and from its listener.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::Path;

use coracle_tests::{Bundle, Coracle, Needs, Receiver, Value, eventually, json, need};

/// All but these calls is allowed.
fn refusing(bundle: Bundle, names: &[&str], action: &Value) -> Bundle {
    let mut rule = json!({ "names": names });
    for (key, value) in action.as_object().unwrap() {
        rule[key] = value.clone();
    }
    bundle
        .set("/linux/seccomp", json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}))
        .set("/root/readonly", false)
}

fn calls_are_refused(coracle: Needs<Coracle>) {
    let coracle = need!(coracle);
    for forbidden in [true, false] {
        let bundle = refusing(
            coracle.bundle().set("/process/noNewPrivileges", forbidden),
            &["mkdir", "mkdirat"],
            &json!({"action": "SCMP_ACT_ERRNO", "errnoRet": 28}),
        );
        let script = "mkdir /made; ls -d /made; grep -E '^(Seccomp|NoNewPrivs):' /proc/self/status";
        let told = coracle.run(&bundle.sh(&format!("{{ {script}; }} 2>&1"))).succeeds().stdout;
        assert!(told.contains("No space left on device"), "{told}");
        assert!(told.contains("Seccomp:\t2"), "{told}");
        assert!(told.contains(&format!("NoNewPrivs:\t{}", u8::from(forbidden))), "{told}");
    }
    coracle.assert_nothing_left();
}

#[test]
fn calls_are_refused_with_and_without_new_privileges() {
    calls_are_refused(Coracle::as_root());
}

#[test]
fn calls_are_refused_to_an_ordinary_user() {
    calls_are_refused(Coracle::as_user());
}

#[test]
fn a_process_is_killed_for_a_call() {
    let coracle = need!(Coracle::as_root());
    let bundle = refusing(
        coracle.bundle(),
        &["mkdir", "mkdirat"],
        &json!({"action": "SCMP_ACT_KILL_PROCESS"}),
    );
    // SIGSYS.
    coracle.run(&bundle.args(["mkdir", "/made"])).exits(128 + 31);
}

#[test]
fn the_filter_holds_for_exec_too() {
    let coracle = need!(Coracle::as_root());
    let bundle =
        refusing(coracle.bundle(), &["mkdir", "mkdirat"], &json!({"action": "SCMP_ACT_ERRNO"}))
            .sh("sleep 1000");
    coracle.start(&bundle);
    let told = coracle.call(["exec", bundle.id(), "sh", "-c", "mkdir /made"]).output().exits(1);
    assert!(told.stderr.contains("Operation not permitted"), "{}", told.stderr);
    coracle.delete(bundle.id());
}

#[test]
fn real_profiles_let_a_shell_work() {
    let coracle = need!(Coracle::as_root());
    let profiles = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/coracle/tests/profiles");
    for name in ["docker", "podman", "containerd"] {
        let text = std::fs::read(profiles.join(format!("{name}.json"))).unwrap();
        let profile: Value = serde_json::from_slice(&text).unwrap();
        for forbidden in [true, false] {
            let bundle = coracle
                .bundle()
                .set("/process/noNewPrivileges", forbidden)
                .set("/linux/seccomp", profile.clone());
            let told = coracle.run(&bundle.sh("ls / | grep -c . && unshare -r true; echo $?"));
            assert!(told.stdout.ends_with("1\n"), "{name}: {told:?}");
        }
    }
    coracle.assert_nothing_left();
}

/// A listener is sent the state and the descriptor; without anybody at it, calls fail.
fn the_listener_is_told(coracle: Needs<Coracle>, command: &str) {
    let coracle = need!(coracle);
    for forbidden in [true, false] {
        let agent = Receiver::new(coracle.path().join(format!("agent-{command}-{forbidden}")));
        let bundle = refusing(
            coracle.bundle().set("/process/noNewPrivileges", forbidden),
            &["mkdir", "mkdirat"],
            &json!({"action": "SCMP_ACT_NOTIFY"}),
        )
        .set("/linux/seccomp/listenerPath", agent.path().to_str().unwrap())
        .set("/linux/seccomp/listenerMetadata", "some words")
        .sh("mkdir /made 2>/said; sleep 1000");
        match command {
            "run" => drop(coracle.with_bundle("run", &bundle, &["--detach"]).output().succeeds()),
            _ => drop(coracle.start(&bundle)),
        }
        let (text, descriptor) = agent.receive();
        let state: Value = serde_json::from_slice(&text).unwrap();
        let pid = coracle.pid(bundle.id());
        assert_eq!(state["fds"], json!(["seccompFd"]));
        assert_eq!(state["metadata"], "some words");
        assert_eq!(state["pid"], json!(pid));
        assert_eq!(state["state"]["id"], bundle.id());
        assert_eq!(state["state"]["pid"], json!(pid));
        drop(descriptor);
        eventually("the call fails", || {
            let said = std::fs::read_to_string(bundle.rootfs().join("said")).unwrap_or_default();
            said.contains("Function not implemented")
        });
        if command == "exec" {
            let call = coracle.call(["exec", bundle.id(), "sh", "-c", "mkdir /other"]).spawn();
            let (text, descriptor) = agent.receive();
            let state: Value = serde_json::from_slice(&text).unwrap();
            assert_ne!(state["pid"], state["state"]["pid"]);
            drop(descriptor);
            call.wait().exits(1);
        }
        coracle.delete(bundle.id());
    }
    coracle.assert_nothing_left();
}

#[test]
fn the_listener_is_told_by_start() {
    the_listener_is_told(Coracle::as_root(), "start");
}

#[test]
fn the_listener_is_told_by_run() {
    the_listener_is_told(Coracle::as_root(), "run");
}

#[test]
fn the_listener_is_told_by_exec() {
    the_listener_is_told(Coracle::as_root(), "exec");
}

#[test]
fn the_listener_is_told_by_an_ordinary_user() {
    the_listener_is_told(Coracle::as_user(), "start");
}

#[test]
fn a_listener_that_nobody_serves_fails_the_start() {
    let coracle = need!(Coracle::as_root());
    let nobody = coracle.path().join("nobody");
    let bundle = refusing(coracle.bundle(), &["mkdir"], &json!({"action": "SCMP_ACT_NOTIFY"}))
        .set("/linux/seccomp/listenerPath", nobody.to_str().unwrap());
    let told = coracle.run(&bundle).fails();
    told.says("/linux/seccomp/listenerPath").says("no such file or directory");
    coracle.assert_nothing_left();
}

#[test]
fn unknown_names_are_warned_of_or_refused() {
    let coracle = need!(Coracle::as_root());
    let bundle =
        refusing(coracle.bundle(), &["no_such_call"], &json!({"action": "SCMP_ACT_ERRNO"}));
    let told = coracle.run(&bundle.sh("exit 4")).exits(4);
    assert!(told.stderr.contains("no_such_call"), "{}", told.stderr);
    let bundle =
        refusing(coracle.bundle(), &["no_such_call"], &json!({"action": "SCMP_ACT_ERRNO"}))
            .set("/annotations", json!({"run.oci.seccomp_fail_unknown_syscall": "1"}));
    coracle.run(&bundle.sh("exit 4")).fails().says("no_such_call");
    coracle.assert_nothing_left();
}
