//! Which mounts arrive where.

use std::fs;

use crate::inside::{mount_on, mounts};
use crate::{Mounted, bind, directory, tmpfs};
use coracle_tests::Coracle;

fn propagation_is_as_told(coracle: &Coracle) {
    for (option, told) in [
        ("shared", "shared:"),
        ("private", ""),
        ("unbindable", "unbindable"),
        ("rshared", "shared:"),
    ] {
        let mounts = mounts(coracle, tmpfs(coracle.bundle(), "/tmp", &["shared", option]));
        let mount = mount_on(&mounts, "/tmp");
        assert!(mount.propagation.starts_with(told), "{option}: {mount:?}");
        assert_eq!(mount.propagation.is_empty(), told.is_empty(), "{option}: {mount:?}");
    }
}

fn the_root_s_propagation_of_every_kind(coracle: &Coracle) {
    let host = directory(coracle, "host");
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
        let mounts = mounts(coracle, bundle);
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

fn what_the_host_mounts_arrives_only_in_a_slave(coracle: &Coracle) {
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

coracle_tests::tests! {
    as_root, as_ranged_user, as_single_user, as_delegated_user =>
        the_root_s_propagation_of_every_kind;
    as_root, as_ranged_user, as_single_user =>
        propagation_is_as_told,
        what_the_host_mounts_arrives_only_in_a_slave;
}
