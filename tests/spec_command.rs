//! `spec` writes a config.json to begin with.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use coracle_tests::{Call, Coracle, Value, json, need};

fn written(directory: &Path) -> (String, Value) {
    let text = fs::read_to_string(directory.join("config.json")).unwrap();
    let value = text.parse().expect("it is JSON");
    (text, value)
}

#[test]
fn it_is_written_to_the_current_directory_or_the_bundle() {
    let coracle = need!(Coracle::as_root());
    let told = coracle.bare().args(["spec"]).within(coracle.home()).output().succeeds();
    assert_eq!((told.stdout.as_str(), told.stderr.as_str()), ("", ""));
    let (here, _) = written(&coracle.home());
    for option in ["--bundle", "-b"] {
        let directory = coracle.path().join(format!("x{option}"));
        fs::create_dir(&directory).unwrap();
        let call = coracle.bare().args(["spec", option]).args([&directory]);
        call.within("/").output().succeeds();
        assert_eq!(written(&directory).0, here);
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 1, "nothing else is written");
    }
}

#[test]
fn a_config_json_that_is_there_stays_untouched() {
    let coracle = need!(Coracle::as_root());
    let file = coracle.home().join("config.json");
    fs::write(&file, "mine").unwrap();
    let before = fs::metadata(&file).unwrap();
    let told = coracle.bare().args(["spec"]).within(coracle.home()).output().exits(1);
    told.says("File config.json exists. Remove it first");
    let after = fs::metadata(&file).unwrap();
    assert_eq!(fs::read_to_string(&file).unwrap(), "mine");
    assert_eq!((before.ino(), before.mtime_nsec()), (after.ino(), after.mtime_nsec()));

    // A link that leads nowhere is there too.
    fs::remove_file(&file).unwrap();
    std::os::unix::fs::symlink("elsewhere", &file).unwrap();
    coracle.bare().args(["spec"]).within(coracle.home()).output().exits(1);
    assert!(!coracle.home().join("elsewhere").exists());
}

#[test]
fn arguments_are_refused() {
    let coracle = need!(Coracle::as_root());
    for arguments in [&["something"][..], &["--rootless", "x"], &["--no-such-option"]] {
        let call = coracle.bare().args(["spec"]).args(arguments).within(coracle.home());
        call.output().fails();
        assert_eq!(fs::read_dir(coracle.home()).unwrap().count(), 0);
    }
    let told = coracle.bare().args(["spec", "--bundle", "/no/such/directory"]).output().fails();
    told.says("/no/such/directory");
}

#[test]
fn the_mode_follows_the_umask() {
    let coracle = need!(Coracle::as_root());
    for (umask, mode) in [("022", 0o644), ("077", 0o600), ("000", 0o666)] {
        let directory = coracle.path().join(umask);
        fs::create_dir(&directory).unwrap();
        let shell = ["sh", "-c", "umask $0; exec \"$@\"", umask];
        coracle.bare().args(["spec"]).through(shell).within(&directory).output().succeeds();
        let of = fs::metadata(directory.join("config.json")).unwrap();
        assert_eq!(of.permissions().mode() & 0o7777, mode, "umask {umask}");
    }
}

#[test]
fn it_is_laid_out_for_line_editors() {
    let coracle = need!(Coracle::as_root());
    coracle.bare().args(["spec"]).within(coracle.home()).output().succeeds();
    let (text, _) = written(&coracle.home());
    assert!(text.starts_with("{\n\t\"ociVersion\": \"1."), "{text}");
    assert!(text.contains("\n\t\t\"args\": [\n\t\t\t\"sh\"\n\t\t],\n"), "{text}");
    assert!(!text.contains("  "), "tabs alone");

    let sed = ["sed", "-i", "s;\"sh\";\"/hello\";", "config.json"];
    Call::new(sed).within(coracle.home()).output().succeeds();
    let (_, edited) = written(&coracle.home());
    assert_eq!(edited["process"]["args"], json!(["/hello"]));
}

#[test]
fn what_root_gets() {
    let coracle = need!(Coracle::as_root());
    coracle.bare().args(["spec"]).within(coracle.home()).output().succeeds();
    let (_, config) = written(&coracle.home());
    let process = &config["process"];
    assert_eq!(process["terminal"], true);
    assert_eq!(process["user"], json!({"uid": 0, "gid": 0}));
    assert_eq!(process["args"], json!(["sh"]));
    assert_eq!(
        process["env"],
        json!(["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"])
    );
    assert_eq!(process["cwd"], "/");
    assert_eq!(process["noNewPrivileges"], true);
    assert_eq!(process["rlimits"], json!([{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}]));
    let three = json!(["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]);
    for set in ["bounding", "effective", "permitted", "inheritable", "ambient"] {
        assert_eq!(process["capabilities"][set], three, "{set}");
    }
    assert_eq!(config["root"], json!({"path": "rootfs", "readonly": true}));
    let destinations: Vec<&str> = config["mounts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|mount| mount["destination"].as_str().unwrap())
        .collect();
    let expected =
        ["/proc", "/dev", "/dev/pts", "/dev/shm", "/dev/mqueue", "/sys", "/sys/fs/cgroup"];
    assert_eq!(destinations, expected);
    let linux = &config["linux"];
    assert_eq!(linux["resources"]["devices"], json!([{"allow": false, "access": "rwm"}]));
    let namespaces: Vec<&str> = linux["namespaces"]
        .as_array()
        .unwrap()
        .iter()
        .map(|namespace| namespace["type"].as_str().unwrap())
        .collect();
    assert_eq!(namespaces[..5], ["pid", "network", "ipc", "uts", "mount"]);
    assert!(linux["maskedPaths"].as_array().unwrap().contains(&json!("/proc/kcore")));
    assert!(linux["readonlyPaths"].as_array().unwrap().contains(&json!("/proc/sys")));
}

#[test]
fn what_a_user_gets() {
    let coracle = need!(Coracle::as_user());
    let call = coracle.bare().args(["spec", "--rootless"]);
    call.within(coracle.home()).output().succeeds();
    let (_, config) = written(&coracle.home());
    let user = coracle.user().unwrap();
    let linux = &config["linux"];
    let mapping = |id| json!([{"containerID": 0, "hostID": id, "size": 1}]);
    assert_eq!(linux["uidMappings"], mapping(user.uid));
    assert_eq!(linux["gidMappings"], mapping(user.gid));
    let namespaces: Vec<&str> = linux["namespaces"]
        .as_array()
        .unwrap()
        .iter()
        .map(|namespace| namespace["type"].as_str().unwrap())
        .collect();
    assert!(namespaces.contains(&"user") && !namespaces.contains(&"network"), "{namespaces:?}");
    // What an ordinary user cannot have: resources, a fresh sysfs, and the group tty.
    assert_eq!(linux.get("resources"), None);
    let mounts = config["mounts"].as_array().unwrap();
    let sys = mounts.iter().find(|mount| mount["destination"] == "/sys").unwrap();
    assert!(sys["options"].as_array().unwrap().contains(&json!("rbind")));
    let pts = mounts.iter().find(|mount| mount["destination"] == "/dev/pts").unwrap();
    assert!(!pts["options"].as_array().unwrap().contains(&json!("gid=5")));
}
