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

/// Without no-new-privileges, the filter is on before the runtime is done. A profile of before
/// Linux 5.8 refuses the call that asks whether a program may be executed; what enters the working
/// directory and checks it comes before any filter.
#[test]
fn a_program_is_found_under_any_filter() {
    let coracle = need!(Coracle::as_root());
    for forbidden in [true, false] {
        for names in [
            &["faccessat2"][..],
            &["faccessat2", "faccessat", "access"],
            &["newfstatat", "fstat", "stat", "statx", "lstat"],
            &["openat2", "close_range", "pidfd_open", "clone3", "memfd_create"],
            &["getcwd", "chdir"],
        ] {
            for ret in [1, 38] {
                let bundle = refusing(
                    coracle.bundle().set("/process/noNewPrivileges", forbidden),
                    names,
                    &json!({"action": "SCMP_ACT_ERRNO", "errnoRet": ret}),
                );
                coracle.run(&bundle.args(["true"])).succeeds();
            }
        }
    }
}

fn a_process_is_killed_for_a_call(coracle: &Coracle) {
    let bundle = refusing(
        coracle.bundle(),
        &["mkdir", "mkdirat"],
        &json!({"action": "SCMP_ACT_KILL_PROCESS"}),
    );
    // SIGSYS.
    coracle.run(&bundle.args(["mkdir", "/made"])).exits(128 + 31);
}

fn the_filter_holds_for_exec_too(coracle: &Coracle) {
    let bundle =
        refusing(coracle.bundle(), &["mkdir", "mkdirat"], &json!({"action": "SCMP_ACT_ERRNO"}))
            .sh("sleep 1000");
    coracle.start(&bundle);
    let told = coracle.call(["exec", bundle.id(), "sh", "-c", "mkdir /made"]).output().exits(1);
    assert!(told.stderr.contains("Operation not permitted"), "{}", told.stderr);
    coracle.delete(bundle.id());
}

fn real_profiles_let_a_shell_work(coracle: &Coracle) {
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

fn a_listener_that_nobody_serves_fails_the_start(coracle: &Coracle) {
    let nobody = coracle.path().join("nobody");
    let bundle = refusing(coracle.bundle(), &["mkdir"], &json!({"action": "SCMP_ACT_NOTIFY"}))
        .set("/linux/seccomp/listenerPath", nobody.to_str().unwrap());
    let told = coracle.run(&bundle).fails();
    told.says("/linux/seccomp/listenerPath").says("no such file or directory");
    coracle.assert_nothing_left();
}

fn unknown_names_are_warned_of_or_refused(coracle: &Coracle) {
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

/// Under such a filter init could not even say why it ends.
fn a_filter_that_refuses_every_program_is_refused(coracle: &Coracle) {
    let refused = |bundle: &Bundle, place: &str, value: &str| {
        let at = format!("config.json: /linux/seccomp/{place} = \"{value}\"");
        for (command, options) in [("run", &[][..]), ("run", &["--detach"]), ("create", &[])] {
            let told = coracle.with_bundle(command, bundle, options).output().fails();
            told.says(&at).says("execve").says("help: ");
            coracle.assert_nothing_left();
        }
    };
    for action in ["ERRNO", "KILL", "KILL_PROCESS", "KILL_THREAD", "TRAP"] {
        let value = format!("SCMP_ACT_{action}");
        let filter = json!({"defaultAction": value, "syscalls": [],
            "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"]});
        let bundle = coracle.bundle().set("/process/noNewPrivileges", action != "TRAP");
        refused(&bundle.set("/linux/seccomp", filter), "defaultAction", &value);
    }
    let bundle =
        refusing(coracle.bundle(), &["chmod", "execve"], &json!({"action": "SCMP_ACT_ERRNO"}));
    refused(&bundle, "syscalls/0/action", "SCMP_ACT_ERRNO");
}

/// All but execve, or all that init could say its failure with, and end itself with.
fn silencing(bundle: Bundle, whole: bool) -> Bundle {
    let calls = ["sendto", "sendmsg", "sendmmsg", "write", "writev", "exit", "exit_group", "kill"];
    let filter = if whole {
        json!({"defaultAction": "SCMP_ACT_ERRNO",
            "syscalls": [{"names": ["execve"], "action": "SCMP_ACT_ALLOW"}]})
    } else {
        json!({"defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{"names": calls, "action": "SCMP_ACT_ERRNO"}]})
    };
    bundle.set("/linux/seccomp", filter).file("/bin/nothing", 0o755, "\x7fELF and nothing else")
}

/// Every command that starts the program fails, and says this.
fn says_whoever_starts(coracle: &Coracle, bundle: &Bundle, words: &str) {
    for options in [&[][..], &["--detach"]] {
        coracle.with_bundle("run", bundle, options).output().exits(1).says(words);
        coracle.assert_nothing_left();
    }
    coracle.create(bundle);
    coracle.call(["start", bundle.id()]).output().exits(1).says(words);
    coracle.becomes(bundle.id(), "stopped");
    coracle.delete(bundle.id());
    coracle.assert_nothing_left();
}

fn a_failure_is_told_whatever_the_filter_refuses(coracle: &Coracle) {
    let bundle = || {
        let bundle = coracle.bundle().args(["/bin/nothing"]).set("/process/noNewPrivileges", true);
        bundle.file("/bin/nothing", 0o755, "\x7fELF and nothing else")
    };
    for whole in [true, false] {
        says_whoever_starts(coracle, &silencing(bundle(), whole), "exec format error (ENOEXEC)");
    }
    let traced = json!({"defaultAction": "SCMP_ACT_TRACE", "syscalls": []});
    says_whoever_starts(coracle, &bundle().set("/linux/seccomp", traced), "/linux/seccomp");
    // Without no-new-privileges the filter is there before the user is changed, and more.
    let privileged = |action: &str| {
        let filter = json!({"defaultAction": action, "syscalls": [
            {"names": ["execve", "accept4", "recvmsg"], "action": "SCMP_ACT_ALLOW"}]});
        bundle().set("/process/noNewPrivileges", false).set("/linux/seccomp", filter)
    };
    for (action, words) in [
        ("SCMP_ACT_ERRNO", "becoming user 0:0: dropping a capability"),
        ("SCMP_ACT_KILL_PROCESS", "config.json: /linux/seccomp\n"),
    ] {
        for (command, options) in [("run", &[][..]), ("run", &["--detach"]), ("create", &[])] {
            let told = coracle.with_bundle(command, &privileged(action), options).output();
            told.exits(1).says(words);
        }
        coracle.assert_nothing_left();
    }
}

fn a_failure_of_exec_is_told_whatever_the_filter_refuses(coracle: &Coracle) {
    let bundle = coracle.bundle().sh("sleep 1000").set("/process/noNewPrivileges", true);
    let bundle = silencing(bundle, false);
    coracle.start(&bundle);
    for options in [&["exec"][..], &["exec", "--detach"]] {
        let told = coracle.call(options).args([bundle.id(), "/bin/nothing"]).output();
        told.exits(255).says("exec format error (ENOEXEC)");
    }
    coracle.delete(bundle.id());
    coracle.assert_nothing_left();
}

coracle_tests::tests! {
    as_root, as_ranged_user, as_single_user =>
        a_process_is_killed_for_a_call,
        the_filter_holds_for_exec_too,
        real_profiles_let_a_shell_work,
        a_filter_that_refuses_every_program_is_refused,
        a_failure_is_told_whatever_the_filter_refuses,
        a_failure_of_exec_is_told_whatever_the_filter_refuses,
        a_listener_that_nobody_serves_fails_the_start,
        unknown_names_are_warned_of_or_refused;
}
