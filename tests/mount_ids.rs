//! ID-mapped mounts, and mounts of containers with a user namespace of their own, where the
//! runtime's privileges and the container root's are not the same.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::format_push_string)]

// Most of it is for those who look at the default configuration.
#[allow(dead_code)]
mod inside;

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};

use coracle_tests::{Bundle, Call, Coracle, Value, json, need};
use inside::{look, mount_on, mounts};
use rustix::mount::{MountFlags, UnmountFlags, mount, mount_remount, unmount};

/// A map of one range of ids.
fn map(container: u32, host: u32, size: u32) -> Value {
    json!([{"containerID": container, "hostID": host, "size": size}])
}

/// A container with a user namespace in which root is 100000 outside, as is the image's owner; of
/// an ordinary user, its own.
fn in_user_namespace(coracle: &Coracle) -> Bundle {
    let bundle = coracle.bundle();
    if coracle.user().is_some() {
        return bundle;
    }
    let rootfs = bundle.rootfs();
    Call::new(["chown", "-Rh", "100000:100000", rootfs.to_str().unwrap()]).output().succeeds();
    bundle
        .set("/linux/namespaces/-", json!({"type": "user"}))
        .set("/linux/uidMappings", map(0, 100_000, 65536))
        .set("/linux/gidMappings", map(0, 100_000, 65536))
}

/// A directory of the host with a file of user 1000 and group 2000.
fn directory(coracle: &Coracle, name: &str) -> PathBuf {
    let path = coracle.home().join(name);
    coracle.make_directory(&path, 0o755);
    fs::write(path.join("file"), "of the host\n").unwrap();
    chown(path.join("file"), Some(1000), Some(2000)).unwrap();
    path
}

/// A bind mount on /mnt.
fn bind(bundle: Bundle, source: &Path, options: &[&str], more: &Value) -> Bundle {
    let mut all = vec!["rbind"];
    all.extend(options);
    let mut mount = json!({"destination": "/mnt", "source": source, "options": all});
    for (key, value) in more.as_object().unwrap() {
        mount[key] = value.clone();
    }
    bundle.set("/mounts/-", mount)
}

const OWNER: &str = "stat -c %u:%g /mnt/file";

#[test]
fn ids_are_mapped_as_the_mount_says() {
    let coracle = need!(Coracle::as_root());
    let host = directory(&coracle, "host");
    let maps = json!({"uidMappings": map(1000, 7, 1), "gidMappings": map(2000, 8, 1)});
    for options in [&["idmap"][..], &[], &["ridmap", "ro"]] {
        let bundle = bind(coracle.bundle(), &host, options, &maps);
        assert_eq!(look(&coracle, bundle, OWNER), "7:8\n", "{options:?}");
    }
    // As crun writes it.
    let option = "idmap=uids=0-10-5#1000-9-1;gids=2000-11-1";
    let bundle = bind(coracle.bundle(), &host, &[option], &json!({}));
    assert_eq!(look(&coracle, bundle, OWNER), "9:11\n");
    coracle.assert_nothing_left();
}

#[test]
fn ids_are_mapped_as_in_the_container() {
    let coracle = need!(Coracle::as_root());
    let host = directory(&coracle, "host");
    let plain = bind(in_user_namespace(&coracle), &host, &[], &json!({}));
    assert_eq!(look(&coracle, plain, OWNER), "65534:65534\n");
    let bundle = bind(in_user_namespace(&coracle), &host, &["idmap"], &json!({}));
    assert_eq!(look(&coracle, bundle, OWNER), "1000:2000\n");
    let option = "ridmap=uids=@1000-5-1;gids=@2000-6-1";
    let bundle = bind(in_user_namespace(&coracle), &host, &[option], &json!({}));
    assert_eq!(look(&coracle, bundle, OWNER), "5:6\n");

    // What is written inside belongs to the same id outside.
    let writable = directory(&coracle, "writable");
    chown(&writable, Some(0), Some(0)).unwrap();
    let bundle = bind(in_user_namespace(&coracle), &writable, &["idmap"], &json!({}));
    look(&coracle, bundle, "touch /mnt/new");
    let new = fs::metadata(writable.join("new")).unwrap();
    let ids = |of: &fs::Metadata| {
        use std::os::unix::fs::MetadataExt;
        (of.uid(), of.gid())
    };
    assert_eq!(ids(&new), (0, 0));
}

#[test]
fn mounts_below_are_mapped_by_ridmap_only() {
    let coracle = need!(Coracle::as_root());
    let host = directory(&coracle, "host");
    let below = host.join("below");
    fs::create_dir(&below).unwrap();
    let _below = Mounted::tmpfs(&below);
    fs::write(below.join("file"), "").unwrap();
    let maps = json!({"uidMappings": map(0, 7, 2000), "gidMappings": map(0, 8, 3000)});
    for (option, owner) in [("idmap", "0:0"), ("ridmap", "7:8")] {
        let bundle = bind(coracle.bundle(), &host, &[option], &maps);
        let told = look(&coracle, bundle, "stat -c %u:%g /mnt/file /mnt/below/file");
        assert_eq!(told, format!("1007:2008\n{owner}\n"), "{option}");
    }
}

#[test]
fn what_cannot_be_mapped_is_refused() {
    let coracle = need!(Coracle::as_root());
    let host = directory(&coracle, "host");
    let maps = json!({"uidMappings": map(0, 7, 1), "gidMappings": map(0, 8, 1)});
    let refused = |bundle: Bundle, words: &[&str]| {
        let mut outcome = coracle.run(&bundle.args(["true"])).fails();
        for word in words {
            outcome = outcome.says(word);
        }
        coracle.assert_nothing_left();
    };
    let mut tmpfs = json!({"destination": "/mnt", "type": "tmpfs", "options": ["idmap"]});
    for (key, value) in maps.as_object().unwrap() {
        tmpfs[key] = value.clone();
    }
    refused(coracle.bundle().set("/mounts/-", tmpfs), &["only a bind mount", "/options/0"]);
    refused(bind(coracle.bundle(), &host, &["idmap"], &json!({})), &["no mappings"]);
    for option in ["idmap=uids=0-0", "idmap=", "ridmap=users=0-0-1", "idmap=uids=0-0-1"] {
        let bundle = bind(coracle.bundle(), &host, &[option], &json!({}));
        refused(bundle, &["no id ranges", "/options/1", option]);
    }
    let bundle = bind(coracle.bundle(), Path::new("/proc"), &["idmap"], &maps);
    refused(bundle, &["mapping its ids", "has to support"]);
    let bundle = bind(coracle.bundle(), Path::new("/not/there"), &["idmap"], &maps);
    refused(bundle, &["opening the source", "no such file", "/source"]);
}

fn an_ordinary_user_cannot_map_ids(coracle: &Coracle) {
    let host = directory(coracle, "host");
    let maps = json!({"uidMappings": map(0, 0, 1), "gidMappings": map(0, 0, 1)});
    for (options, more) in [
        (&["idmap"][..], &json!({})),
        (&["ridmap"], &json!({})),
        (&["idmap=uids=0-0-1;gids=0-0-1"], &json!({})),
        (&[], &maps),
    ] {
        let bundle = bind(coracle.bundle(), &host, options, more).args(["true"]);
        let told = coracle.run(&bundle).fails().says("/mounts/").says("help: ");
        told.says("only root of the host may make an ID-mapped mount");
        coracle.assert_nothing_left();
    }
}

fn a_source_that_only_the_host_s_root_reaches_is_bound(coracle: &Coracle) {
    let closed = coracle.path().join("closed");
    fs::create_dir(&closed).unwrap();
    let host = closed.join("data");
    fs::create_dir(&host).unwrap();
    fs::write(host.join("file"), "of the host\n").unwrap();
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o700)).unwrap();
    let mut bundle = bind(in_user_namespace(coracle), &host, &["ro"], &json!({}));
    let file = json!({"destination": "/etc/x", "source": host.join("file"), "options": ["bind"]});
    bundle = bundle.set("/mounts/-", file);
    assert_eq!(look(coracle, bundle, "cat /mnt/file /etc/x"), "of the host\nof the host\n");

    let bundle = bind(in_user_namespace(coracle), &closed.join("none"), &[], &json!({}));
    coracle.run(&bundle.args(["true"])).fails().says("opening the source").says("/source");
    coracle.assert_nothing_left();
}

fn a_source_that_a_user_does_not_reach_is_refused(coracle: &Coracle) {
    let closed = coracle.path().join("closed");
    fs::create_dir_all(closed.join("data")).unwrap();
    // Root's, or out of the user's own reach.
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o600)).unwrap();
    let bundle = bind(coracle.bundle(), &closed.join("data"), &["ro"], &json!({}));
    let told = coracle.run(&bundle.args(["true"])).fails().says("opening the source");
    told.says("/source").says("help: ").says("may not reach it");
    coracle.assert_nothing_left();
}

/// A mount of the host that goes away with the test.
struct Mounted(PathBuf);

impl Mounted {
    fn tmpfs(path: &Path) -> Self {
        mount("tmpfs", path, "tmpfs", MountFlags::empty(), None).unwrap();
        Self(path.to_owned())
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = unmount(&self.0, UnmountFlags::DETACH);
    }
}

/// What the host forbids on a mount, the root of a container's user namespace does not allow
/// itself, by whichever way the source was opened.
fn the_host_s_flags_are_locked(coracle: &Coracle) {
    if coracle.user().is_some_and(|user| !user.switch) {
        return coracle_tests::skipped("needs root, to mount on the host");
    }
    for closed in [false, true] {
        let parent = coracle.path().join(format!("parent-{closed}"));
        let host = parent.join("data");
        fs::create_dir_all(&host).unwrap();
        let _mounted = Mounted::tmpfs(&host);
        fs::write(host.join("file"), "of the host\n").unwrap();
        let (uid, gid) = coracle.user().map_or((100_000, 100_000), |user| (user.uid, user.gid));
        for path in [&host, &host.join("file")] {
            chown(path, Some(uid), Some(gid)).unwrap();
        }
        coracle.give(&parent);
        let flags = MountFlags::BIND | MountFlags::RDONLY | MountFlags::NODEV | MountFlags::NOSUID;
        mount_remount(&host, flags, "").unwrap();
        let mode = if closed { 0o700 } else { 0o755 };
        fs::set_permissions(&parent, fs::Permissions::from_mode(mode)).unwrap();
        for options in [
            &["rw", "dev", "suid"][..],
            &["rw", "ridmap"],
            &["rrw", "rdev", "rsuid", "noexec"],
            &[],
        ] {
            if coracle.user().is_some() && options.contains(&"ridmap") {
                continue;
            }
            let mut bundle = bind(in_user_namespace(coracle), &host, options, &json!({}));
            for set in ["bounding", "permitted", "effective", "inheritable", "ambient"] {
                let all = json!(["CAP_SYS_ADMIN", "CAP_DAC_OVERRIDE", "CAP_MKNOD"]);
                bundle = bundle.set(&format!("/process/capabilities/{set}"), all);
            }
            let script = "grep ' /mnt ' /proc/self/mountinfo; exec 2>&1; \
                          mount -o remount,bind,rw /mnt; mount -o remount,bind,ro,dev,suid /mnt; \
                          mount -o remount,rw /mnt; mkdir /tmp/x; mount --bind /mnt /tmp/x && \
                          mount -o remount,bind,rw /tmp/x; umount /mnt; \
                          echo attacked > /mnt/file; echo attacked > /tmp/x/file; \
                          grep ' /mnt ' /proc/self/mountinfo";
            let bundle = bundle.set("/root/readonly", false);
            fs::set_permissions(bundle.rootfs().join("tmp"), fs::Permissions::from_mode(0o1777))
                .unwrap();
            let told = coracle.run(&bundle.sh(script)).stdout;
            let lines: Vec<_> = told.lines().filter(|line| line.contains(" - ")).collect();
            assert!(!lines.is_empty(), "{told}");
            for mount in coracle_tests::Mount::parse(&lines.join("\n")) {
                for flag in ["ro", "nosuid", "nodev"] {
                    let has = mount.options.split(',').any(|one| one == flag);
                    assert!(has, "{flag}: {mount:?}\n{told}");
                }
            }
            assert_eq!(fs::read_to_string(host.join("file")).unwrap(), "of the host\n", "{told}");
        }
    }
}

fn proc_and_sysfs_of_namespaces_that_are_the_host_s(coracle: &Coracle) {
    let bundle = in_user_namespace(coracle);
    let list = bundle.config()["mounts"].as_array().unwrap().clone();
    let index = list.iter().position(|mount| mount["destination"] == "/sys").unwrap();
    let sysfs = json!({
        "destination": "/sys", "type": "sysfs", "source": "sysfs",
        "options": ["nosuid", "noexec", "nodev", "ro"],
    });
    let bundle = bundle
        .set(&format!("/mounts/{index}"), sysfs)
        .without_namespace("network")
        .without_namespace("pid");
    // There is none on every host.
    let queues = fs::read_to_string("/proc/self/mounts").unwrap().contains(" /dev/mqueue ");
    let bundle = if queues { bundle.without_namespace("ipc") } else { bundle };
    let mounts = mounts(coracle, bundle);
    for (point, kind) in [("/proc", "proc"), ("/sys", "sysfs"), ("/dev/mqueue", "mqueue")] {
        assert_eq!(mount_on(&mounts, point).kind, kind, "{mounts:#?}");
    }
    assert!(mount_on(&mounts, "/sys").options.starts_with("ro,nosuid,nodev,noexec"));
}

fn a_cgroup_is_given_to_whom_it_runs_as(coracle: &Coracle) {
    let writable = |bundle: Bundle, options: Value| {
        let list = bundle.config()["mounts"].as_array().unwrap().clone();
        let index = list.iter().position(|mount| mount["type"] == "cgroup").unwrap();
        bundle
            .without_namespace("cgroup")
            .set("/linux/namespaces/-", json!({"type": "cgroup"}))
            .set(&format!("/mounts/{index}/options"), options)
    };
    let script = "cd /sys/fs/cgroup; stat -c %u . cgroup.procs; mkdir own 2>/dev/null && echo made";
    for (options, told) in [(json!(["rw"]), "0\n0\nmade\n"), (json!(["ro"]), "65534\n65534\n")] {
        let bundle = writable(in_user_namespace(coracle), options).sh(script);
        assert_eq!(coracle.run(&bundle).stdout, told);
        coracle.assert_nothing_left();
    }
    // Another user than root.
    let bundle = writable(in_user_namespace(coracle), json!(["rw"]));
    let bundle = bundle.set("/process/user", json!({"uid": 1000, "gid": 1000}));
    assert_eq!(look(coracle, bundle, script), "1000\n1000\nmade\n");
    let bundle = writable(in_user_namespace(coracle), json!(["rw"])).without_namespace("cgroup");
    assert!(coracle.run(&bundle.sh(script)).stdout.starts_with("65534\n65534\n"));
    coracle.assert_nothing_left();
}

coracle_tests::tests! {
    as_root, as_ranged_user, as_single_user =>
        the_host_s_flags_are_locked,
        proc_and_sysfs_of_namespaces_that_are_the_host_s;
    as_ranged_user, as_single_user =>
        an_ordinary_user_cannot_map_ids,
        a_source_that_a_user_does_not_reach_is_refused;
    as_root => a_source_that_only_the_host_s_root_reaches_is_bound;
    on_cgroup2 => a_cgroup_is_given_to_whom_it_runs_as;
}
