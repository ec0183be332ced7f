//! What can be typed: all that runc and crun take, in their spelling, and what it does.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;

use coracle_tests::{Call, Coracle, Receiver, Value, json, need};

/// Every command with its options, a value where they take one, and its arguments.
const COMMANDS: &[(&str, &[&str], &[&str])] = &[
    ("create", CREATE, &["ID"]),
    ("run", &["--detach", "-d", "--keep", "--no-subreaper"], &["ID"]),
    ("run", CREATE, &["ID"]),
    ("start", &[], &["ID"]),
    ("state", &[], &["ID"]),
    ("pause", &[], &["ID"]),
    ("resume", &[], &["ID"]),
    ("kill", &["--all", "-a", "--regex", "-r"], &["ID", "TERM"]),
    ("delete", &["--force", "-f", "--regex", "-r"], &["ID"]),
    (
        "exec",
        &[
            "--console-socket=S",
            "--pidfd-socket=S",
            "--cwd=/",
            "--env=A=B",
            "-eA=B",
            "--tty",
            "-t",
            "--user=1:2",
            "-u1",
            "--process=F",
            "-pF",
            "--detach",
            "-d",
            "--pid-file=F",
            "--process-label=L",
            "--apparmor=P",
            "--no-new-privs",
            "--cap=CAP_KILL",
            "-cCAP_KILL",
            "--preserve-fds=1",
            "--additional-gids=1",
            "-g1",
            "--ignore-paused",
        ],
        &[],
    ),
    ("ps", &["--format=table", "-fjson"], &[]),
    ("list", &["--format=json", "-ftable", "--quiet", "-q"], &[]),
    ("events", &["--interval=5s", "--stats"], &["ID"]),
    (
        "update",
        &[
            "--resources=F",
            "-rF",
            "--blkio-weight=100",
            "--cpu-period=1",
            "--cpu-quota=-1",
            "--cpu-share=2",
            "--cpu-rt-period=1",
            "--cpu-rt-runtime=1",
            "--cpuset-cpus=0",
            "--cpuset-mems=0",
            "--memory=1m",
            "--memory-reservation=1m",
            "--memory-swap=-1",
            "--pids-limit=-1",
            "--kernel-memory=1",
            "--kernel-memory-tcp=1",
            "--l3-cache-schema=L",
            "--mem-bw-schema=M",
            "--cpu-burst=1",
            "--cpu-idle=1",
        ],
        &["ID"],
    ),
    ("spec", &["--bundle=B", "-bB", "--rootless", "--file=F", "-fF"], &[]),
    ("features", &[], &[]),
    ("mounts", &[], &["add", "ID", "FILE"]),
    ("checkpoint", SAVED, &["ID"]),
    (
        "checkpoint",
        &[
            "--parent-path=D",
            "--leave-running",
            "--pre-dump",
            "--tcp-skip-in-flight",
            "--link-remap",
            "--status-fd=3",
            "--page-server=A:1",
        ],
        &["ID"],
    ),
    ("restore", SAVED, &["ID"]),
    (
        "restore",
        &[
            "--bundle=B",
            "-bB",
            "--console-socket=S",
            "--detach",
            "-d",
            "--pid-file=F",
            "--lsm-profile=apparmor:x",
            "--lsm-mount-context=x",
            "--no-subreaper",
            "--no-pivot",
            "--tcp-close",
        ],
        &["ID"],
    ),
];

const CREATE: &[&str] = &[
    "--bundle=B",
    "-bB",
    "--console-socket=S",
    "--pidfd-socket=S",
    "--pid-file=F",
    "--no-pivot",
    "--no-new-keyring",
    "--preserve-fds=1",
    "--config=F",
    "-fF",
    "--no-subreaper",
];

const SAVED: &[&str] = &[
    "--image-path=D",
    "--work-path=D",
    "--tcp-established",
    "--ext-unix-sk",
    "--shell-job",
    "--file-locks",
    "--manage-cgroups-mode=soft",
    "--empty-ns=network",
    "--auto-dedup",
    "--lazy-pages",
    "--network-lock=skip",
];

const GLOBAL: &[&str] = &[
    "--debug",
    "--log=F",
    "--log-format=json",
    "--root=R",
    "--systemd-cgroup=false",
    "--rootless=auto",
    "--criu=C",
    "--log-level=debug",
    "--cgroup-manager=cgroupfs",
    "--systemd-cgroup",
];

/// The command under another name.
fn named(coracle: &Coracle, name: &str) -> PathBuf {
    let path = coracle.path().join(name);
    if !path.exists() {
        symlink(coracle.binary(), &path).unwrap();
    }
    path
}

#[test]
fn every_option_of_runc_and_crun_is_known() {
    let coracle = &need!(Coracle::as_root());
    for name in ["coracle", "runc", "crun"] {
        let program = named(coracle, name);
        let parses = |words: &[&str]| {
            let told = Call::new([&program]).args(words).output();
            assert_eq!(told.code, Some(0), "{name}: {told:?}");
            assert!(!told.stdout.is_empty() && told.stderr.is_empty(), "{told:?}");
        };
        for option in GLOBAL {
            // A later --help ends the parsing, so all before it has been understood.
            parses(&[option, "list", "--help"]);
        }
        for (command, options, arguments) in COMMANDS {
            for option in *options {
                let mut words = vec![*command, option];
                words.extend(*arguments);
                words.push("--help");
                parses(&words);
                // Behind the ID, as runc allows it, and with one dash, as Go does.
                if !arguments.is_empty() {
                    let mut words = vec![*command];
                    words.extend(*arguments);
                    words.extend([option, "--help"]);
                    parses(&words);
                }
                if let Some(long) = option.strip_prefix('-').filter(|rest| rest.starts_with('-')) {
                    parses(&[command, long, "--help"]);
                }
            }
            let mut words = vec![*command];
            words.extend(*arguments);
            words.push("-h");
            parses(&words);
        }
    }
}

#[test]
fn wrong_usage_has_each_name_s_exit_codes() {
    let coracle = &need!(Coracle::as_root());
    for (words, runc, crun) in [
        (&["no-such-command"][..], 3, 1),
        (&["--no-such-option", "list"], 1, 64),
        (&["run", "--no-such-option", "x"], 1, 64),
        (&["exec", "--no-such-option", "x", "y"], 1, 64),
        (&["state"], 1, 1),
        (&["state", "nobody"], 1, 1),
        (&["exec", "nobody", "true"], 255, 255),
    ] {
        for (name, code) in [("coracle", runc), ("runc", runc), ("crun", crun)] {
            let told = Call::new([named(coracle, name)]).args(words).output();
            assert_eq!(told.code, Some(code), "{name}: {told:?}");
            assert!(!told.stderr.is_empty() && told.stdout.is_empty(), "{told:?}");
        }
    }
}

#[test]
fn help_is_found_as_runc_s_is() {
    let coracle = &need!(Coracle::as_root());
    let runc = named(coracle, "runc");
    let told = |words: &[&str]| {
        let told = Call::new([&runc]).args(words).output().succeeds();
        assert_eq!(told.stderr, "", "{words:?}");
        told.stdout
    };
    for words in [&[][..], &["help"], &["h"], &["-h"], &["--help"]] {
        let text = told(words);
        assert!(
            text.starts_with("NAME:\n   runc - ") && text.contains("USAGE:\n   runc "),
            "{text}"
        );
    }
    for words in [["help", "create"], ["create", "--help"]] {
        assert!(told(&words).starts_with("NAME:\n   runc create - "), "{words:?}");
    }
}

#[test]
fn a_form_of_log_lines_without_a_log_is_for_standard_error() {
    let coracle = &need!(Coracle::as_root());
    let stderr = |words: &[&str]| coracle.bare().args(words).output().exits(1).stderr;
    let line = stderr(&["--log-format", "json", "state", "nobody"]);
    let line: Value = line.parse().unwrap();
    assert_eq!(line["level"], "error");
    assert_eq!(line["msg"], "container does not exist: nobody");
    let line = stderr(&["--log-format=text", "state", "nobody"]);
    assert!(line.starts_with("time=\"") && line.contains(" level=error msg=\""), "{line}");
    // One line for each command says where it began.
    let log = coracle.path().join("debug.log");
    let told = coracle.bare().args(["--debug", "--log"]).args([&log]).args(["state", "nobody"]);
    told.output().exits(1);
    let text = fs::read_to_string(&log).unwrap();
    assert!(text.contains("level=debug") && text.contains("state begins"), "{text}");
}

#[test]
fn crun_s_shorter_ways() {
    let coracle = &need!(Coracle::as_root());
    let crun = named(coracle, "crun");
    let bundle = coracle.bundle().sh("exit 3");
    let run =
        Call::new([crun.as_os_str(), "--root".as_ref(), coracle.state_directory().as_os_str()]);
    run.args(["run", "--bund"]).args([bundle.path()]).args([bundle.id()]).output().exits(3);
    for help in ["-?", "-h", "--help", "--he"] {
        let told = Call::new([&crun]).args([help]).output().succeeds();
        assert!(told.stdout.contains("create"), "{help}");
    }
    // Where a prefix means two, it means none.
    Call::new([&crun]).args(["--log-", "x", "list"]).output().exits(64);
    // Of runc, a name is written out.
    let runc = named(coracle, "runc");
    Call::new([&runc]).args(["list", "--quie"]).output().exits(1);
    coracle.assert_nothing_left();
}

/// go-runc takes line 1, docker each line with a word in it.
#[test]
fn versions_are_found_by_engines() {
    let coracle = &need!(Coracle::as_root());
    let told = |name: &str, option: &str| {
        Call::new([named(coracle, name)]).args([option]).output().succeeds().stdout
    };
    let runc = told("runc", "--version");
    let first = runc.lines().next().unwrap();
    let number = first.strip_prefix("runc version ").expect("what go-runc takes off");
    assert!(number.split('.').all(|part| part.parse::<u32>().is_ok()), "{runc}");
    let with_version: Vec<&str> = runc.lines().filter(|line| line.contains("version")).collect();
    assert_eq!(with_version, [first]);
    let commit = runc.lines().find_map(|line| line.strip_prefix("commit: "));
    assert!(commit.is_some_and(|commit| !commit.is_empty()), "{runc}");
    assert!(runc.lines().any(|line| line.starts_with("spec: 1.3")), "{runc}");

    let crun = told("crun", "-V");
    assert!(crun.starts_with("crun version "), "{crun}");
    for line in ["commit: ", "rundir: /", "spec: 1.", "+"] {
        assert!(crun.lines().any(|of| of.starts_with(line)), "{line}: {crun}");
    }
}

#[test]
fn another_configuration_may_be_named() {
    let coracle = &need!(Coracle::as_root());
    let bundle = coracle.bundle().sh("exit 3");
    let other = coracle.path().join("other.json");
    let text = fs::read_to_string(bundle.path().join("config.json")).unwrap();
    fs::write(&other, text.replace("exit 3", "exit 4")).unwrap();
    let run = |file: &str| {
        coracle.with_bundle("run", &bundle, &["--config", file]).within(coracle.path()).output()
    };
    run(other.to_str().unwrap()).exits(4);
    run("other.json").exits(4);
    run("none.json").fails().says("none.json");
    fs::write(&other, "{").unwrap();
    run("other.json").fails().says("other.json");
    coracle.assert_nothing_left();
}

#[test]
fn several_are_killed_and_removed_by_a_pattern() {
    let coracle = &need!(Coracle::as_root());
    let bundles: Vec<_> = (0..3).map(|_| coracle.bundle().sh("sleep 1000")).collect();
    for bundle in &bundles {
        coracle.start(bundle);
    }
    let [a, b, c] = [0, 1, 2].map(|index| bundles[index].id());
    let pattern = format!("({a}|{c})$");
    coracle.call(["kill", "--regex", &pattern, "KILL"]).output().succeeds();
    coracle.becomes(a, "stopped");
    coracle.becomes(c, "stopped");
    assert_eq!(coracle.status(b), "running");
    coracle.call(["delete", "--regex", "("]).output().fails().says("regular expression");
    // Each that can be removed is, and the one that cannot is told of.
    coracle.call(["delete", "-r", "."]).output().fails().says(b);
    assert_eq!(coracle.call(["list", "-q"]).output().stdout, format!("{b}\n"));
    coracle.call(["delete", "--force", "--regex", "^coracle-test"]).output().succeeds();
    coracle.assert_nothing_left();
}

#[test]
fn a_template_may_go_elsewhere() {
    let coracle = &need!(Coracle::as_root());
    let file = coracle.path().join("x.json");
    fs::write(&file, "of before").unwrap();
    let spec =
        |args: &[&str]| coracle.bare().args(["spec"]).args(args).within(coracle.path()).output();
    spec(&["--file", "x.json"]).succeeds();
    let text = fs::read_to_string(&file).unwrap();
    assert_eq!(text.parse::<Value>().unwrap()["process"]["args"], json!(["sh"]));
    spec(&["--file", "/no/such/directory/x"]).fails().says("/no/such/directory");
}

/// In a mount namespace in which these sockets are the test's.
fn with_logs(coracle: &Coracle, words: &[&str]) -> Call {
    let (run, dev) = (coracle.path().join("journal.sock"), coracle.path().join("syslog.sock"));
    let script = format!(
        "mount -t tmpfs t /run && mkdir -p /run/systemd/journal && mount -t tmpfs t /dev && \
         ln -s {} /run/systemd/journal/socket && ln -s {} /dev/log && exec \"$@\"",
        run.display(),
        dev.display()
    );
    coracle.call(words).through(["unshare", "-m", "sh", "-c", &script, "sh"])
}

#[test]
fn the_log_may_be_a_file_the_journal_or_syslog() {
    let coracle = &need!(Coracle::as_root());
    let file = coracle.path().join("log");
    let target = format!("file:{}", file.display());
    coracle.call(["--log", &target, "state", "nobody"]).output().fails();
    assert!(fs::read_to_string(&file).unwrap().contains("does not exist"));

    let journal = UnixDatagram::bind(coracle.path().join("journal.sock")).unwrap();
    let syslog = UnixDatagram::bind(coracle.path().join("syslog.sock")).unwrap();
    let heard = |socket: &UnixDatagram| {
        socket.set_read_timeout(Some(std::time::Duration::from_secs(20))).unwrap();
        let mut text = [0; 4096];
        let length = socket.recv(&mut text).expect("a message");
        String::from_utf8(text[..length].to_vec()).unwrap()
    };
    let told = with_logs(coracle, &["--log", "journald:web", "state", "nobody"]).output().fails();
    assert_eq!(told.stderr, "error: container does not exist: nobody\n");
    let entry = heard(&journal);
    for field in
        ["PRIORITY=3\n", "SYSLOG_IDENTIFIER=web\n", "\nMESSAGE=container does not exist: nobody\n"]
    {
        assert!(entry.contains(field), "{field:?}: {entry}");
    }
    with_logs(coracle, &["--log", "syslog:web", "state", "nobody"]).output().fails();
    let line = heard(&syslog);
    assert!(line.starts_with("<11>web["), "{line}");
    assert!(line.ends_with("]: container does not exist: nobody"), "{line}");
}

#[test]
fn as_much_is_logged_as_is_asked_for() {
    let coracle = &need!(Coracle::as_root());
    let bundle = coracle.bundle().sh("exit 0").set("/windows", json!({}));
    for (level, warned) in [("error", false), ("warning", true), ("debug", true)] {
        let options = ["--log-level", level, "run", "--bundle"];
        let told =
            coracle.call(options).args([bundle.path()]).args([bundle.id()]).output().succeeds();
        assert_eq!(told.stderr.contains("windows"), warned, "{level}");
    }
    coracle.call(["--log-level", "loud", "list"]).output().fails();
}

#[test]
fn annotations_of_crun_have_their_effect() {
    let coracle = &need!(Coracle::as_root());
    let annotated =
        |key: &str, value: &str| coracle.bundle().set(&format!("/annotations/{key}"), value);
    // Hooks' output goes to files, and is appended.
    let (out, error) = (coracle.path().join("out"), coracle.path().join("error"));
    let hook = json!([{"path": "/bin/sh", "args": ["sh", "-c", "echo out; echo error >&2"]}]);
    let bundle = annotated("run.oci.hooks.stdout", out.to_str().unwrap())
        .set("/annotations/run.oci.hooks.stderr", error.to_str().unwrap())
        .set("/hooks/createRuntime", hook.clone())
        .set("/hooks/createContainer", hook.clone())
        .set("/hooks/poststart", hook.clone())
        .set("/hooks/poststop", hook)
        .sh("exit 0");
    coracle.run(&bundle).succeeds();
    assert_eq!(fs::read_to_string(&out).unwrap(), "out\n".repeat(4));
    assert_eq!(fs::read_to_string(&error).unwrap(), "error\n".repeat(4));

    // The caller's groups stay.
    let grouped = ["setpriv", "--groups", "1234"];
    let bundle = annotated("run.oci.keep_original_groups", "1")
        .sh("grep ^Groups: /proc/self/status; sleep 1000");
    let run = coracle.with_bundle("run", &bundle, &[]).through(grouped).spawn();
    run.prints("Groups:\t1234");
    let told = coracle
        .call(["exec", bundle.id(), "grep", "^Groups:", "/proc/self/status"])
        .through(grouped);
    assert_eq!(told.output().succeeds().stdout.trim(), "Groups:\t1234");
    coracle.delete(bundle.id());
    drop(run);
    let bundle = coracle.bundle().sh("grep ^Groups: /proc/self/status");
    let told = coracle.with_bundle("run", &bundle, &[]).through(grouped).output().succeeds().stdout;
    assert_eq!(told.trim(), "Groups:");

    // A descriptor of the process goes to a socket.
    let receiver = Receiver::new(coracle.path().join("pidfd.sock"));
    let bundle =
        annotated("run.oci.pidfd_receiver", receiver.path().to_str().unwrap()).sh("exit 0");
    coracle.create(&bundle);
    assert!(!receiver.receive().0.is_empty());
    coracle.delete(bundle.id());

    coracle.assert_nothing_left();
}

#[test]
fn annotations_without_effect_are_warned_of() {
    let coracle = &need!(Coracle::as_root());
    for key in ["run.oci.handler", "run.oci.seccomp.plugins", "run.oci.systemd.force_cgroup_v1"] {
        let bundle = coracle.bundle().set(&format!("/annotations/{key}"), "x").sh("exit 0");
        let told = coracle.run(&bundle).succeeds();
        assert!(told.stderr.contains(key) && told.stderr.contains("no effect"), "{}", told.stderr);
    }
    let bundle = coracle.bundle().set("/annotations/run.oci.seccomp_bpf_data", "x").sh("exit 0");
    // Less isolated than is asked for it does not start.
    coracle.run(&bundle).fails().says("/annotations/run.oci.seccomp_bpf_data");
    coracle.assert_nothing_left();
}

#[test]
fn a_listener_may_be_named_by_the_environment() {
    let coracle = &need!(Coracle::as_root());
    let profile = json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_NOTIFY"}],
    });
    let bundle = coracle.bundle().set("/linux/seccomp", profile).sh("sleep 1000");
    coracle.with_bundle("create", &bundle, &[]).output().fails().says("listener");
    let receiver = Receiver::new(coracle.path().join("agent.sock"));
    let started = coracle
        .with_bundle("run", &bundle, &["--detach"])
        .env("RUN_OCI_SECCOMP_RECEIVER", receiver.path())
        .output();
    started.succeeds();
    let (state, _descriptor) = receiver.receive();
    let state: Value = serde_json::from_slice(&state).unwrap();
    assert_eq!(state["state"]["id"], bundle.id());
    coracle.delete(bundle.id());
    coracle.assert_nothing_left();
}
