//! What is wrong is refused with the place, the value and the reason, and leaves nothing behind.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use coracle_tests::{Bundle, Call, Coracle, Value, json, need};

/// Tries to create and to run, and asserts that both say all of `words` and leave nothing.
#[track_caller]
fn refused(coracle: &Coracle, bundle: &Bundle, words: &[&str]) {
    for command in ["create", "run"] {
        let mut told = coracle.with_bundle(command, bundle, &[]).output().fails();
        for word in words {
            told = told.says(word);
        }
        coracle.assert_nothing_left();
    }
}

/// Sets one value, and asserts that it is refused by its JSON pointer and value, and with `words`.
#[track_caller]
fn refused_value(coracle: &Coracle, pointer: &str, value: &Value, words: &[&str]) {
    let bundle = coracle.bundle().set(pointer, value.clone());
    let place = format!("config.json: {pointer} = {value}");
    refused(coracle, &bundle, &[&[place.as_str()], words].concat());
}

#[test]
fn no_config_json() {
    let coracle = need!(Coracle::as_root());
    let bundle = coracle.bundle();
    fs::remove_file(bundle.path().join("config.json")).unwrap();
    refused(&coracle, &bundle, &["config.json", "not found"]);
    let told = coracle.call(["run", "--bundle", "/no/such/bundle", bundle.id()]).output().fails();
    told.says("/no/such/bundle").says("no such file or directory");
    coracle.assert_nothing_left();
}

#[test]
fn an_unreadable_config_json() {
    let coracle = need!(Coracle::as_user());
    let bundle = coracle.bundle();
    let file = bundle.path().join("config.json");
    fs::set_permissions(file, fs::Permissions::from_mode(0o000)).unwrap();
    refused(&coracle, &bundle, &["config.json", "permission denied"]);
}

#[test]
fn a_config_json_that_is_no_file() {
    let coracle = need!(Coracle::as_root());
    let bundle = coracle.bundle();
    let file = bundle.path().join("config.json");
    fs::remove_file(&file).unwrap();
    fs::create_dir(&file).unwrap();
    refused(&coracle, &bundle, &["config.json"]);
    fs::remove_dir(&file).unwrap();
    // Nobody will ever write to it.
    Call::new(["mkfifo"]).args([&file]).output().succeeds();
    refused(&coracle, &bundle, &["config.json"]);
}

#[test]
fn what_is_not_json() {
    let coracle = need!(Coracle::as_root());
    for (text, words) in [
        ("{\n\t\"ociVersion\": \"1.0.2\",\n\t\"process\": {,}\n}", &["line 3", "column 14"][..]),
        ("{\n\"ociVersion\": \"1.0.2\"", &["line 2"]),
        ("{\"ociVersion\": \"1.0.2\"} {}", &["line 1"]),
        ("", &["config.json"]),
        ("[]", &["config.json"]),
        ("null", &["config.json"]),
        ("hello", &["line 1"]),
    ] {
        refused(&coracle, &coracle.bundle().text(text), words);
    }
    let deep = "[".repeat(100_000);
    refused(&coracle, &coracle.bundle().text(deep), &["config.json"]);
    refused(&coracle, &coracle.bundle().text([0xff, 0xfe, 0]), &["config.json"]);
}

#[test]
fn values_of_the_wrong_type() {
    let coracle = need!(Coracle::as_root());
    for (pointer, value) in [
        ("/process/args", json!("sh")),
        ("/process/args/0", json!(7)),
        ("/process/user/uid", json!("root")),
        ("/process/user/uid", json!(-1)),
        ("/process/user/gid", json!(4_294_967_296_u64)),
        ("/process/terminal", json!("yes")),
        ("/process/rlimits/0/soft", json!("1k")),
        ("/root/readonly", json!(1)),
        ("/mounts", json!({})),
        ("/mounts/1/options", json!("ro")),
        ("/linux/namespaces", json!("all")),
        ("/linux/resources/devices/0/allow", json!("no")),
        ("/hostname", json!(["h"])),
    ] {
        refused_value(&coracle, pointer, &value, &[]);
    }
}

#[test]
fn values_that_mean_nothing() {
    let coracle = need!(Coracle::as_root());
    for (pointer, value, words) in [
        ("/ociVersion", json!("2.0.0"), &[][..]),
        ("/ociVersion", json!("one"), &[]),
        ("/process/cwd", json!("tmp"), &[]),
        ("/process/cwd", json!(""), &[]),
        ("/process/args", json!([]), &[]),
        ("/process/env/0", json!("NOTHING"), &[]),
        ("/process/oomScoreAdj", json!(1001), &[]),
        ("/process/rlimits/0/type", json!("RLIMIT_NONE"), &[]),
        ("/linux/namespaces/0/type", json!("nets"), &[]),
        ("/linux/rootfsPropagation", json!("wide"), &[]),
        ("/root/path", json!("nowhere"), &["no such file or directory"]),
        ("/root/path", json!("config.json"), &["not a directory"]),
        ("/root/path", json!(""), &[]),
    ] {
        refused_value(&coracle, pointer, &value, words);
    }
}

#[test]
fn parts_that_are_missing() {
    let coracle = need!(Coracle::as_root());
    for pointer in ["/ociVersion", "/process/args", "/process/cwd", "/root", "/root/path"] {
        refused(&coracle, &coracle.bundle().remove(pointer), &[&format!("config.json: {pointer}")]);
    }
}

#[test]
fn parts_that_do_not_fit_together() {
    let coracle = need!(Coracle::as_root());
    let bundle = coracle.bundle().without_namespace("uts").set("/hostname", "name");
    refused(&coracle, &bundle, &["config.json: /hostname = \"name\"", "uts"]);
    let bundle = coracle.bundle().without_namespace("mount");
    refused(&coracle, &bundle, &["config.json: /", "mount"]);
    let bundle = coracle.bundle().set("/linux/namespaces/-", json!({"type": "pid"}));
    refused(&coracle, &bundle, &["config.json: /linux/namespaces/5", "pid"]);
    let bundle = coracle.bundle().set("/linux/namespaces/-", json!({"type": "user"}));
    refused(&coracle, &bundle, &["config.json: /linux/", "user"]);
    let own = json!({"net.ipv4.ip_forward": "1"});
    let bundle = coracle.bundle().without_namespace("network").set("/linux/sysctl", own);
    refused(&coracle, &bundle, &["config.json: /linux/sysctl", "network"]);
    let bundle = coracle.bundle().set("/linux/sysctl", json!({"kernel.panic": "1"}));
    refused(&coracle, &bundle, &["config.json: /linux/sysctl/kernel.panic"]);
}

#[test]
fn mounts_that_cannot_be() {
    let coracle = need!(Coracle::as_root());
    for (mount, words) in [
        (json!({"destination": "/x", "type": "nofs", "source": "x"}), &["nofs"][..]),
        (
            json!({"destination": "/tmp", "type": "tmpfs", "source": "t", "options": ["mode=1x7"]}),
            &["mode=1x7"],
        ),
        (
            json!({"destination": "/tmp", "source": "/no/such/source", "options": ["bind"]}),
            &["/no/such/source", "no such file or directory"],
        ),
        (json!({"type": "tmpfs", "source": "t"}), &["destination"]),
    ] {
        let count = coracle.bundle().config()["mounts"].as_array().unwrap().len();
        let place = format!("config.json: /mounts/{count}");
        let bundle = coracle.bundle().set("/mounts/-", mount);
        refused(&coracle, &bundle, &[&[place.as_str()], words].concat());
    }
}

#[test]
fn namespaces_that_are_not_there() {
    let coracle = need!(Coracle::as_root());
    for path in ["/no/such/namespace", "/proc/self/ns/uts", "/etc/passwd"] {
        let bundle = coracle
            .bundle()
            .without_namespace("network")
            .set("/linux/namespaces/-", json!({"type": "network", "path": path}));
        refused(&coracle, &bundle, &["config.json: /linux/namespaces/4", path]);
    }
}

#[test]
fn hooks_that_are_not_there() {
    let coracle = need!(Coracle::as_root());
    let hook = json!({"path": "/no/such/hook"});
    let bundle = coracle.bundle().set("/hooks/createRuntime/-", hook);
    refused(&coracle, &bundle, &["/hooks/createRuntime/0", "/no/such/hook"]);
    let hook = json!({"path": "relative"});
    let bundle = coracle.bundle().set("/hooks/poststop/-", hook);
    refused(&coracle, &bundle, &["/hooks/poststop/0", "relative"]);
}

#[test]
fn programs_that_cannot_run() {
    let coracle = need!(Coracle::as_root());
    let place = |program: &str| format!("config.json: /process/args/0 = \"{program}\"");
    for (program, words) in [
        ("no-such-program", "executable file not found in $PATH"),
        ("/no/such/program", "no such file or directory"),
        ("/etc/passwd", "permission denied"),
        ("/etc", "permission denied: is a directory"),
        ("/etc/passwd/x", "not a directory"),
    ] {
        let bundle = coracle.bundle().args([program]);
        refused(&coracle, &bundle, &[&place(program), words]);
    }
    // Its turn comes at start only: the kernel has to read it.
    let bundle = coracle.bundle().file("/bin/odd", 0o755, "no program at all").args(["odd"]);
    coracle.create(&bundle);
    coracle.call(["start", bundle.id()]).output().fails().says("exec format error");
    coracle.delete(bundle.id());
    coracle.assert_nothing_left();
}

#[test]
fn names_that_are_no_id() {
    let coracle = need!(Coracle::as_root());
    let bundle = coracle.bundle().sh("exit 0");
    let long = "x".repeat(1025);
    for id in ["", ".", "..", "a/b", "../up", "a b", "ä", "a\nb", "a*", &long] {
        for command in ["create", "run"] {
            let call = coracle.call([command, "--bundle"]).args([bundle.path()]).args([id]);
            call.output().fails().says("invalid container ID format");
            coracle.assert_nothing_left();
        }
    }
    let call = coracle.call(["create", "--bundle"]).args([bundle.path()]);
    call.output().fails();
    coracle.assert_nothing_left();
}

#[test]
fn all_kinds_of_names_are_ids() {
    let coracle = need!(Coracle::as_root());
    let bundle = coracle.bundle().sh("exit 3");
    let long = bundle.other_id(&"x".repeat(160));
    for id in [bundle.other_id("AZaz09_+.-"), bundle.other_id("..."), long] {
        coracle.call(["run", "--bundle"]).args([bundle.path()]).args([&id]).output().exits(3);
        coracle.assert_nothing_left();
    }
}

#[test]
fn an_id_that_is_taken() {
    let coracle = need!(Coracle::as_root());
    let bundle = coracle.bundle().sh("sleep 1000");
    coracle.start(&bundle);
    let pid = coracle.pid(bundle.id());
    for command in ["create", "run"] {
        let told = coracle.with_bundle(command, &bundle, &[]).output().fails();
        told.says("container with given ID already exists");
        assert_eq!(coracle.status(bundle.id()), "running");
        assert_eq!(coracle.pid(bundle.id()), pid);
    }
    coracle.delete(bundle.id());
    coracle.assert_nothing_left();
}

#[test]
fn a_state_directory_that_cannot_be_used() {
    let coracle = need!(Coracle::as_user());
    let bundle = coracle.bundle();
    let theirs = coracle.path().join("theirs");
    fs::create_dir(&theirs).unwrap();
    if coracle.user().unwrap().switch {
        let under = |root: &str| {
            let call = coracle.bare().args(["--root", root, "create", "--bundle"]);
            call.args([bundle.path()]).args([bundle.id()]).output().fails()
        };
        let theirs = theirs.to_str().unwrap();
        under(theirs).says(theirs).says("permission denied");
        under(&format!("{theirs}/below")).says("permission denied");
        under("/etc/passwd").says("/etc/passwd").says("not a directory");
    }
    coracle.assert_nothing_left();
}

#[test]
fn strangers_in_the_state_directory() {
    let coracle = need!(Coracle::as_root());
    let bundle = coracle.bundle().sh("sleep 1000");
    coracle.start(&bundle);
    let state = coracle.state_directory();
    let strange = |name: &str, text: Option<&str>| {
        fs::create_dir(state.join(name)).unwrap();
        if let Some(text) = text {
            fs::write(state.join(name).join("state.json"), text).unwrap();
        }
    };
    strange("empty", None);
    strange("no-json", Some("{ not json"));
    strange("nothing", Some(""));
    strange("other", Some("{\"id\": 7, \"init_process_pid\": \"x\"}"));
    fs::create_dir_all(state.join("nested/state.json")).unwrap();
    fs::write(state.join("a-file"), "hello").unwrap();
    symlink("/no/such/place", state.join("a-link")).unwrap();
    let precious = coracle.path().join("precious");
    fs::create_dir_all(precious.join("directory")).unwrap();
    for file in ["state.json", "other", "directory/file"] {
        fs::write(precious.join(file), "{}").unwrap();
    }
    symlink(&precious, state.join("outside")).unwrap();
    fs::create_dir(state.join("name with blanks")).unwrap();

    let listed = coracle.call(["list", "--quiet"]).output().succeeds().stdout;
    assert_eq!(listed, format!("{}\n", bundle.id()));
    let listed = coracle.call(["list", "--format", "json"]).output().succeeds().stdout;
    let listed: Value = listed.parse().unwrap();
    assert_eq!(listed.as_array().unwrap().len(), 1);
    for id in ["no-json", "nothing", "other", "empty", "a-file", "a-link", "nested"] {
        for command in ["state", "start", "kill"] {
            coracle.call([command, id]).output().fails();
        }
    }
    // A directory without a good record can be cleaned away.
    for id in ["empty", "no-json", "nothing", "other"] {
        coracle.call(["delete", "--force", id]).output().succeeds();
        assert!(!state.join(id).exists(), "{id}");
    }
    // What a link leads to is nobody's container: nothing of it is touched.
    coracle.call(["state", "outside"]).output().fails().says("does not exist");
    coracle.call(["delete", "outside"]).output().fails().says("does not exist");
    coracle.call(["delete", "--force", "outside"]).output().succeeds();
    for file in ["state.json", "other", "directory/file"] {
        assert!(precious.join(file).exists(), "{file}");
    }
    assert_eq!(coracle.status(bundle.id()), "running");
    coracle.delete(bundle.id());
}

#[test]
fn an_error_is_laid_out_for_people() {
    let coracle = need!(Coracle::as_root());
    let bundle = coracle.bundle().set("/process/cwd", "tmp");
    let told = coracle.with_bundle("create", &bundle, &[]).output().exits(1);
    let lines: Vec<&str> = told.stderr.lines().collect();
    assert!(lines[0].starts_with("error: "), "{}", told.stderr);
    assert_eq!(lines[1], "  config.json: /process/cwd = \"tmp\"");
    assert!(lines[2].starts_with("  help: "), "{}", told.stderr);
    assert_eq!((lines.len(), told.stdout.as_str()), (3, ""));
}
