//! Hooks: where they run, what they are given, and what becomes of a container when one fails
//! (config.md, "POSIX-platform Hooks"; runtime.md, "Lifecycle").

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::path::Path;

use coracle_tests::{Bundle, Coracle, Value, eventually, json};

/// Those that run before the container is created, and those that run later, in order.
const CREATING: [&str; 3] = ["prestart", "createRuntime", "createContainer"];

/// A hook that runs a script of the host's shell, or of the container's.
fn shell(script: &str) -> Value {
    json!({"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/usr/bin:/bin"]})
}

fn with(bundle: Bundle, kind: &str, hook: Value) -> Bundle {
    bundle.set(&format!("/hooks/{kind}/-"), hook)
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

fn they_run_in_the_listed_order(coracle: &Coracle) {
    let order = coracle.path().join("order");
    let mut bundle = coracle.bundle().sh("exit 0");
    for kind in CREATING.iter().chain(&["poststart", "poststop"]) {
        for number in 0..3 {
            let script = format!("echo {kind} {number} >> {}", order.display());
            bundle = with(bundle, kind, shell(&script));
        }
    }
    coracle.run(&bundle).succeeds();
    let expected: String = CREATING
        .iter()
        .chain(&["poststart", "poststop"])
        .flat_map(|kind| (0..3).map(move |number| format!("{kind} {number}\n")))
        .collect();
    assert_eq!(read(&order), expected);
    coracle.assert_nothing_left();
}

fn each_runs_in_its_namespaces_and_directory(coracle: &Coracle) {
    let look = |file: &str| {
        shell(&format!("(pwd; readlink /proc/self/ns/mnt; readlink /proc/self/ns/uts) > {file}"))
    };
    let outside = |kind: &str| coracle.path().join(format!("at.{kind}"));
    let mut bundle = coracle.bundle().set("/root/readonly", false).sh("sleep 1000");
    for kind in CREATING.iter().chain(&["poststart", "poststop"]) {
        bundle = with(bundle, kind, look(outside(kind).to_str().unwrap()));
    }
    let bundle = with(bundle, "startContainer", look("/tmp/at"));
    coracle.start(&bundle);
    let link = |of: &str, name: &str| {
        fs::read_link(format!("/proc/{of}/ns/{name}")).unwrap().display().to_string()
    };
    let pid = coracle.pid(bundle.id()).to_string();
    let place = |directory: &str, of: &str| {
        format!("{directory}\n{}\n{}\n", link(of, "mnt"), link(of, "uts"))
    };
    let path = bundle.path().to_str().unwrap();
    let container = place(path, &pid);
    let inside = place("/", &pid);
    coracle.delete(bundle.id());
    for kind in ["prestart", "createRuntime", "poststart", "poststop"] {
        assert_eq!(read(&outside(kind)), place(path, "self"), "{kind}");
    }
    assert_eq!(read(&outside("createContainer")), container);
    assert_eq!(read(&bundle.rootfs().join("tmp/at")), inside);
}

fn the_state_has_the_process_as_each_sees_it(coracle: &Coracle) {
    let keep = |file: &str| shell(&format!("cat > {file}"));
    let outside = |kind: &str| coracle.path().join(format!("state.{kind}"));
    let mut bundle =
        coracle.bundle().set("/root/readonly", false).set("/annotations/a", "b").sh("sleep 1000");
    for kind in CREATING.iter().chain(&["poststart", "poststop"]) {
        bundle = with(bundle, kind, keep(outside(kind).to_str().unwrap()));
    }
    let bundle = with(bundle, "startContainer", keep("/tmp/state"));
    coracle.start(&bundle);
    let pid = coracle.pid(bundle.id());
    coracle.delete(bundle.id());
    let host = json!(pid);
    for (file, status, pid) in [
        (outside("prestart"), "creating", &host),
        (outside("createRuntime"), "creating", &host),
        (outside("createContainer"), "creating", &json!(1)),
        (bundle.rootfs().join("tmp/state"), "created", &json!(1)),
        (outside("poststart"), "running", &host),
        (outside("poststop"), "stopped", &Value::Null),
    ] {
        let state: Value = read(&file).parse().unwrap();
        assert_eq!(state["status"], status);
        assert_eq!((&state["pid"], &state["id"]), (pid, &json!(bundle.id())), "{status}");
        assert_eq!(state["bundle"], bundle.path().to_str().unwrap());
        assert_eq!(state["annotations"], json!({"a": "b"}));
        assert!(state["ociVersion"].as_str().unwrap().starts_with("1."));
    }
}

fn they_get_exactly_what_they_are_given(coracle: &Coracle) {
    let file = coracle.path().join("given");
    // Name, arguments and environment as written, in their order, a name twice included; nothing
    // of the caller's: no descriptor, no blocked signal.
    let script = format!(
        "(tr '\\0' '\\n' < /proc/self/environ; echo $0 $1; ls /proc/self/fd; \
         grep -E 'Sig(Blk|Ign)' /proc/self/status) > {}",
        file.display()
    );
    let hook = json!({
        "path": "/bin/busybox",
        "args": ["sh", "-c", script, "zero", "one"],
        "env": ["Z=1", "A=", "Z=2", "PATH=/usr/bin:/bin"],
    });
    for kind in ["createRuntime", "createContainer", "poststop"] {
        let bundle = with(coracle.bundle().sh("exit 0"), kind, hook.clone());
        let give = ["sh", "-c", "trap '' USR1; exec \"$@\" 7</dev/null", "sh"];
        coracle
            .with_bundle("run", &bundle, &["--preserve-fds", "5"])
            .through(["sh", "-c", "exec \"$@\" 3</dev/null 4<&3 5<&3 6<&3", "sh"])
            .through(give)
            .output()
            .succeeds();
        let told = read(&file);
        let lines: Vec<&str> = told.lines().collect();
        assert_eq!(lines[..4], ["Z=1", "A=", "Z=2", "PATH=/usr/bin:/bin"], "{kind}: {told}");
        let rest = &lines[lines.iter().position(|line| *line == "zero one").unwrap() + 1..];
        assert_eq!(rest[..4], ["0", "1", "2", "3"], "{kind}: {told}");
        assert!(rest[4].starts_with("SigBlk:\t0000000000000000"), "{kind}: {told}");
        let ignored = rest[5].strip_prefix("SigIgn:\t").unwrap();
        let ignored = u64::from_str_radix(ignored, 16).unwrap();
        let usr1 = 1 << (10 - 1);
        assert_eq!(ignored & usr1, 0, "{kind}: {told}");
        fs::remove_file(&file).unwrap();
    }
    // Without arguments, the path is its name.
    let bundle = with(coracle.bundle().sh("exit 0"), "createRuntime", json!({"path": "/bin/true"}));
    coracle.run(&bundle).succeeds();
}

fn one_need_not_read_the_state_nor_end_what_it_starts(coracle: &Coracle) {
    let big = "x".repeat(200_000);
    let bundle = coracle.bundle().sh("exit 0").set("/annotations/big", big);
    let bundle = with(bundle, "createRuntime", shell("exec 0<&-; exit 0"));
    let pid = coracle.path().join("pid");
    let script = format!("sleep 1000 & echo $! > {}", pid.display());
    let bundle = with(bundle, "createRuntime", shell(&script));
    coracle.run(&bundle).succeeds();
    let pid = read(&pid).trim().parse().unwrap();
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}

fn one_that_takes_too_long_is_ended_with_what_it_started(coracle: &Coracle) {
    for kind in CREATING {
        let pids = coracle.path().join(format!("pids.{kind}"));
        let script = format!(
            "sleep 1000 & echo $! >> {0}; echo $$ >> {0}; wait; sleep 1000",
            pids.display()
        );
        let mut hook = shell(&script);
        hook["timeout"] = json!(1);
        let bundle = with(coracle.bundle(), kind, hook);
        let told = coracle.with_bundle("create", &bundle, &[]).output().fails();
        told.says(&format!("/hooks/{kind}/0")).says("did not end within 1 s");
        // In a pid namespace of their own, the numbers mean others here; their end is that of it.
        if kind != "createContainer" {
            eventually("both are gone", || {
                read(&pids).lines().all(|pid| !Path::new("/proc").join(pid).join("exe").exists())
            });
        }
        coracle.assert_nothing_left();
    }
}

fn a_failing_one_stops_and_undoes_the_container_and_poststop_runs(coracle: &Coracle) {
    let file = coracle.path().join("poststop");
    let script = format!("cat > {}", file.display());
    let check = |kind: &str| {
        coracle.assert_nothing_left();
        let state: Value = read(&file).parse().unwrap_or_else(|error| panic!("{kind}: {error}"));
        assert_eq!(state["status"], "stopped", "{kind}");
        fs::remove_file(&file).unwrap();
    };
    for kind in CREATING.iter().chain(&["startContainer", "poststart"]) {
        let bundle = coracle.bundle().set("/root/readonly", false).sh("sleep 1000");
        let bundle = with(bundle, "poststop", shell(&script));
        let bundle = with(bundle, kind, shell("echo oh no >&2; exit 3"));
        // None follows one that failed.
        let bundle = with(bundle, kind, shell("touch /tmp/never"));
        let place = format!("/hooks/{kind}/0");
        let told = |outcome: coracle_tests::Outcome| {
            outcome.fails().says(&place).says("exit status 3").says("oh no");
        };
        told(coracle.run(&bundle));
        check(kind);
        if CREATING.contains(kind) {
            told(coracle.with_bundle("create", &bundle, &[]).output());
        } else {
            coracle.create(&bundle);
            told(coracle.call(["start", bundle.id()]).output());
        }
        check(kind);
        assert!(!bundle.rootfs().join("tmp/never").exists() && !Path::new("/tmp/never").exists());
    }
}

fn poststop_follows_whatever_made_the_creation_fail(coracle: &Coracle) {
    let file = coracle.path().join("poststop");
    let bundle = coracle.bundle().args(["no-such-program"]);
    let bundle = with(bundle, "createRuntime", shell("exit 0"));
    let bundle = with(bundle, "poststop", shell(&format!("cat > {}", file.display())));
    let told = coracle.with_bundle("create", &bundle, &[]).output().fails();
    told.says("executable file not found in $PATH");
    assert!(read(&file).contains(bundle.id()));
    coracle.assert_nothing_left();
}

fn a_failing_poststop_is_only_warned_of(coracle: &Coracle) {
    let file = coracle.path().join("second");
    let bundle = with(coracle.bundle().sh("exit 0"), "poststop", shell("echo bad >&2; exit 4"));
    let bundle = with(bundle, "poststop", shell(&format!("echo ran > {}", file.display())));
    let told = coracle.run(&bundle).succeeds();
    assert!(told.stderr.contains("warning: ") && told.stderr.contains("bad"), "{}", told.stderr);
    assert_eq!(read(&file), "ran\n");
    coracle.assert_nothing_left();
}

coracle_tests::tests! {
    as_root, as_ranged_user, as_single_user =>
        they_run_in_the_listed_order,
        each_runs_in_its_namespaces_and_directory,
        the_state_has_the_process_as_each_sees_it,
        they_get_exactly_what_they_are_given,
        one_need_not_read_the_state_nor_end_what_it_starts,
        one_that_takes_too_long_is_ended_with_what_it_started,
        a_failing_one_stops_and_undoes_the_container_and_poststop_runs,
        poststop_follows_whatever_made_the_creation_fail,
        a_failing_poststop_is_only_warned_of;
}
