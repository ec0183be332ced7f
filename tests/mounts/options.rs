//! What options do.

use std::fs;
use std::path::Path;

use crate::inside::{look, mount_on, mounts};
use crate::{Mounted, bind, directory, refused, tmpfs, with};
use coracle_tests::{Bundle, Call, Coracle, json, need};

#[test]
fn options_of_one_mount_and_of_all_below() {
    let coracle = need!(Coracle::as_root());
    let host = directory(&coracle, "host");
    fs::create_dir(host.join("below")).unwrap();
    let _below = Mounted::tmpfs(&host.join("below"));
    for (option, on_top, below) in [
        ("ro", "ro", "rw"),
        ("rro", "ro", "ro"),
        ("rnosuid", "nosuid", "nosuid"),
        ("rnodev", "nodev", "nodev"),
        ("rnoexec", "noexec", "noexec"),
        ("rnoatime", "noatime", "noatime"),
        ("rnodiratime", "nodiratime", "nodiratime"),
        ("rnosymfollow", "nosymfollow", "nosymfollow"),
        ("noatime", "noatime", "relatime"),
        ("nosymfollow", "nosymfollow", "relatime"),
        ("rrelatime", "relatime", "relatime"),
    ] {
        let bundle = bind(coracle.bundle(), &host, "/tmp", &["rbind", option]);
        let mounts = mounts(&coracle, bundle);
        assert!(mount_on(&mounts, "/tmp").has(on_top), "{option}: {mounts:#?}");
        assert!(mount_on(&mounts, "/tmp/below").has(below), "{option}: {mounts:#?}");
    }
    // A later option takes an earlier one back.
    let options = ["rbind", "rro", "rrw", "rnoexec", "rexec", "nosuid", "suid", "ro"];
    let mounts = mounts(&coracle, bind(coracle.bundle(), &host, "/tmp", &options));
    let (top, below) = (mount_on(&mounts, "/tmp"), mount_on(&mounts, "/tmp/below"));
    assert!(top.options.starts_with("ro") && !top.has("nosuid") && !top.has("noexec"), "{top:?}");
    assert!(below.options.starts_with("rw") && !below.has("noexec"), "{below:?}");
}

#[test]
fn every_option_of_the_specification_is_taken() {
    let coracle = need!(Coracle::as_root());
    let mut tmpfses = tmpfs(coracle.bundle(), "/tmp", &[]);
    let mut binds = tmpfs(coracle.bundle(), "/tmp", &[]);
    for option in [
        "async",
        "atime",
        "defaults",
        "dev",
        "diratime",
        "dirsync",
        "exec",
        "iversion",
        "lazytime",
        "loud",
        "mand",
        "noatime",
        "nodev",
        "nodiratime",
        "noexec",
        "noiversion",
        "nolazytime",
        "nomand",
        "norelatime",
        "nostrictatime",
        "nosuid",
        "nosymfollow",
        "private",
        "ratime",
        "rdev",
        "rdiratime",
        "relatime",
        "rexec",
        "rnoatime",
        "rnodiratime",
        "rnoexec",
        "rnorelatime",
        "rnostrictatime",
        "rnosuid",
        "rnosymfollow",
        "ro",
        "rprivate",
        "rrelatime",
        "rro",
        "rrw",
        "rshared",
        "rslave",
        "rstrictatime",
        "rsuid",
        "rsymfollow",
        "runbindable",
        "rw",
        "shared",
        "silent",
        "slave",
        "strictatime",
        "suid",
        "symfollow",
        "sync",
        "tmpcopyup",
        "unbindable",
        "rsync",
        "rasync",
        "rdirsync",
        "rmand",
        "rnomand",
    ] {
        tmpfses = tmpfs(tmpfses, &format!("/tmp/{option}"), &[option, "size=64k"]);
        if option != "tmpcopyup" {
            binds = bind(binds, Path::new("/etc"), &format!("/tmp/{option}"), &[option]);
        }
    }
    coracle.run(&tmpfses.args(["true"])).succeeds();
    coracle.run(&binds.args(["true"])).succeeds();
    for (option, shown) in [("sync", "sync"), ("dirsync", "dirsync"), ("lazytime", "lazytime")] {
        let mounts = mounts(&coracle, tmpfs(coracle.bundle(), "/tmp", &[option]));
        assert!(mount_on(&mounts, "/tmp").has(shown), "{mounts:#?}");
    }
}

#[test]
fn a_remount_changes_an_earlier_mount() {
    let coracle = need!(Coracle::as_root());
    let host = directory(&coracle, "host");
    let remount = |destination: &str, options: &[&str]| {
        let mut all = vec!["remount"];
        all.extend(options);
        json!({"destination": destination, "options": all})
    };
    let bundle = bind(coracle.bundle(), &host, "/home", &["nosuid"]);
    let bundle = with(bundle, remount("/home", &["bind", "ro", "noexec"]));
    let bundle = tmpfs(bundle, "/tmp", &["size=64k", "nodev"]);
    let bundle = with(bundle, remount("/tmp", &["size=128k", "noexec", "mode=711"]));
    let bundle = with(bundle, remount("/dev/shm", &["suid"]));
    let mounts = mounts(&coracle, bundle);
    let home = mount_on(&mounts, "/home");
    assert!(home.options.starts_with("ro,nosuid,noexec"), "{home:?}");
    let tmp = mount_on(&mounts, "/tmp");
    assert!(tmp.has("nodev") && tmp.has("noexec") && tmp.has("size=128k"), "{tmp:?}");
    assert!(!mount_on(&mounts, "/dev/shm").has("nosuid"));
    // The host's file system is none of its business.
    fs::write(host.join("file"), "still writable").unwrap();

    let bundle = with(coracle.bundle(), remount("/home", &["ro"]));
    refused(&coracle, bundle, &["nothing is mounted there", "/destination"]);
    let bundle = with(coracle.bundle(), remount("/dev/shm", &["size=many"]));
    refused(&coracle, bundle, &["size=many", "/options/1"]);
}

#[test]
fn long_options_go_the_old_way() {
    let coracle = need!(Coracle::as_root());
    // More layers than fsconfig(2) takes in one value.
    let long = "a-directory-with-a-name-that-is-long-enough-for-a-few-to-fill-it";
    let mut layers = Vec::new();
    for index in 0..8 {
        let layer = coracle.home().join(format!("{long}-{index}"));
        fs::create_dir(&layer).unwrap();
        fs::write(layer.join(format!("file-{index}")), "").unwrap();
        layers.push(layer.to_str().unwrap().to_owned());
    }
    let overlay = |options: &[String]| json!({"destination": "/home", "type": "overlay", "source": "overlay", "options": options});
    let lower = format!("lowerdir={}", layers.join(":"));
    assert!(lower.len() > 256);
    let bundle = with(coracle.bundle(), overlay(&[lower.clone(), "noexec".into(), "ro".into()]));
    let told = look(&coracle, bundle, "ls /home | wc -l; grep ' /home ' /proc/self/mountinfo");
    assert!(told.starts_with("8\n"), "{told}");
    let mount = coracle_tests::Mount::parse(told.lines().nth(1).unwrap());
    assert!(mount[0].has("noexec") && mount[0].has("ro"), "{mount:?}");

    let endless = format!("lowerdir={}", layers[0].repeat(100));
    refused(&coracle, with(coracle.bundle(), overlay(&[endless])), &["longer than 4095 bytes"]);

    let dirs = ["upper", "work"].map(|name| coracle.home().join(name));
    for dir in &dirs {
        fs::create_dir(dir).unwrap();
    }
    let options = [
        lower,
        format!("upperdir={}", dirs[0].display()),
        format!("workdir={}", dirs[1].display()),
    ];
    let bundle = with(coracle.bundle(), overlay(&options));
    look(&coracle, bundle, "echo written > /home/new");
    assert_eq!(fs::read_to_string(dirs[0].join("new")).unwrap(), "written\n");
}

#[test]
fn kernels_before_mount_setattr() {
    let coracle = need!(Coracle::as_root());
    if Call::new(["strace", "-V"]).output().code != Some(0) {
        coracle_tests::skipped("needs strace, to have a system call fail");
        return;
    }
    let host = directory(&coracle, "host");
    let old = |bundle: &Bundle| {
        let log = coracle.home().join("strace.log");
        let inject = "inject=mount_setattr:error=ENOSYS";
        let log = log.to_str().unwrap();
        let words = ["strace", "-f", "-o", log, "-e", "trace=mount_setattr", "-e", inject];
        coracle.with_bundle("run", bundle, &[]).through(words).output()
    };
    let bundle = bind(coracle.bundle(), &host, "/tmp", &["ro", "nosuid", "noatime", "private"]);
    let bundle =
        bundle.file("/etc/hidden", 0o644, "secret").set("/linux/maskedPaths/-", "/etc/hidden");
    let bundle = tmpfs(bundle, "/home", &["ro", "noexec", "shared"]);
    let remount = json!({"destination": "/tmp", "options": ["remount", "bind", "noexec", "suid"]});
    let bundle = with(bundle, remount).set("/linux/readonlyPaths/-", "/etc");
    let bundle = bundle.sh("cat /proc/self/mountinfo; cat /etc/hidden >&2");
    let told = old(&bundle).succeeds();
    assert_eq!(told.stderr, "");
    let mounts = coracle_tests::Mount::parse(&told.stdout);
    let tmp = mount_on(&mounts, "/tmp");
    assert!(tmp.options.starts_with("ro,noexec,noatime") && tmp.propagation.is_empty(), "{tmp:?}");
    let home = mount_on(&mounts, "/home");
    assert!(home.options.starts_with("ro,noexec"), "{home:?}");
    assert!(home.propagation.starts_with("shared:"), "{home:?}");
    assert!(mount_on(&mounts, "/etc").options.starts_with("ro"));
    assert!(mount_on(&mounts, "/").options.starts_with("ro"));
    coracle.assert_nothing_left();

    // Not silently of one mount only.
    let bundle = bind(coracle.bundle(), &host, "/tmp", &["rbind", "rro"]).args(["true"]);
    old(&bundle).fails().says("Linux 5.12");
    coracle.assert_nothing_left();
}
