//! An ordinary user's containers, from `spec --rootless` on: what holds for root's holds for them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::format_push_string)]

mod inside;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use coracle_tests::{Call, Coracle, User, json, need};
use inside::{look, mount_on, mounts};

#[test]
fn namespaces_are_its_own() {
    inside::namespaces_are_its_own(&need!(Coracle::as_user()));
}

#[test]
fn the_old_root_is_gone() {
    inside::the_old_root_is_gone(&need!(Coracle::as_user()));
}

#[test]
fn no_mount_is_there_uncalled_for() {
    inside::no_mount_is_there_uncalled_for(&need!(Coracle::as_user()));
}

#[test]
fn default_devices_are_there() {
    inside::default_devices_are_there(&need!(Coracle::as_user()));
}

#[test]
fn masked_paths_are_empty() {
    inside::masked_paths_are_empty(&need!(Coracle::as_user()));
}

#[test]
fn read_only_paths_are() {
    inside::read_only_paths_are(&need!(Coracle::as_user()));
}

#[test]
fn the_root_is_read_only_or_not() {
    inside::the_root_is_read_only_or_not(&need!(Coracle::as_user()));
}

#[test]
fn names_are_its_own() {
    inside::names_are_its_own(&need!(Coracle::as_user()));
}

#[test]
fn capabilities_are_limited() {
    inside::capabilities_are_limited(&need!(Coracle::as_user()));
}

#[test]
fn the_process_is_as_described() {
    inside::the_process_is_as_described(&need!(Coracle::as_user()));
}

#[test]
fn a_life_is_lived() {
    inside::a_life_is_lived(&need!(Coracle::as_user()));
}

#[test]
fn root_inside_is_the_user_outside() {
    let coracle = need!(Coracle::as_user());
    let user = coracle.user().unwrap();
    let script = "id -u; id -g; cat /proc/self/uid_map /proc/self/gid_map; cat /proc/self/setgroups; \
                  touch /tmp/own";
    let bundle = coracle.bundle().set("/root/readonly", false);
    let file = bundle.rootfs().join("tmp/own");
    let told = look(&coracle, bundle, script);
    let words: Vec<&str> = told.split_whitespace().collect();
    let (uid, gid) = (user.uid.to_string(), user.gid.to_string());
    assert_eq!(words, ["0", "0", "0", &uid, "1", "0", &gid, "1", "deny"]);
    let of = fs::metadata(file).unwrap();
    assert_eq!((of.uid(), of.gid()), (user.uid, user.gid));
}

#[test]
fn mounts_have_their_flags() {
    let coracle = need!(Coracle::as_user());
    let mounts = mounts(&coracle, coracle.bundle());
    for (point, kind, options) in [
        ("/proc", "proc", &[][..]),
        ("/dev", "tmpfs", &["nosuid", "size=65536k", "mode=755"]),
        ("/dev/pts", "devpts", &["nosuid", "noexec", "ptmxmode=666", "mode=620"]),
        ("/dev/shm", "tmpfs", &["nosuid", "noexec", "nodev", "size=65536k"]),
        ("/dev/mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
        ("/sys", "sysfs", &["ro", "nosuid", "noexec", "nodev"]),
    ] {
        let mount = mount_on(&mounts, point);
        assert_eq!(mount.kind, kind);
        for option in options {
            assert!(mount.has(option), "{option}: {mount:?}");
        }
    }
}

#[test]
fn subordinate_ids_are_mapped() {
    let coracle = need!(Coracle::as_user());
    let user: User = coracle.user().unwrap().clone();
    let (uids, count) = need!(user.subordinate_ids("subuid"));
    let (gids, _) = need!(user.subordinate_ids("subgid"));
    if Call::new(["sh", "-c", "command -v newuidmap newgidmap"]).output().code != Some(0) {
        coracle_tests::skipped("needs newuidmap (package uidmap)");
        return;
    }
    let map = |own: u32, first: u32| {
        json!([
            {"containerID": 0, "hostID": own, "size": 1},
            {"containerID": 1, "hostID": first, "size": count.min(2000)},
        ])
    };
    let bundle = coracle
        .bundle()
        .set("/linux/uidMappings", map(user.uid, uids))
        .set("/linux/gidMappings", map(user.gid, gids))
        .set("/process/user", json!({"uid": 1000, "gid": 1000, "additionalGids": [5]}))
        .set("/root/readonly", false);
    let file = bundle.rootfs().join("tmp/own");
    let told = look(&coracle, bundle, "id -u; id -g; id -G; touch /tmp/own");
    assert_eq!(told, "1000\n1000\n1000 5\n");
    let of = fs::metadata(file).unwrap();
    assert_eq!((of.uid(), of.gid()), (uids + 999, gids + 999));
    coracle.assert_nothing_left();
}

#[test]
fn containers_are_kept_in_the_runtime_directory() {
    let coracle = need!(Coracle::as_user());
    let bundle = coracle.bundle().sh("sleep 1000");
    let call = |args: &[&str]| coracle.bare().args(args).output().succeeds();
    call(&["run", "--detach", "--bundle", bundle.path().to_str().unwrap(), bundle.id()]);
    assert_eq!(call(&["list", "--quiet"]).stdout, format!("{}\n", bundle.id()));
    let name = coracle.binary().file_name().unwrap();
    let directory = coracle.path().join("xdg").join(name);
    let of = fs::metadata(&directory).unwrap();
    // Sticky: not to be swept away as old (XDG base directory specification).
    assert_eq!(of.permissions().mode() & 0o7777, 0o1700);
    assert!(directory.join(bundle.id()).is_dir());
    call(&["delete", "--force", bundle.id()]);
    assert!(!directory.join(bundle.id()).exists());
    coracle.assert_nothing_left();
}

#[test]
fn what_a_user_may_not_do_is_told() {
    let coracle = need!(Coracle::as_user());
    // Without a user namespace there is nothing that an ordinary user could make.
    let bundle = coracle.bundle().without_namespace("user").sh("exit 0");
    coracle.run(&bundle).fails();
    coracle.assert_nothing_left();
    // Another's ID.
    let map = json!([{"containerID": 0, "hostID": 0, "size": 1}]);
    let bundle = coracle.bundle().set("/linux/uidMappings", map).sh("exit 0");
    coracle.run(&bundle).fails();
    coracle.assert_nothing_left();
}
