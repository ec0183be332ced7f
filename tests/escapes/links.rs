//! Links in the root file system, and races with somebody who shares it.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use coracle_tests::{Coracle, Mount, json, need};
use rustix::fs::{CWD, RenameFlags, renameat_with};

use crate::{hook, listing};

/// CVE-2019-19921, CVE-2023-27561, CVE-2023-28642: the image has a link where proc or sysfs goes,
/// to a directory that it fills itself.
#[test]
fn proc_and_sysfs_are_not_mounted_through_links() {
    let coracle = need!(Coracle::as_root());
    for name in ["proc", "sys"] {
        for target in ["tmp", "/tmp", "tmp/missing", "../../../../../tmp"] {
            let bundle = coracle.bundle().sh("exit 0").set("/root/readonly", false);
            fs::remove_dir(bundle.rootfs().join(name)).unwrap();
            symlink(target, bundle.rootfs().join(name)).unwrap();
            coracle.run(&bundle).fails();
            assert_eq!(listing(&bundle.rootfs().join("tmp")), Vec::<String>::new());
        }
    }
    coracle.assert_nothing_left();
}

/// CVE-2019-19921, with a container that shares the root directory: between the mount and the masks
/// it renames the mount point, and puts a directory of its own in its place.
#[test]
fn proc_stays_masked_whatever_becomes_of_its_mount_point() {
    let coracle = need!(Coracle::as_root());
    let bundle = coracle.bundle().set("/root/readonly", false);
    // A hook runs between the two: it stands for the other container.
    let script = format!(
        "cd {} && mv proc other && mkdir -p proc/sys/kernel && touch proc/version proc/sysrq-trigger",
        bundle.rootfs().display()
    );
    let bundle = bundle
        .set("/hooks/createRuntime/-", hook(&script))
        .set("/linux/maskedPaths/-", "/proc/version");
    let look = "cd /other && { stat -c %t:%T version; \
                (exec 3>>sys/kernel/core_pattern) && echo open; \
                (exec 3>>sysrq-trigger) && echo open; true; } 2>/dev/null";
    let told = coracle.run(&bundle.sh(look));
    assert!(!told.stdout.contains("open"), "{told:?}");
    assert!(told.code != Some(0) || told.stdout.starts_with("1:3\n"), "{told:?}");
    coracle.assert_nothing_left();
}

/// CVE-2021-30465, CVE-2024-45310: what a mount needs is made in the root file system and nowhere
/// else, whatever links lead out of it.
fn links_lead_nowhere(coracle: &Coracle) {
    let outside = coracle.path().join("outside");
    coracle.make_directory(&outside, 0o777);
    let source = coracle.path().join("source");
    fs::create_dir(&source).unwrap();
    fs::write(source.join("file"), "").unwrap();
    let up = format!("../../../../../../../..{}", outside.display());
    let links = [
        outside.to_str().unwrap().to_owned(),
        up.clone(),
        format!("/proc/1/root{}", outside.display()),
        format!("/proc/self/cwd/{up}"),
        "/proc/self/fd/3".into(),
        "/proc/self/root".into(),
    ];
    for link in links {
        let mut bundle = coracle.bundle().sh("exit 0");
        symlink(&link, bundle.rootfs().join("link")).unwrap();
        symlink(format!("{link}/nowhere"), bundle.rootfs().join("nowhere")).unwrap();
        symlink("nowhere/../../../../link/x", bundle.rootfs().join("chain")).unwrap();
        let last = bundle.config()["mounts"].as_array().unwrap().len();
        for (destination, source) in [
            ("/link", "source"),
            ("/link/new", "source"),
            ("/link/new/deep", "source"),
            ("/link", "source/file"),
            ("/link/file", "source/file"),
            ("/nowhere", "source"),
            ("/nowhere", "source/file"),
            ("/nowhere/new/deep", "source"),
            ("/chain", "source"),
            ("/chain/file", "source/file"),
        ] {
            let mount = json!({"destination": destination, "type": "bind",
                               "source": coracle.path().join(source), "options": ["rbind"]});
            bundle = bundle.set(&format!("/mounts/{last}"), mount);
            // It may be refused, or made inside.
            drop(coracle.run(&bundle));
            assert_eq!(listing(&outside), Vec::<String>::new(), "{link} {destination}");
        }
        let bundle = bundle.remove(&format!("/mounts/{last}"));
        drop(coracle.run(&bundle.set("/process/cwd", "/link/new/deep/still")));
        assert_eq!(listing(&outside), Vec::<String>::new(), "{link} as working directory");
    }
    coracle.assert_nothing_left();
}

#[test]
fn nothing_is_made_outside_of_the_root() {
    links_lead_nowhere(&need!(Coracle::as_root()));
}

#[test]
fn nothing_is_made_outside_of_the_root_as_a_user() {
    links_lead_nowhere(&need!(Coracle::as_user()));
}

/// Exchanges two paths as fast as it can while `run` runs, as a container does that shares them.
fn exchanging(one: &Path, other: &Path, run: impl FnOnce()) {
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let racer = scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                let _ = renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE);
            }
        });
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(run));
        done.store(true, Ordering::Relaxed);
        racer.join().unwrap();
        outcome.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
}

/// CVE-2021-30465, CVE-2024-45310: another container exchanges a directory of a shared volume for a
/// link that leads out, while a mount below it is made.
#[test]
fn nothing_is_made_outside_of_the_root_in_a_race() {
    let coracle = need!(Coracle::as_root());
    let outside = coracle.path().join("outside");
    let volume = coracle.path().join("volume");
    let source = coracle.path().join("source");
    for directory in [&outside, &volume, &source, &volume.join("directory")] {
        fs::create_dir(directory).unwrap();
    }
    symlink(&outside, volume.join("link")).unwrap();
    let bind = |source: &Path, destination: &str| json!({"destination": destination, "type": "bind", "source": source, "options": ["rbind"]});
    let bundle = coracle
        .bundle()
        .set("/mounts/-", bind(&volume, "/volume"))
        .set("/mounts/-", bind(&source, "/volume/directory/a/b/c"))
        .set("/linux/devices/-", json!({"path": "/volume/directory/d/e/node", "type": "p"}))
        .sh("cat /proc/self/mountinfo");
    exchanging(&volume.join("directory"), &volume.join("link"), || {
        for _ in 0..60 {
            let told = coracle.run(&bundle);
            for mount in Mount::parse(&told.stdout) {
                assert!(!mount.root.contains("outside"), "{mount:?}");
            }
            assert_eq!(listing(&outside), Vec::<String>::new());
            for name in ["directory", "link"] {
                let _ = fs::remove_dir_all(volume.join(name).join("a"));
                let _ = fs::remove_dir_all(volume.join(name).join("d"));
            }
        }
    });
    coracle.assert_nothing_left();
}

/// CVE-2021-30465, with links that lead nowhere: what they lead to is made, by their text, and
/// another container exchanges them for others meanwhile, or for a directory.
#[test]
fn what_a_link_leads_to_is_made_inside_in_a_race() {
    let coracle = need!(Coracle::as_root());
    let outside = coracle.path().join("outside");
    let volume = coracle.path().join("volume");
    let source = coracle.path().join("source");
    for directory in [&outside, &volume, &source, &volume.join("directory")] {
        fs::create_dir(directory).unwrap();
    }
    fs::write(source.join("file"), "").unwrap();
    let out = outside.display();
    for (one, other) in [
        (format!("{out}/a"), "inside/b/c".to_owned()),
        (format!("../../../../../../../..{out}"), "gone/../../x".to_owned()),
        (format!("/proc/1/root{out}"), format!("/proc/self/cwd{out}")),
    ] {
        symlink(&one, volume.join("one")).unwrap();
        symlink(&other, volume.join("other")).unwrap();
        let mount = |source: &Path, destination: &str| json!({"destination": destination, "type": "bind", "source": source, "options": ["rbind"]});
        let bundle = coracle
            .bundle()
            .set("/mounts/-", mount(&volume, "/volume"))
            .set("/mounts/-", mount(&source, "/volume/one/new/deep"))
            .set("/mounts/-", mount(&source.join("file"), "/volume/one/file"))
            .set("/mounts/-", mount(&source, "/volume/other"))
            .sh("cat /proc/self/mountinfo");
        for with in ["other", "directory"] {
            exchanging(&volume.join("one"), &volume.join(with), || {
                for _ in 0..15 {
                    let told = coracle.run(&bundle);
                    for mount in Mount::parse(&told.stdout) {
                        assert!(!mount.root.contains("outside"), "{mount:?}");
                    }
                    assert_eq!(listing(&outside), Vec::<String>::new());
                }
            });
        }
        for name in ["one", "other", "directory"] {
            let path = volume.join(name);
            let _ = fs::remove_file(&path).or_else(|_| fs::remove_dir_all(&path));
        }
        fs::create_dir(volume.join("directory")).unwrap();
    }
    coracle.assert_nothing_left();
}

/// The owner and the mode of a device must not go to a file of the host, to which another container
/// that shares the directory makes a link of the same name.
#[test]
fn a_device_s_mode_goes_to_the_device_in_a_race() {
    let coracle = need!(Coracle::as_root());
    let secret = coracle.path().join("secret");
    fs::write(&secret, "").unwrap();
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
    let device = json!({"path": "/shared/node", "type": "p", "fileMode": 0o666, "uid": 1000});
    let bundle = coracle.bundle().sh("exit 0").set("/linux/devices/-", device);
    let shared = bundle.rootfs().join("shared");
    fs::create_dir(&shared).unwrap();
    symlink(&secret, shared.join("link")).unwrap();
    rustix::fs::mknodat(CWD, shared.join("node"), rustix::fs::FileType::Fifo, 0o666.into(), 0)
        .unwrap();
    exchanging(&shared.join("node"), &shared.join("link"), || {
        for _ in 0..150 {
            drop(coracle.run(&bundle));
            let of = fs::metadata(&secret).unwrap();
            assert_eq!((of.uid(), of.mode() & 0o777), (0, 0o600));
        }
    });
    coracle.assert_nothing_left();
}
