//! What options do.

use std::fs;
use std::path::Path;

use crate::inside::{look, mount_on, mounts};
use crate::{Mounted, bind, coracle_mounts, directory, refused, tmpfs, with};
use coracle_tests::{Bundle, Call, Coracle, Needs, Outcome, json, need};

fn options_of_one_mount_and_of_all_below(coracle: &Coracle) {
    let host = directory(coracle, "host");
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
        let mounts = mounts(coracle, bundle);
        assert!(mount_on(&mounts, "/tmp").has(on_top), "{option}: {mounts:#?}");
        assert!(mount_on(&mounts, "/tmp/below").has(below), "{option}: {mounts:#?}");
    }
    // A later option takes an earlier one back.
    let options = ["rbind", "rro", "rrw", "rnoexec", "rexec", "nosuid", "suid", "ro"];
    let mounts = mounts(coracle, bind(coracle.bundle(), &host, "/tmp", &options));
    let (top, below) = (mount_on(&mounts, "/tmp"), mount_on(&mounts, "/tmp/below"));
    assert!(top.options.starts_with("ro") && !top.has("nosuid") && !top.has("noexec"), "{top:?}");
    assert!(below.options.starts_with("rw") && !below.has("noexec"), "{below:?}");
}

fn every_option_of_the_specification_is_taken(coracle: &Coracle) {
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
        let mounts = mounts(coracle, tmpfs(coracle.bundle(), "/tmp", &[option]));
        assert!(mount_on(&mounts, "/tmp").has(shown), "{mounts:#?}");
    }
}

fn a_remount_changes_an_earlier_mount(coracle: &Coracle) {
    let host = directory(coracle, "host");
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
    let mounts = mounts(coracle, bundle);
    let home = mount_on(&mounts, "/home");
    let flags = ["ro", "nosuid", "noexec"];
    assert!(flags.iter().all(|flag| home.has(flag)), "{home:?}");
    let tmp = mount_on(&mounts, "/tmp");
    assert!(tmp.has("nodev") && tmp.has("noexec") && tmp.has("size=128k"), "{tmp:?}");
    assert!(!mount_on(&mounts, "/dev/shm").has("nosuid"));
    // The host's file system is none of its business.
    fs::write(host.join("file"), "still writable").unwrap();

    let bundle = with(coracle.bundle(), remount("/home", &["ro"]));
    refused(coracle, bundle, &["nothing is mounted there", "/destination"]);
    let bundle = with(coracle.bundle(), remount("/dev/shm", &["size=many"]));
    refused(coracle, bundle, &["size=many", "/options/1"]);
}

fn long_options_go_the_old_way(coracle: &Coracle) {
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
    let told = look(coracle, bundle, "ls /home | wc -l; grep ' /home ' /proc/self/mountinfo");
    assert!(told.starts_with("8\n"), "{told}");
    let mount = coracle_tests::Mount::parse(told.lines().nth(1).unwrap());
    assert!(mount[0].has("noexec") && mount[0].has("ro"), "{mount:?}");

    let endless = format!("lowerdir={}", layers[0].repeat(100));
    refused(
        coracle,
        with(coracle.bundle(), overlay(&[endless])),
        &["longer than 4095 bytes", "shorter paths"],
    );

    let dirs = ["upper", "work"].map(|name| coracle.home().join(name));
    for dir in &dirs {
        coracle.make_directory(dir, 0o755);
    }
    let options = [
        lower,
        format!("upperdir={}", dirs[0].display()),
        format!("workdir={}", dirs[1].display()),
    ];
    let bundle = with(coracle.bundle(), overlay(&options));
    look(coracle, bundle, "echo written > /home/new");
    assert_eq!(fs::read_to_string(dirs[0].join("new")).unwrap(), "written\n");
}

/// Runs a bundle, and has system calls fail as strace(1) is told to.
fn failing(coracle: &Coracle, bundle: &Bundle, call: &str, how: &str) -> Outcome {
    let log = coracle.home().join("strace.log");
    let (trace, inject) = (format!("trace={call}"), format!("inject={call}:{how}"));
    let words = ["strace", "-f", "-o", log.to_str().unwrap(), "-e", &trace, "-e", &inject];
    coracle.with_bundle("run", bundle, &[]).through(words).output()
}

fn strace() -> Needs<()> {
    match Call::new(["strace", "-V"]).output().code {
        Some(0) => Ok(()),
        _ => Err("needs strace, to have a system call fail".into()),
    }
}

/// As AppArmor does for a container that may mount(2) file systems of these types.
#[test]
fn a_security_module_that_knows_mount_only() {
    let coracle = need!(Coracle::as_root());
    need!(strace());
    let bundle = coracle.bundle();
    let mut all = coracle_mounts(&bundle);
    all.retain(|mount| mount["type"] != "cgroup");
    let bundle = tmpfs(bundle.set("/mounts", all), "/home", &["tmpcopyup", "ro", "size=8k"]);
    let bundle = bundle.file("/home/file", 0o644, "copied\n");
    let bundle = bundle.sh("cat /home/file; cat /proc/self/mountinfo");
    // The first of its calls is for the root; proc, dev, …, home follow.
    let last = 1 + coracle_mounts(&bundle).len();
    for (call, when) in [("move_mount", 2), ("move_mount", last), ("fsmount", 1)] {
        let how = format!("error=EACCES:when={when}");
        let told = failing(&coracle, &bundle, call, &how).succeeds().stdout;
        let (file, mounts) = told.split_once('\n').unwrap();
        assert_eq!(file, "copied");
        let mounts = coracle_tests::Mount::parse(mounts);
        assert_eq!(mount_on(&mounts, "/proc").kind, "proc");
        let home = mount_on(&mounts, "/home");
        assert!(home.options.starts_with("ro") && home.has("size=8k"), "{home:?}");
    }
    // By neither way.
    let bundle = coracle.bundle().args(["true"]);
    failing(&coracle, &bundle, "move_mount,mount", "error=EACCES:when=2+").fails();
    coracle.assert_nothing_left();
}

#[test]
fn kernels_before_mount_setattr() {
    let coracle = need!(Coracle::as_root());
    need!(strace());
    let host = directory(&coracle, "host");
    let old = |bundle: &Bundle| failing(&coracle, bundle, "mount_setattr", "error=ENOSYS");
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
    let flags = ["ro", "noexec", "noatime"];
    assert!(flags.iter().all(|flag| tmp.has(flag)) && !tmp.has("nosuid"), "{tmp:?}");
    assert!(tmp.propagation.is_empty(), "{tmp:?}");
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

coracle_tests::tests! {
    as_root, as_ranged_user, as_single_user =>
        every_option_of_the_specification_is_taken,
        a_remount_changes_an_earlier_mount,
        long_options_go_the_old_way;
    as_root =>
        options_of_one_mount_and_of_all_below;
}
