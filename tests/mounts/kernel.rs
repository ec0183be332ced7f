//! The file systems that the kernel makes up.

use std::fmt::Write;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use crate::inside::{look, mount_on};
use crate::{bind, coracle_mounts, directory, refused, tmpfs, with};
use coracle_tests::{Coracle, json, need};

fn proc_stays_the_kernel_s(coracle: &Coracle) {
    let host = directory(coracle, "host");
    let file = host.join("file");
    let what = "would hide the kernel's own /proc";
    for destination in ["/proc", "/proc/self/attr", "/proc/sys", "/link/sys", "/proc/../proc/sys"] {
        let bundle = coracle.bundle();
        symlink("proc", bundle.rootfs().join("link")).unwrap();
        refused(coracle, bind(bundle, &host, destination, &[]), &[what, "/destination"]);
        let bundle = coracle.bundle();
        symlink("proc", bundle.rootfs().join("link")).unwrap();
        refused(coracle, tmpfs(bundle, destination, &[]), &[what]);
    }
    // The kernel drops what is mounted in /proc/net.
    for destination in [
        "/proc/self/oom_score_adj",
        "/proc/sys/kernel/hostname",
        "/proc/self/stat",
        "/proc/net/dev",
    ] {
        refused(coracle, bind(coracle.bundle(), &file, destination, &[]), &[what]);
    }
    // Before there is a procfs on it, too.
    let bundle = coracle.bundle();
    let mut mounts = bundle.config()["mounts"].as_array().unwrap().clone();
    mounts.retain(|mount| mount["destination"] != "/proc");
    let bundle = bundle.set("/mounts", mounts);
    refused(coracle, tmpfs(bundle, "/proc", &[]), &[what]);

    let mut bundle = coracle.bundle();
    let mut script = String::new();
    for name in ["cpuinfo", "meminfo", "stat", "uptime", "loadavg", "swaps", "diskstats"] {
        bundle = bind(bundle, &file, &format!("/proc/{name}"), &[]);
        writeln!(script, "cat /proc/{name}").unwrap();
    }
    // lxcfs is mounted again over its own.
    bundle = bind(bundle, &file, "/proc/cpuinfo", &["ro"]);
    assert_eq!(look(coracle, bundle, &script), "of the host\n".repeat(7));

    // The host's own, as for a container that shares its processes.
    let bundle = bind(coracle.bundle(), Path::new("/proc"), "/proc", &["rbind"]);
    let bundle = bundle.without_namespace("pid");
    coracle.run(&bundle.args(["true"])).succeeds();
    // A part of it, and one in which no host has a mount that would have to come along.
    let bundle = bind(coracle.bundle(), Path::new("/proc/tty"), "/proc", &[]);
    refused(coracle, bundle, &[what]);
}

fn file_systems_get_what_is_theirs(coracle: &Coracle) {
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
    assert_eq!(look(coracle, bundle, script), "19800202\nptmx\n666\nq\n");

    let mount = json!({"destination": "/tmp", "type": "nosuchfs", "source": "none"});
    refused(coracle, with(coracle.bundle(), mount), &["nosuchfs", "/proc/filesystems"]);
    let bundle = tmpfs(coracle.bundle(), "/tmp", &["nosuchoption"]);
    refused(coracle, bundle, &["nosuchoption", "/options/0"]);
    let mount =
        json!({"destination": "/tmp", "type": "fuse", "source": "none", "options": ["fd=9"]});
    refused(coracle, with(coracle.bundle(), mount), &["mounting fuse on /tmp"]);
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

coracle_tests::tests! {
    as_root, as_ranged_user, as_single_user => proc_stays_the_kernel_s;
    as_root, as_ranged_user => file_systems_get_what_is_theirs;
}
