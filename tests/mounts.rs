//! Every mount of config.json is made as it says, seen from inside, or refused with the line that
//! cannot be (runtime-spec config.md, "Mounts").

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::format_push_string)]

// Most of it is for those who look at the default configuration.
#[allow(dead_code)]
mod inside;

use std::fmt::Write;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, lchown, symlink};
use std::path::Path;

use coracle_tests::{Bundle, Call, Coracle, Value, eventually, json, need};
use inside::{look, mount_on, mounts};

/// Adds a bind mount.
fn bind(bundle: Bundle, source: &Path, destination: &str, options: &[&str]) -> Bundle {
    let mut all = vec!["bind"];
    all.extend(options);
    with(bundle, json!({"destination": destination, "source": source, "options": all}))
}

/// Adds a tmpfs.
fn tmpfs(bundle: Bundle, destination: &str, options: &[&str]) -> Bundle {
    let mount = json!({
        "destination": destination, "type": "tmpfs", "source": "tmpfs", "options": options,
    });
    with(bundle, mount)
}

/// Adds a mount.
fn with(bundle: Bundle, mount: Value) -> Bundle {
    bundle.set("/mounts/-", mount)
}

/// A directory of the host with a file in it.
fn directory(coracle: &Coracle, name: &str) -> std::path::PathBuf {
    let path = coracle.home().join(name);
    coracle.make_directory(&path, 0o755);
    fs::write(path.join("file"), "of the host\n").unwrap();
    coracle.give(&path.join("file"));
    path
}

/// Runs a bundle that is refused, and looks for each of `words` in what is said.
#[track_caller]
fn refused(coracle: &Coracle, bundle: Bundle, words: &[&str]) {
    let mut outcome = coracle.run(&bundle.args(["true"])).fails();
    for word in words {
        outcome = outcome.says(word);
    }
    coracle.assert_nothing_left();
}

#[test]
fn a_missing_destination_is_made() {
    for coracle in [need!(Coracle::as_root()), need!(Coracle::as_user())] {
        let host = directory(&coracle, "host");
        let mut bundle = coracle.bundle();
        bundle = bind(bundle, &host, "/made/for/it", &[]);
        bundle = bind(bundle, &host.join("file"), "/also/made", &[]);
        // Deprecated, and counted from the root.
        bundle = bind(bundle, &host, "relative/./path", &[]);
        let script =
            "cat made/for/it/file also/made relative/path/file; stat -c %a /made /also/made";
        let told = look(&coracle, bundle, script);
        assert_eq!(told, "of the host\nof the host\nof the host\n755\n644\n");
    }
}

#[test]
fn a_destination_below_an_earlier_mount_is_made_in_it() {
    let coracle = need!(Coracle::as_root());
    let host = directory(&coracle, "host");
    let bundle = tmpfs(coracle.bundle(), "/tmp", &["mode=700"]);
    let bundle = bind(bundle, &host, "/tmp/deep/down", &["ro"]);
    let bundle = bundle.set("/root/readonly", true);
    let rootfs = bundle.rootfs();
    let told = look(&coracle, bundle, "cat /tmp/deep/down/file; stat -c %a /tmp; touch /tmp/x");
    assert_eq!(told, "of the host\n700\n");
    assert!(!rootfs.join("tmp/deep").exists());
}

#[test]
fn links_on_the_way_are_followed_inside() {
    let coracle = need!(Coracle::as_root());
    let host = directory(&coracle, "host");
    let bundle = coracle.bundle();
    let rootfs = bundle.rootfs();
    fs::create_dir_all(rootfs.join("real/one")).unwrap();
    symlink("/real", rootfs.join("absolute")).unwrap();
    symlink("../../../real/one", rootfs.join("home/relative")).unwrap();
    let bundle = bind(bundle, &host, "/absolute/two", &[]);
    let bundle = bind(bundle, &host, "/home/relative", &[]);
    let mounts = mounts(&coracle, bundle);
    mount_on(&mounts, "/real/two");
    mount_on(&mounts, "/real/one");
}

#[test]
fn a_destination_that_leads_nowhere_is_refused() {
    let coracle = need!(Coracle::as_root());
    let host = directory(&coracle, "host");
    for (link, source) in [("last", host.clone()), ("last", host.join("file")), ("a/b", host)] {
        let bundle = coracle.bundle();
        let first = link.split('/').next().unwrap();
        symlink("/not/there", bundle.rootfs().join(first)).unwrap();
        let bundle = bind(bundle, &source, &format!("/{link}"), &[]);
        let index = bundle.config()["mounts"].as_array().unwrap().len() - 1;
        let pointer = format!("/mounts/{index}/destination");
        refused(&coracle, bundle, &["a link that leads nowhere", &pointer]);
    }
}

#[test]
fn directories_go_on_directories_and_files_on_files() {
    let coracle = need!(Coracle::as_root());
    let host = directory(&coracle, "host");
    let what = "not both directories or both files";
    refused(&coracle, bind(coracle.bundle(), &host, "/etc/passwd", &[]), &[what]);
    refused(&coracle, bind(coracle.bundle(), &host.join("file"), "/etc", &[]), &[what]);
    refused(&coracle, tmpfs(coracle.bundle(), "/etc/passwd", &[]), &[what]);
    refused(&coracle, bind(coracle.bundle(), &host, "/etc/passwd/below", &[]), &["(ENOTDIR)"]);
}

#[test]
fn a_missing_source_is_told() {
    let coracle = need!(Coracle::as_root());
    let bundle = bind(coracle.bundle(), Path::new("/not/there"), "/tmp", &[]);
    let index = bundle.config()["mounts"].as_array().unwrap().len() - 1;
    let pointer = format!("/mounts/{index}/source = \"/not/there\"");
    refused(&coracle, bundle, &[&pointer, "no such file or directory", "make the file"]);
}

#[test]
fn a_source_may_be_relative_to_the_bundle() {
    let coracle = need!(Coracle::as_root());
    let bundle = coracle.bundle();
    fs::write(bundle.path().join("beside"), "beside\n").unwrap();
    let bundle = bind(bundle, Path::new("beside"), "/tmp/beside", &[]);
    assert_eq!(look(&coracle, bundle, "cat /tmp/beside"), "beside\n");
}

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
fn propagation_is_as_told() {
    let coracle = need!(Coracle::as_root());
    for (option, told) in [
        ("shared", "shared:"),
        ("private", ""),
        ("unbindable", "unbindable"),
        ("rshared", "shared:"),
    ] {
        let mounts = mounts(&coracle, tmpfs(coracle.bundle(), "/tmp", &["shared", option]));
        let mount = mount_on(&mounts, "/tmp");
        assert!(mount.propagation.starts_with(told), "{option}: {mount:?}");
        assert_eq!(mount.propagation.is_empty(), told.is_empty(), "{option}: {mount:?}");
    }
}

#[test]
fn the_root_s_propagation_of_every_kind() {
    let coracle = need!(Coracle::as_root());
    let host = directory(&coracle, "host");
    for (kind, root, below) in [
        ("private", "", ""),
        ("rprivate", "", ""),
        ("shared", "shared:", ""),
        ("rshared", "shared:", "shared:"),
        ("unbindable", "unbindable", ""),
        ("runbindable", "unbindable", "unbindable"),
        ("slave", "", ""),
        ("rslave", "", ""),
    ] {
        let bundle = bind(coracle.bundle(), &host, "/home", &["private"]);
        let bundle = bundle.set("/linux/rootfsPropagation", kind);
        let mounts = mounts(&coracle, bundle);
        for (point, wanted) in [("/", root), ("/home", below)] {
            let mount = mount_on(&mounts, point);
            if wanted.is_empty() {
                assert!(!mount.propagation.contains("shared"), "{kind}: {mount:?}");
                assert!(!mount.propagation.contains("unbindable"), "{kind}: {mount:?}");
            } else {
                assert!(mount.propagation.starts_with(wanted), "{kind}: {mount:?}");
            }
        }
        coracle.assert_nothing_left();
    }
}

#[test]
fn what_the_host_mounts_arrives_only_in_a_slave() {
    let coracle = need!(Coracle::as_root());
    for (kind, arrives) in [
        ("slave", true),
        ("rslave", true),
        ("private", false),
        ("rprivate", false),
        ("shared", false),
    ] {
        let bundle = coracle.bundle().set("/linux/rootfsPropagation", kind).sh("sleep 1000");
        let rootfs = bundle.rootfs();
        let _shared = Mounted::shared(&rootfs);
        coracle.start(&bundle);
        let pid = coracle.pid(bundle.id());
        let _late = Mounted::tmpfs(&rootfs.join("home"));
        let seen = fs::read_to_string(format!("/proc/{pid}/mountinfo")).unwrap();
        assert_eq!(seen.contains(" /home "), arrives, "{kind}: {seen}");
        coracle.delete(bundle.id());
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
fn a_read_only_tmpfs_is_closed_at_the_end() {
    let coracle = need!(Coracle::as_root());
    let bundle = coracle.bundle();
    let config = bundle.config().clone();
    let dev = config["mounts"].as_array().unwrap().iter().position(|m| m["destination"] == "/dev");
    let bundle = bundle.set(&format!("/mounts/{}/options/-", dev.unwrap()), "ro");
    let bundle = tmpfs(bundle, "/tmp", &["ro"]);
    let bundle = tmpfs(bundle, "/tmp/below", &["mode=700"]);
    let script = "touch /dev/x /tmp/x 2>&1; echo a > /dev/null; ls /dev/zero; touch /tmp/below/x";
    let told = look(&coracle, bundle, script);
    assert_eq!(told.matches("Read-only file system").count(), 2, "{told}");
    assert!(told.ends_with("/dev/zero\n"), "{told}");
}

#[test]
fn a_tmpfs_has_the_mode_of_what_it_covers() {
    let coracle = need!(Coracle::as_root());
    let bundle = coracle.bundle();
    fs::set_permissions(bundle.rootfs().join("root"), fs::Permissions::from_mode(0o700)).unwrap();
    let bundle = tmpfs(bundle, "/root", &[]);
    let bundle = tmpfs(bundle, "/home", &["mode=751"]);
    let bundle = tmpfs(bundle, "/tmp", &[]);
    assert_eq!(look(&coracle, bundle, "stat -c %a /root /home /tmp"), "700\n751\n1777\n");
}

/// A tree of everything that a directory can have.
fn fill(directory: &Path) {
    fs::create_dir_all(directory.join("sub/empty")).unwrap();
    fs::write(directory.join("sub/large"), vec![b'x'; 300_000]).unwrap();
    fs::write(directory.join("file"), "text\n").unwrap();
    symlink("/etc/shadow", directory.join("link")).unwrap();
    symlink("..", directory.join("sub/up")).unwrap();
    let node = directory.join("fifo");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &node,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o620),
        0,
    )
    .unwrap();
    fs::set_permissions(directory.join("file"), fs::Permissions::from_mode(0o4711)).unwrap();
    fs::set_permissions(directory.join("sub"), fs::Permissions::from_mode(0o2755)).unwrap();
}

/// What a tree is: path, type and mode, owner, size and time.
const LIST: &str = "cd /data && find . ! -type d | sort | xargs stat -c '%n %F %a %u:%g %s %Y' && \
     find . -type d | sort | xargs stat -c '%n %F %a %u:%g' && readlink link && readlink sub/up";

#[test]
fn tmpcopyup_copies_what_was_there() {
    let coracle = need!(Coracle::as_root());
    let bundle = coracle.bundle();
    let data = bundle.rootfs().join("data");
    fill(&data);
    fs::write(bundle.rootfs().join("etc/shadow"), "secret").unwrap();
    lchown(data.join("link"), Some(7), Some(8)).unwrap();
    for name in ["file", "sub", ""] {
        chown(data.join(name), Some(1000), Some(1001)).unwrap();
    }
    fs::set_permissions(data.join("file"), fs::Permissions::from_mode(0o4711)).unwrap();
    fs::set_permissions(data.join("sub"), fs::Permissions::from_mode(0o2755)).unwrap();
    let old = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000);
    fs::File::options()
        .write(true)
        .open(data.join("sub/large"))
        .unwrap()
        .set_modified(old)
        .unwrap();
    let plain = look(&coracle, bundle.set("/root/readonly", true), LIST);
    assert!(plain.contains("./sub/large regular file 644 0:0 300000 1000000\n"), "{plain}");

    let bundle = coracle.bundle();
    let other = bundle.rootfs().join("data");
    let copied = Call::new(["cp", "-a", data.to_str().unwrap(), other.to_str().unwrap()]);
    copied.output().succeeds();
    let bundle = tmpfs(bundle, "/data", &["tmpcopyup", "size=16m"]);
    assert_eq!(look(&coracle, bundle, LIST), plain);

    let bundle = tmpfs(coracle.bundle(), "/data", &["tmpcopyup", "ro"]);
    let to = bundle.rootfs().join("data");
    Call::new(["cp", "-a", data.to_str().unwrap(), to.to_str().unwrap()]).output().succeeds();
    let (name, flags) = ("trusted.coracle", rustix::fs::XattrFlags::empty());
    rustix::fs::setxattr(to.join("file"), name, b"value", flags).unwrap();
    let bundle = bundle.sh("sleep 1000");
    coracle.start(&bundle);
    let inside = format!("/proc/{}/root/data/file", coracle.pid(bundle.id()));
    let mut value = [0; 16];
    let copy = fs::File::open(&inside).unwrap();
    let length = rustix::fs::fgetxattr(&copy, name, &mut value[..]).unwrap();
    assert_eq!(&value[..length], b"value");
    assert_eq!(copy.metadata().unwrap().uid(), 1000);
    assert!(fs::write(&inside, "").is_err(), "it is read-only");
    coracle.delete(bundle.id());

    let mount = json!({"destination": "/data", "type": "ramfs", "options": ["tmpcopyup"]});
    refused(&coracle, with(coracle.bundle(), mount), &["only a tmpfs", "/options/0"]);
}

#[test]
fn tmpcopyup_as_an_ordinary_user() {
    let coracle = need!(Coracle::as_user());
    let bundle = coracle.bundle();
    let data = bundle.rootfs().join("data");
    fill(&data);
    Call::new(["chown", "-Rh", &coracle.user().unwrap().name, data.to_str().unwrap()])
        .output()
        .succeeds();
    // Another's, which the user namespace does not know.
    chown(data.join("sub/empty"), Some(0), Some(0)).unwrap();
    let bundle = tmpfs(bundle, "/data", &["tmpcopyup"]);
    let told = look(&coracle, bundle, "cd data; cat file; wc -c < sub/large; ls; readlink link");
    assert_eq!(told, "text\n300000\nfifo\nfile\nlink\nsub\n/etc/shadow\n");
}

#[test]
fn links_as_sources_and_destinations() {
    let coracle = need!(Coracle::as_root());
    let host = directory(&coracle, "host");
    symlink("file", host.join("link")).unwrap();
    let link = host.join("link");

    let bundle = bind(coracle.bundle(), &link, "/tmp/followed", &[]);
    let bundle = bind(bundle, &link, "/tmp/copied", &["copy-symlink"]);
    let bundle = bind(bundle, &host.join("file"), "/tmp/file", &["copy-symlink"]);
    let bundle = bind(bundle, &link, "/tmp/bound", &["src-nofollow"]);
    let script = "cat tmp/followed tmp/file; readlink tmp/copied; readlink tmp/bound";
    assert_eq!(look(&coracle, bundle, script), "of the host\nof the host\nfile\nfile\n");

    let bundle = bind(coracle.bundle(), &link, "/etc/passwd", &["copy-symlink"]);
    refused(&coracle, bundle, &["another file is there"]);

    let bundle = coracle.bundle().file("/etc/target", 0o644, "target\n");
    symlink("target", bundle.rootfs().join("etc/over")).unwrap();
    let bundle = bind(bundle, &host.join("file"), "/etc/over", &["dest-nofollow"]);
    assert_eq!(look(&coracle, bundle, "cat /etc/over /etc/target"), "of the host\ntarget\n");
}

#[test]
fn proc_stays_the_kernel_s() {
    let coracle = need!(Coracle::as_root());
    let host = directory(&coracle, "host");
    let file = host.join("file");
    let what = "would hide the kernel's own /proc";
    for destination in ["/proc", "/proc/self/attr", "/proc/sys", "/link/sys", "/proc/../proc/sys"] {
        let bundle = coracle.bundle();
        symlink("proc", bundle.rootfs().join("link")).unwrap();
        refused(&coracle, bind(bundle, &host, destination, &[]), &[what, "/destination"]);
        let bundle = coracle.bundle();
        symlink("proc", bundle.rootfs().join("link")).unwrap();
        refused(&coracle, tmpfs(bundle, destination, &[]), &[what]);
    }
    for destination in ["/proc/self/oom_score_adj", "/proc/sys/kernel/hostname", "/proc/self/stat"]
    {
        refused(&coracle, bind(coracle.bundle(), &file, destination, &[]), &[what]);
    }
    // Before there is a procfs on it, too.
    let bundle = coracle.bundle();
    let mut mounts = bundle.config()["mounts"].as_array().unwrap().clone();
    mounts.retain(|mount| mount["destination"] != "/proc");
    let bundle = bundle.set("/mounts", mounts);
    refused(&coracle, tmpfs(bundle, "/proc", &[]), &[what]);

    let mut bundle = coracle.bundle();
    let mut script = String::new();
    for name in ["cpuinfo", "meminfo", "stat", "uptime", "loadavg", "swaps", "diskstats"] {
        bundle = bind(bundle, &file, &format!("/proc/{name}"), &[]);
        writeln!(script, "cat /proc/{name}").unwrap();
    }
    // lxcfs is mounted again over its own.
    bundle = bind(bundle, &file, "/proc/cpuinfo", &["ro"]);
    assert_eq!(look(&coracle, bundle, &script), "of the host\n".repeat(7));

    // The host's own, as for a container that shares its processes.
    let bundle = bind(coracle.bundle(), Path::new("/proc"), "/proc", &["rbind"]);
    let bundle = bundle.without_namespace("pid");
    coracle.run(&bundle.args(["true"])).succeeds();
    let bundle = bind(coracle.bundle(), Path::new("/proc/sys"), "/proc", &[]);
    refused(&coracle, bundle, &[what]);
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
fn file_systems_get_what_is_theirs() {
    let coracle = need!(Coracle::as_root());
    let mut bundle = coracle.bundle();
    // A devpts of today is always an instance of its own.
    let at = |name: &str| {
        let mounts = coracle_mounts(&bundle);
        mounts.iter().position(|m| m["destination"] == name).unwrap()
    };
    let (pts, queue) = (at("/dev/pts"), at("/dev/mqueue"));
    bundle = bundle.set(&format!("/mounts/{pts}/options"), json!(["ptmxmode=0666", "gid=5"]));
    bundle = bundle.set(&format!("/mounts/{queue}/options"), json!([]));
    let script = "stat -f -c %t /dev/mqueue; ls /dev/pts; stat -c %a /dev/pts/ptmx; \
                  mkdir /dev/mqueue/x 2>/dev/null || touch /dev/mqueue/q && ls /dev/mqueue";
    assert_eq!(look(&coracle, bundle, script), "19800202\nptmx\n666\nq\n");

    let mount = json!({"destination": "/tmp", "type": "nosuchfs", "source": "none"});
    refused(&coracle, with(coracle.bundle(), mount), &["nosuchfs", "/proc/filesystems"]);
    let bundle = tmpfs(coracle.bundle(), "/tmp", &["nosuchoption"]);
    refused(&coracle, bundle, &["nosuchoption", "/options/0"]);
    let mount =
        json!({"destination": "/tmp", "type": "fuse", "source": "none", "options": ["fd=9"]});
    refused(&coracle, with(coracle.bundle(), mount), &["mounting fuse on /tmp"]);
}

fn coracle_mounts(bundle: &Bundle) -> Vec<Value> {
    bundle.config()["mounts"].as_array().unwrap().clone()
}

#[test]
fn a_group_that_is_not_mapped_is_told() {
    let coracle = need!(Coracle::as_user());
    let bundle = coracle.bundle();
    let pts = coracle_mounts(&bundle).iter().position(|m| m["destination"] == "/dev/pts").unwrap();
    let options = json!(["newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]);
    let bundle = bundle.set(&format!("/mounts/{pts}/options"), options);
    refused(&coracle, bundle, &[&format!("/mounts/{pts}/options/3"), "gid=5", "mapped"]);
}

#[test]
fn a_thousand_mounts() {
    let coracle = need!(Coracle::as_root());
    let host = directory(&coracle, "host");
    let bundle = coracle.bundle();
    let mut mounts = coracle_mounts(&bundle);
    for index in 0..1000 {
        let source = if index % 2 == 0 { host.clone() } else { host.join("file") };
        mounts.push(json!({
            "destination": format!("/home/{index}"), "source": source, "options": ["bind", "ro"],
        }));
    }
    let bundle = bundle.set("/mounts", mounts);
    // With fewer descriptors than mounts.
    let bundle = bundle.set("/process/rlimits", json!([]));
    let bundle = bundle.sh("grep -c ' /home/' /proc/self/mountinfo; cat /home/999 /home/0/file");
    let call = coracle.with_bundle("run", &bundle, &[]);
    let told = call.through(["sh", "-c", "ulimit -n 64; exec \"$@\"", "sh"]).output().succeeds();
    assert_eq!(told.stdout, "1000\nof the host\nof the host\n");
    coracle.assert_nothing_left();
}

#[test]
fn masked_and_read_only_paths_of_every_kind() {
    let coracle = need!(Coracle::as_root());
    let host = directory(&coracle, "host");
    let bundle = coracle.bundle().set("/root/readonly", false);
    let bundle = bundle
        .file("/etc/hidden", 0o644, "secret\n")
        .file("/srv/data/file", 0o644, "secret\n")
        .file("/srv/fixed/file", 0o644, "fixed\n");
    let rootfs = bundle.rootfs();
    symlink("/etc/hidden", rootfs.join("etc/alias")).unwrap();
    symlink("nowhere", rootfs.join("etc/dangling")).unwrap();
    symlink("../../srv/fixed", rootfs.join("etc/fixed")).unwrap();
    // Mounted twice; the one that is seen counts.
    let bundle = tmpfs(bundle, "/mnt", &[]);
    let bundle = bind(bundle, &host, "/mnt", &[]);
    let masked = ["/etc/alias", "/etc/dangling", "/srv/data", "/not/there", "/etc/hidden/below"];
    let bundle = bundle.set("/linux/maskedPaths", masked.to_vec());
    let fixed = ["/etc/fixed", "/mnt", "/etc/passwd", "/etc/dangling", "/not/there", "/etc/fixed"];
    let bundle = bundle.set("/linux/readonlyPaths", fixed.to_vec());
    let script = "cat /etc/hidden /etc/alias; ls -A /srv/data; cat /srv/fixed/file /mnt/file; \
                  exec 2>&1; for f in /srv/data/x /srv/fixed/x /mnt/x /etc/passwd; do \
                  echo x > $f; done; echo x > /etc/free && ls -d /not /etc/nowhere";
    let outcome = coracle.run(&bundle.sh(script)).exits(1);
    let told = outcome.stdout;
    assert!(told.starts_with("fixed\nof the host\n"), "{told}");
    assert_eq!(told.matches("Read-only file system").count(), 4, "{told}");
    assert_eq!(told.matches("No such file").count(), 2, "{told}");
    assert!(!told.contains("secret"), "{told}");
}

#[test]
fn cgroups_are_shown_with_and_without_a_namespace() {
    let here = need!(Coracle::as_root());
    let unified = need!(Coracle::on_cgroup2());
    for (coracle, v2) in [(&here, false), (&unified, true)] {
        for namespace in [true, false] {
            for options in [json!(["ro", "nosuid"]), json!(["rw", "noexec"])] {
                let bundle = coracle.bundle();
                let index = coracle_mounts(&bundle)
                    .iter()
                    .position(|mount| mount["type"] == "cgroup")
                    .unwrap();
                let bundle = bundle.set(&format!("/mounts/{index}/options"), options.clone());
                let mut bundle = bundle.without_namespace("cgroup");
                if namespace {
                    bundle = bundle.set("/linux/namespaces/-", json!({"type": "cgroup"}));
                }
                let id = bundle.id().to_owned();
                let script = "grep ' /sys/fs/cgroup' /proc/self/mountinfo; \
                              mkdir /sys/fs/cgroup/inside 2>&1; echo; \
                              cat /proc/self/cgroup";
                let told = look(coracle, bundle, script);
                let lines: Vec<_> = told.lines().take_while(|line| line.contains(" - ")).collect();
                let mounts = coracle_tests::Mount::parse(&lines.join("\n"));
                let top = mount_on(&mounts, "/sys/fs/cgroup");
                let flag = if options[0] == "ro" { "ro" } else { "rw" };
                assert!(top.options.starts_with(flag), "{told}");
                assert_eq!(told.contains(&id), !namespace, "{told}");
                if v2 {
                    assert_eq!(mounts.len(), 1, "{told}");
                } else if !Path::new("/sys/fs/cgroup/cgroup.controllers").exists() {
                    assert!(mounts.len() > 1, "{told}");
                }
                assert_eq!(told.contains("Read-only file system"), flag == "ro", "{told}");
            }
        }
    }
    // What was made in the shared view.
    let _ = fs::remove_dir("/sys/fs/cgroup/unified/inside");
}

/// A mount of the host that goes away with the test.
struct Mounted(std::path::PathBuf);

impl Mounted {
    fn tmpfs(path: &Path) -> Self {
        let flags = rustix::mount::MountFlags::empty();
        rustix::mount::mount("tmpfs", path, "tmpfs", flags, None).unwrap();
        Self(path.to_owned())
    }

    /// The directory itself, shared.
    fn shared(path: &Path) -> Self {
        rustix::mount::mount_bind(path, path).unwrap();
        rustix::mount::mount_change(path, rustix::mount::MountPropagationFlags::SHARED).unwrap();
        Self(path.to_owned())
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let path = self.0.clone();
        eventually("it is unmounted", || {
            rustix::mount::unmount(&path, rustix::mount::UnmountFlags::DETACH).is_ok()
        });
    }
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
