//! Sentences of the specification that no other file of tests is about.

use std::collections::BTreeSet;
use std::fs;
use std::io::Read;
use std::os::unix::net::UnixListener;
use std::path::Path;

use coracle_tests::{Bundle, Coracle, Value, json, need};

use crate::fields;

#[test]
fn every_version_1_is_taken_and_a_newer_one_warned_of() {
    let coracle = need!(Coracle::as_root());
    for version in ["1.0.0", "1.0.2-dev", "1.1.0+build.7", "1.2.1", "1.3.0", "1.3.99"] {
        let bundle = coracle.bundle().set("/ociVersion", version).sh("exit 3");
        let told = coracle.run(&bundle).exits(3);
        assert_eq!(told.stderr, "", "{version}");
    }
    for version in ["1.4.0", "1.99.7-rc.1"] {
        let bundle = coracle.bundle().set("/ociVersion", version).sh("exit 3");
        let told = coracle.run(&bundle).exits(3).says("warning: ").says("/ociVersion");
        assert!(told.stderr.contains(version), "{}", told.stderr);
    }
    coracle.assert_nothing_left();
}

#[test]
fn unknown_properties_are_ignored() {
    let coracle = need!(Coracle::as_root());
    let mut bundle = coracle.bundle().sh("exit 3");
    let odd = json!({"deep": [{"er": null}, 1e99, "x"]});
    for place in
        ["", "/process", "/process/user", "/root", "/mounts/0", "/linux", "/linux/namespaces/0"]
    {
        bundle = bundle.set(&format!("{place}/x-of-tomorrow"), odd.clone());
    }
    let told = coracle.run(&bundle).exits(3);
    assert_eq!(told.stderr, "");
}

#[test]
fn annotations_are_strings_with_names() {
    let coracle = need!(Coracle::as_root());
    for (key, value) in
        [("a", json!(1)), ("a", json!({"b": "c"})), ("a", json!(["b"])), ("", json!("b"))]
    {
        let bundle = coracle.bundle().set("/annotations", json!({ key: value })).sh("exit 0");
        coracle.run(&bundle).fails().says("config.json: /annotations");
    }
    let bundle =
        coracle.bundle().set("/annotations", json!({"org.opencontainers.x": "", "a/b": "c"}));
    coracle.run(&bundle.sh("exit 3")).exits(3);
    coracle.assert_nothing_left();
}

#[test]
fn operations_need_what_they_are_about() {
    let coracle = need!(Coracle::as_root());
    for command in ["state", "create", "start", "kill", "delete"] {
        coracle.call([command]).output().fails();
    }
    let nowhere = coracle.path().to_str().unwrap().to_owned();
    coracle.call(["create", "--bundle", &nowhere, "an-id"]).output().fails().says("config.json");
    coracle.assert_nothing_left();
}

#[test]
fn the_state_has_the_form_that_the_schema_gives_it() {
    let coracle = need!(Coracle::as_root());
    let bundle = coracle.bundle().set("/annotations/a", "b").sh("sleep 1000");
    let id = bundle.id();
    let look = |status: &str| {
        let state = coracle.state(id);
        let known: BTreeSet<String> =
            fields("state").map(|field| field.trim_start_matches('/').to_owned()).collect();
        for key in &known {
            assert!(state.get(key).is_some(), "{key}: {state}");
        }
        for key in ["ociVersion", "id", "status", "bundle"] {
            assert!(state[key].is_string(), "{key}: {state}");
        }
        assert_eq!(state["status"], status);
        assert!(state["pid"].is_u64() && state["annotations"] == json!({"a": "b"}), "{state}");
    };
    coracle.create(&bundle);
    look("created");
    coracle.call(["start", id]).output().succeeds();
    look("running");
    coracle.call(["kill", id, "KILL"]).output().succeeds();
    coracle.becomes(id, "stopped");
    look("stopped");
    coracle.delete(id);
}

#[test]
fn without_a_process_it_is_created_and_not_started() {
    let coracle = need!(Coracle::as_root());
    let bundle = coracle.bundle().remove("/process");
    coracle.create(&bundle);
    assert_eq!(coracle.status(bundle.id()), "created");
    coracle.call(["start", bundle.id()]).output().fails().says("/process");
    coracle.delete(bundle.id());
    coracle.assert_nothing_left();
    coracle.run(&bundle).fails().says("/process");
    coracle.assert_nothing_left();
}

/// What /proc/PID/limits calls them, and the unit that it counts in.
const LIMITS: [(&str, &str); 15] = [
    ("RLIMIT_AS", "Max address space"),
    ("RLIMIT_CORE", "Max core file size"),
    ("RLIMIT_CPU", "Max cpu time"),
    ("RLIMIT_DATA", "Max data size"),
    ("RLIMIT_FSIZE", "Max file size"),
    ("RLIMIT_LOCKS", "Max file locks"),
    ("RLIMIT_MEMLOCK", "Max locked memory"),
    ("RLIMIT_MSGQUEUE", "Max msgqueue size"),
    ("RLIMIT_NOFILE", "Max open files"),
    ("RLIMIT_NPROC", "Max processes"),
    ("RLIMIT_RSS", "Max resident set"),
    ("RLIMIT_RTPRIO", "Max realtime priority"),
    ("RLIMIT_RTTIME", "Max realtime timeout"),
    ("RLIMIT_SIGPENDING", "Max pending signals"),
    ("RLIMIT_STACK", "Max stack size"),
];

#[test]
fn each_resource_has_its_soft_and_hard_limit() {
    let coracle = need!(Coracle::as_root());
    let own = fs::read_to_string("/proc/self/limits").unwrap();
    let hard = |title: &str| {
        let line = own.lines().find(|line| line.starts_with(title)).unwrap();
        let words: Vec<&str> = line[title.len()..].split_whitespace().collect();
        words[1].parse::<u64>().unwrap_or(u64::MAX)
    };
    // Lower than it is, which anyone may do, and enough for a shell.
    let wanted = LIMITS.map(|(kind, title)| {
        let hard = hard(title).min(1 << 40);
        (kind, title, hard - hard / 3, hard - hard / 4)
    });
    let limits: Vec<Value> = wanted
        .iter()
        .map(|(kind, _, soft, hard)| json!({"type": kind, "soft": soft, "hard": hard}))
        .collect();
    let bundle = coracle.bundle().set("/process/rlimits", limits).sh("cat /proc/self/limits");
    let told = coracle.run(&bundle).succeeds().stdout;
    for (kind, title, soft, hard) in wanted {
        let line = told.lines().find(|line| line.starts_with(title)).expect(kind);
        let words: Vec<&str> = line[title.len()..].split_whitespace().collect();
        assert_eq!(words[..2], [soft.to_string(), hard.to_string()], "{kind}");
    }
    let twice = json!([
        {"type": "RLIMIT_CORE", "soft": 0, "hard": 0}, {"type": "RLIMIT_CORE", "soft": 0, "hard": 0},
    ]);
    let bundle = coracle.bundle().set("/process/rlimits", twice);
    coracle.run(&bundle).fails().says("/process/rlimits/1/type");
}

#[test]
fn capabilities_that_cannot_be_granted_are_warned_of() {
    let coracle = need!(Coracle::as_root());
    let sets = ["bounding", "effective", "permitted", "inheritable", "ambient"];
    let bundle = sets.iter().fold(coracle.bundle(), |bundle, set| {
        bundle.set(&format!("/process/capabilities/{set}"), json!(["CAP_KILL", "CAP_CHOWN"]))
    });
    let bundle = bundle.sh("grep ^Cap /proc/self/status");
    // The runtime itself may not have it.
    let without = ["setpriv", "--bounding-set=-chown"];
    let told = coracle.with_bundle("run", &bundle, &[]).through(without).output().succeeds();
    assert_eq!(told.stdout.matches("0000000000000020").count(), 5, "{told:?}");
    assert!(told.stderr.contains("CAP_CHOWN"), "{told:?}");
    // No kernel has it.
    let bundle = coracle.bundle().set("/process/capabilities/bounding/-", "CAP_OF_TOMORROW");
    coracle.run(&bundle.sh("exit 3")).exits(3).says("CAP_OF_TOMORROW");
    coracle.assert_nothing_left();
}

#[test]
fn the_oom_score_stays_unless_it_is_given() {
    let coracle = need!(Coracle::as_root());
    let bundle = coracle.bundle().sh("cat /proc/self/oom_score_adj");
    let told = coracle
        .with_bundle("run", &bundle, &[])
        .through(["sh", "-c", "echo 77 > /proc/self/oom_score_adj; exec \"$@\"", "sh"])
        .output()
        .succeeds();
    assert_eq!(told.stdout, "77\n");
}

#[test]
fn a_hook_is_found_in_its_namespace() {
    let coracle = need!(Coracle::as_root());
    let order = coracle.path().join("order");
    let outside = coracle.path().join("only-outside");
    fs::write(&outside, format!("#!/bin/sh\necho $1 >> {}\n", order.display())).unwrap();
    coracle_tests::Call::new(["chmod", "755"]).args([&outside]).output().succeeds();
    let kinds = ["prestart", "createRuntime", "createContainer", "poststart", "poststop"];
    let mut bundle = coracle.bundle().set("/root/readonly", false).sh("exit 0");
    for kind in kinds {
        let hook = json!({"path": outside, "args": ["hook", kind]});
        bundle = bundle.set(&format!("/hooks/{kind}/-"), hook);
    }
    let inside = "#!/bin/sh\necho ran > /tmp/inside\n";
    let bundle = bundle.file("/only-inside", 0o755, inside);
    let bundle = bundle.set("/hooks/startContainer/-", json!({"path": "/only-inside"}));
    coracle.run(&bundle).succeeds();
    let told = fs::read_to_string(&order).unwrap();
    assert_eq!(told.lines().collect::<Vec<_>>(), kinds);
    assert_eq!(fs::read_to_string(bundle.rootfs().join("tmp/inside")).unwrap(), "ran\n");
    // Not the other way round.
    let bundle = coracle.bundle().set("/hooks/startContainer/-", json!({"path": outside}));
    coracle.run(&bundle.sh("exit 0")).fails().says("/hooks/startContainer/0");
    coracle.assert_nothing_left();
}

#[test]
fn without_a_rule_only_default_devices_can_be_used() {
    let coracle = need!(Coracle::as_root());
    let mut bundle = coracle.bundle().remove("/linux/resources");
    for set in ["bounding", "permitted", "effective"] {
        bundle = bundle.set(&format!("/process/capabilities/{set}/-"), "CAP_MKNOD");
    }
    let script = "cd /dev; mknod other c 1 11; (: < other) 2>/dev/null || echo refused; \
                  head -c 1 zero | wc -c";
    assert_eq!(coracle.run(&bundle.sh(script)).succeeds().stdout, "refused\n1\n");
}

#[test]
fn options_that_a_bind_mount_cannot_have_are_warned_of() {
    let coracle = need!(Coracle::as_root());
    let count = coracle.bundle().config()["mounts"].as_array().unwrap().len();
    let with = |options: &[&str]| {
        let mount = json!({"destination": "/mnt", "source": "/etc", "options": options});
        coracle.run(&coracle.bundle().set("/mounts/-", mount).sh("exit 3"))
    };
    let told = with(&["rbind", "nosiud", "ro"]).exits(3);
    let place = format!("/mounts/{count}/options/1");
    told.says("nosiud").says(&place);
    // What every mount can be told.
    assert_eq!(with(&["bind", "sync", "nosuid", "rprivate", "rnoexec"]).exits(3).stderr, "");
    with(&["bind", "tmpcopyup"]).fails().says(&place).says("tmpcopyup");
    coracle.assert_nothing_left();
}

/// A profile that notifies mkdir, and names this listener.
fn notifying(bundle: Bundle, names: &[&str], listener: &Path) -> Bundle {
    let rule = json!({"names": names, "action": "SCMP_ACT_NOTIFY"});
    let rules = if names.is_empty() { json!([]) } else { json!([rule]) };
    let profile = json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules,
                         "listenerPath": listener});
    bundle.set("/linux/seccomp", profile)
}

#[test]
fn a_seccomp_listener_is_told_once_and_left_alone() {
    let coracle = need!(Coracle::as_root());
    let path = coracle.path().join("agent");
    let listener = UnixListener::bind(&path).unwrap();
    listener.set_nonblocking(true).unwrap();
    let bundle = notifying(coracle.bundle(), &["mkdir"], &path).sh("sleep 1000");
    coracle.start(&bundle);
    let (mut stream, _) = listener.accept().expect("it was told before start returned");
    stream.set_nonblocking(false).unwrap();
    // To its end: the connection is closed behind the one state. Descriptors that nobody takes
    // are lost on the way, which is all the same here.
    let mut text = Vec::new();
    stream.read_to_end(&mut text).unwrap();
    let state: Value = serde_json::from_slice(&text).expect("one state and nothing else");
    assert!(state["ociVersion"].is_string() && state["state"]["status"].is_string(), "{state}");
    assert_eq!(state.get("metadata"), None);
    assert!(listener.accept().is_err(), "and nobody else calls");
    coracle.delete(bundle.id());

    // Nothing is notified: nobody is called, and there need not be anybody.
    let bundle = notifying(coracle.bundle(), &[], &coracle.path().join("nobody")).sh("exit 3");
    coracle.run(&bundle).exits(3);
    coracle.assert_nothing_left();
}

#[test]
fn the_umask_is_the_one_given_or_0022() {
    let coracle = need!(Coracle::as_root());
    let through = ["sh", "-c", "umask 0077; exec \"$@\"", "sh"];
    let told = |bundle: &Bundle| {
        let run = coracle.with_bundle("run", bundle, &[]).through(through);
        run.output().succeeds().stdout
    };
    assert_eq!(told(&coracle.bundle().sh("umask")), "0022\n");
    let bundle = coracle.bundle().set("/process/user/umask", 0o137).sh("umask");
    assert_eq!(told(&bundle), "0137\n");
}

#[test]
fn late_hooks_have_a_timeout_too() {
    let coracle = need!(Coracle::as_root());
    let endless = json!({"path": "/bin/sh", "args": ["sh", "-c", "sleep 1000"], "timeout": 1});
    for kind in ["startContainer", "poststart"] {
        let bundle = coracle.bundle().set(&format!("/hooks/{kind}/-"), endless.clone());
        let told = coracle.run(&bundle.sh("sleep 1000")).fails();
        told.says(&format!("/hooks/{kind}/0")).says("did not end within 1 s");
        coracle.assert_nothing_left();
    }
    let bundle = coracle.bundle().set("/hooks/poststop/-", endless).sh("exit 3");
    coracle.run(&bundle).exits(3).says("warning: ").says("did not end within 1 s");
    coracle.assert_nothing_left();
}

#[test]
fn features_tell_what_the_specification_asks_for() {
    let coracle = need!(Coracle::as_root());
    let told = coracle.bare().args(["features"]).output().succeeds().stdout;
    let told: Value = told.parse().unwrap();
    for field in fields("features") {
        assert!(told.pointer(field).is_some_and(|value| !value.is_null()), "{field}");
    }
    // features-linux.md has these as well; the schema of 1.3 does not.
    let more = [
        "/linux/intelRdt/schemata",
        "/linux/intelRdt/monitoring",
        "/linux/memoryPolicy",
        "/linux/memoryPolicy/modes",
        "/linux/memoryPolicy/flags",
    ];
    let mut pending = vec![(String::new(), &told)];
    while let Some((at, value)) = pending.pop() {
        assert!(
            at.is_empty()
                || at.starts_with("/annotations/")
                || more.contains(&at.as_str())
                || fields("features").any(|field| field == at),
            "the specification has no {at}"
        );
        let below = value.as_object().into_iter().flatten();
        pending.extend(below.map(|(key, value)| (format!("{at}/{key}"), value)));
    }
    let version = |field: &str| -> Vec<u64> {
        told[field].as_str().unwrap().split('.').map(|part| part.parse().unwrap()).collect()
    };
    assert!(version("ociVersionMin") <= version("ociVersionMax"));
    let hooks =
        ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"];
    assert_eq!(told["hooks"], json!(hooks));
    assert!(told["annotations"].as_object().unwrap().values().all(Value::is_string));
    for field in [
        "cgroup/v1",
        "cgroup/v2",
        "cgroup/rdma",
        "apparmor/enabled",
        "selinux/enabled",
        "intelRdt/enabled",
        "intelRdt/schemata",
        "intelRdt/monitoring",
        "seccomp/enabled",
    ] {
        assert_eq!(told.pointer(&format!("/linux/{field}")), Some(&json!(true)), "{field}");
    }
}
