//! A container sees what config.json gives it and nothing else. Each promise is looked at from
//! inside, with the default configuration where that is enough.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::format_push_string)]

mod inside;

use std::fs;
use std::path::Path;

use coracle_tests::{
    Bundle, Coracle, Needs, controllers, eventually, has_controller, json, need, of_process,
};
use inside::{
    a_life_is_lived, capabilities_are_limited, default_devices_are_there, look,
    masked_paths_are_empty, mount_on, mounts, names_are_its_own, namespaces_are_its_own,
    no_mount_is_there_uncalled_for, read_only_paths_are, the_old_root_is_gone,
    the_process_is_as_described, the_root_is_read_only_or_not,
};
use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_bind, mount_change};

/// A bundle with a network namespace: an ordinary user's template has the host's.
fn with_network(coracle: &Coracle) -> Bundle {
    let bundle = coracle.bundle().without_namespace("network");
    bundle.set("/linux/namespaces/-", json!({"type": "network"}))
}

fn the_network_is_its_own(coracle: &Coracle) {
    let told = look(coracle, with_network(coracle), "tail -n +3 /proc/net/dev");
    assert!(told.trim_start().starts_with("lo:"), "{told}");
    assert_eq!(told.lines().count(), 1, "{told}");
    // An ordinary user's template has the host's sysfs.
    if coracle.user().is_none() {
        assert_eq!(look(coracle, coracle.bundle(), "ls /sys/class/net"), "lo\n");
    }
}

fn capabilities_of_an_ordinary_user_inside(coracle: &Coracle) {
    let sets = json!({
        "bounding": ["CAP_CHOWN", "CAP_KILL", "CAP_SETUID"],
        "permitted": ["CAP_CHOWN", "CAP_KILL"],
        "effective": ["CAP_CHOWN"],
        "inheritable": ["CAP_CHOWN", "CAP_KILL"],
        "ambient": ["CAP_KILL"],
    });
    let bundle = coracle
        .bundle()
        .set("/process/capabilities", sets)
        .set("/process/user", json!({"uid": 1000, "gid": 1000}));
    // Across execve only the ambient ones stay permitted and effective (capabilities(7)).
    let expected = "CapInh:\t0000000000000021\nCapPrm:\t0000000000000020\n\
                    CapEff:\t0000000000000020\nCapBnd:\t00000000000000a1\n\
                    CapAmb:\t0000000000000020\n";
    assert_eq!(look(coracle, bundle, "grep ^Cap /proc/self/status"), expected);
}

fn the_user_is_as_described(coracle: &Coracle) {
    let script = "id -u; id -g; id -G; umask; echo $HOME; touch /tmp/own; \
                  stat -c '%u %g %a' /tmp/own; echo > /etc/passwd || echo refused";
    let user = json!({"uid": 1000, "gid": 1000, "additionalGids": [5, 77], "umask": 63});
    let bundle = coracle.bundle().set("/process/user", user).set("/root/readonly", false);
    let told = look(coracle, bundle, &format!("{{ {script}; }} 2>/dev/null"));
    assert_eq!(told, "1000\n1000\n1000 5 77\n0077\n/home\n1000 1000 600\nrefused\n");

    // Nobody that /etc/passwd knows.
    let user = json!({"uid": 4242, "gid": 4343});
    let bundle = coracle.bundle().set("/process/user", user);
    let told = look(coracle, bundle, "id -u; id -g; id -G; echo $HOME");
    assert_eq!(told, "4242\n4343\n4343\n/\n");
}

/// The default mounts, as mountinfo shows them: type, flags, and what the file system was told.
fn default_mounts_are_exact(coracle: &Coracle) {
    let mounts = mounts(coracle, coracle.bundle());
    let sealed = "rw,nosuid,nodev,noexec,relatime";
    for (point, kind, source, options, told) in [
        ("/proc", "proc", "proc", "rw,relatime", &[][..]),
        ("/dev", "tmpfs", "tmpfs", "rw,nosuid", &["size=65536k", "mode=755"]),
        (
            "/dev/pts",
            "devpts",
            "devpts",
            "rw,nosuid,noexec,relatime",
            &["gid=5", "mode=620", "ptmxmode=666"],
        ),
        ("/dev/shm", "tmpfs", "shm", sealed, &["size=65536k"]),
        ("/dev/mqueue", "mqueue", "mqueue", sealed, &[]),
        ("/sys", "sysfs", "sysfs", "ro,nosuid,nodev,noexec,relatime", &[]),
    ] {
        let mount = mount_on(&mounts, point);
        let seen = (mount.kind.as_str(), mount.source.as_str(), mount.options.as_str());
        assert_eq!(seen, (kind, source, options), "{mount:?}");
        for option in told {
            assert!(mount.has(option), "{option}: {mount:?}");
        }
    }
    let cgroups: Vec<_> =
        mounts.iter().filter(|mount| mount.point.starts_with("/sys/fs/cgroup")).collect();
    assert!(cgroups.iter().any(|mount| mount.kind.starts_with("cgroup")), "{cgroups:?}");
    for mount in cgroups {
        assert_eq!(mount.options, "ro,nosuid,nodev,noexec,relatime", "{mount:?}");
    }
}

#[test]
fn default_mounts_are_exact_here() {
    default_mounts_are_exact(&need!(Coracle::as_root()));
}

#[test]
fn default_mounts_are_exact_on_cgroup2() {
    let coracle = need!(Coracle::on_cgroup2());
    default_mounts_are_exact(&coracle);
    let mounts = mounts(&coracle, coracle.bundle());
    assert_eq!(mount_on(&mounts, "/sys/fs/cgroup").kind, "cgroup2");
}

fn mounts_are_made_in_order(coracle: &Coracle) {
    let source = coracle.path().join("source");
    fs::create_dir_all(source.join("below")).unwrap();
    let bind =
        json!({"destination": "/tmp/below", "type": "bind", "source": source, "options": ["bind"]});
    let over = json!({"destination": "/tmp", "type": "tmpfs", "source": "tmpfs"});
    let look = |first: &serde_json::Value, second: &serde_json::Value| {
        let bundle = coracle.bundle().set("/mounts/-", first.clone());
        look(coracle, bundle.set("/mounts/-", second.clone()), "ls /tmp")
    };
    assert_eq!(look(&over, &bind), "below\n");
    assert_eq!(look(&bind, &over), "");
}

fn mount_options_become_flags(coracle: &Coracle) {
    let source = coracle.path().join("source");
    fs::create_dir_all(&source).unwrap();
    // Else it would have what the mount of temporary files has.
    mount("tmpfs", &source, "tmpfs", MountFlags::empty(), None).unwrap();
    fs::write(source.join("file"), "from outside").unwrap();
    let bind =
        |options: &[&str]| json!({"destination": "/mnt/x", "source": source, "options": options});
    let tmpfs = |options: &[&str]| json!({"destination": "/mnt/x", "type": "tmpfs", "source": "t", "options": options});
    for (mount, options) in [
        (bind(&["bind"]), "rw,relatime"),
        (bind(&["rbind", "ro"]), "ro,relatime"),
        (bind(&["bind", "ro", "nosuid", "nodev", "noexec"]), "ro,nosuid,nodev,noexec,relatime"),
        (bind(&["bind", "ro", "rw"]), "rw,relatime"),
        (bind(&["rbind", "noatime"]), "rw,noatime"),
        (tmpfs(&[]), "rw,relatime"),
        (tmpfs(&["ro"]), "ro,relatime"),
        (tmpfs(&["nosuid", "suid", "nodev"]), "rw,nodev,relatime"),
        (tmpfs(&["noatime", "nodiratime"]), "rw,noatime,nodiratime"),
    ] {
        let bundle = coracle.bundle().set("/mounts/-", mount.clone());
        let mounts = mounts(coracle, bundle);
        assert_eq!(mount_on(&mounts, "/mnt/x").options, options, "{mount}");
    }
    let bundle = coracle.bundle().set("/mounts/-", bind(&["bind", "ro"]));
    assert_eq!(look(coracle, bundle, "cat /mnt/x/file"), "from outside");
    let bundle = coracle.bundle().set("/mounts/-", tmpfs(&["size=4k", "mode=700"]));
    let mounts = mounts(coracle, bundle);
    let mount = mount_on(&mounts, "/mnt/x");
    assert!(mount.has("size=4k") && mount.has("mode=700"), "{mount:?}");
}

fn one_file_can_be_bound(coracle: &Coracle) {
    let file = coracle.path().join("hosts");
    fs::write(&file, "the host's").unwrap();
    let bind = json!({"destination": "/etc/hosts", "source": file, "options": ["bind", "ro"]});
    let bundle = coracle.bundle().set("/mounts/-", bind);
    assert_eq!(look(coracle, bundle, "cat /etc/hosts"), "the host's");
}

/// Makes a directory a shared mount, as most of a host's are.
fn shared(coracle: &Coracle, name: &str) -> std::path::PathBuf {
    let path = coracle.path().join(name);
    fs::create_dir(&path).unwrap();
    mount("tmpfs", &path, "tmpfs", MountFlags::empty(), None).unwrap();
    mount_change(&path, MountPropagationFlags::SHARED).unwrap();
    path
}

fn mounts_come_in_but_never_go_out(coracle: &Coracle) {
    let source = shared(coracle, "shared");
    for name in ["later", "own"] {
        fs::create_dir(source.join(name)).unwrap();
    }
    let everything = json!(["CAP_SYS_ADMIN"]);
    let mut bundle = coracle.bundle().set(
        "/mounts/-",
        json!({"destination": "/mnt", "source": source, "options": ["rbind", "rslave"]}),
    );
    for set in ["bounding", "permitted", "effective", "inheritable", "ambient"] {
        bundle = bundle.set(&format!("/process/capabilities/{set}"), everything.clone());
    }
    let script = "mount -t tmpfs own /mnt/own && echo mounted; \
                  until grep -q ' /mnt/later ' /proc/self/mountinfo; do sleep 0.01; done; \
                  echo came";
    let running = coracle.spawn(&bundle.sh(script));
    running.prints("mounted");
    let host = fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!host.contains(&format!("{}/own", source.display())), "{host}");
    mount("tmpfs", source.join("later"), "tmpfs", MountFlags::empty(), None).unwrap();
    running.prints("came");
    running.wait().exits(0);
}

fn a_shared_mount_shares_both_ways(coracle: &Coracle) {
    let source = shared(coracle, "shared");
    fs::create_dir(source.join("own")).unwrap();
    let mount = json!({"destination": "/mnt", "source": source, "options": ["rbind", "rshared"]});
    // As engines do it: all else but this mount would have been made a slave before.
    let bundle = coracle.bundle().set("/linux/rootfsPropagation", "shared");
    let mut bundle = bundle.set("/mounts/-", mount);
    for set in ["bounding", "permitted", "effective", "inheritable", "ambient"] {
        bundle = bundle.set(&format!("/process/capabilities/{set}"), json!(["CAP_SYS_ADMIN"]));
    }
    let running = coracle.spawn(&bundle.sh("mount -t tmpfs own /mnt/own && echo mounted; sleep 9"));
    running.prints("mounted");
    let host = fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(host.contains(&format!("{}/own", source.display())), "{host}");
}

fn the_root_s_propagation_is_slave_unless_told(coracle: &Coracle) {
    // A root file system on a shared mount, as on most hosts.
    let place = shared(coracle, "shared");
    let on_shared = |bundle: Bundle, name: &str| {
        let root = place.join(name);
        fs::create_dir(&root).unwrap();
        mount_bind(bundle.rootfs(), &root).unwrap();
        coracle.watch(root.clone());
        bundle.set("/root/path", root.to_str().unwrap())
    };
    let propagation = |bundle: Bundle| mount_on(&mounts(coracle, bundle), "/").propagation.clone();
    let default = propagation(on_shared(coracle.bundle(), "default"));
    assert!(!default.contains("shared:"), "{default}");
    let bundle = coracle.bundle().set("/linux/rootfsPropagation", "shared");
    let told = propagation(on_shared(bundle, "told"));
    assert!(told.contains("shared:"), "{told}");
    let bundle = coracle.bundle().set("/linux/rootfsPropagation", "private");
    assert_eq!(propagation(on_shared(bundle, "private")), "");
}

fn nothing_is_mounted_on_a_host_that_shares_all(coracle: &Coracle) {
    let bundle = coracle.bundle().sh("exit 0");
    // The whole tree is shared in there, which is how systemd sets a host up.
    let script = "cat /proc/self/mountinfo; \"$@\" >&2 && cat /proc/self/mountinfo";
    let told = coracle
        .with_bundle("run", &bundle, &[])
        .through(["unshare", "-m", "--propagation", "shared", "sh", "-c", script, "sh"])
        .output()
        .succeeds()
        .stdout;
    let lines: Vec<&str> = told.lines().collect();
    let (before, after) = lines.split_at(lines.len() / 2);
    assert_eq!(before, after);
    coracle.assert_nothing_left();
}

fn devices_asked_for_are_made(coracle: &Coracle) {
    let device = json!({
        "path": "/dev/sub/mine", "type": "c", "major": 1, "minor": 5,
        "fileMode": 0o640, "uid": 1000, "gid": 5,
    });
    let pipe = json!({"path": "/dev/pipe", "type": "p", "fileMode": 0o600});
    let bundle = coracle.bundle().set("/linux/devices/-", device).set("/linux/devices/-", pipe);
    let script = "stat -c '%F %t:%T %a %u:%g' /dev/sub/mine; stat -c '%F %a' /dev/pipe";
    assert_eq!(look(coracle, bundle, script), "character special file 1:5 640 1000:5\nfifo 600\n");
}

/// Device rules hold against a process that may make any node.
fn device_rules_hold(coracle: Needs<Coracle>) {
    let coracle = need!(coracle);
    if !Path::new("/dev/fuse").exists() {
        coracle_tests::skipped("needs /dev/fuse, a device that anyone may open");
        return;
    }
    let script = "cd /dev; mknod mine c 10 229 && echo made; mknod zwei c 1 3 && echo x > zwei; \
                  head -c 1 zero | wc -c; (: < mine) && echo read; (: > mine) && echo written";
    let look = |rules: serde_json::Value| {
        let mut bundle = coracle.bundle().set("/linux/resources/devices", rules);
        for set in ["bounding", "permitted", "effective"] {
            bundle = bundle.set(&format!("/process/capabilities/{set}/-"), "CAP_MKNOD");
        }
        look(&coracle, bundle, &format!("{{ {script}; }} 2>&1; true"))
    };
    let none = json!({"allow": false, "access": "rwm"});
    let fuse = |allow: bool, access: &str| json!({"allow": allow, "type": "c", "major": 10, "minor": 229, "access": access});
    let refused = "Operation not permitted";

    let told = look(json!([none]));
    assert!(told.starts_with("made\n1\n"), "{told}");
    assert_eq!(told.matches(refused).count(), 2, "{told}");
    let told = look(json!([none, fuse(true, "rw")]));
    assert_eq!(told, "made\n1\nread\nwritten\n");
    let told = look(json!([none, fuse(true, "r")]));
    assert!(told.contains("read\n") && !told.contains("written"), "{told}");
    let told = look(json!([none, fuse(true, "rw"), fuse(false, "w")]));
    assert!(told.contains("read\n") && !told.contains("written"), "{told}");
    let told = look(json!([{"allow": true, "access": "rwm"}, fuse(false, "m")]));
    assert!(!told.contains("made\n") && told.contains(refused), "{told}");
    let told = look(json!([{"allow": true, "access": "rwm"}]));
    assert_eq!(told, "made\n1\nread\nwritten\n");
    coracle.assert_nothing_left();
}

#[test]
fn device_rules_hold_here() {
    device_rules_hold(Coracle::as_root());
}

#[test]
fn device_rules_hold_on_cgroup2() {
    device_rules_hold(Coracle::on_cgroup2());
}

/// Each container is in a cgroup of its own, which goes with it.
fn the_cgroup_is_its_own(coracle: &Coracle, v2_alone: bool) {
    let bundle = coracle.bundle().sh("sleep 1000");
    coracle.start(&bundle);
    let path = bundle.config()["linux"]["cgroupsPath"].as_str().unwrap();
    let cgroups = of_process(coracle.pid(bundle.id()));
    for (names, seen) in &cgroups {
        // With v1 controllers mounted, which v2 cgroup it is in is a matter of taste.
        if v2_alone == names.is_empty() {
            assert_eq!(seen, path, "{names}");
        }
    }
    let listed = coracle.leftovers();
    assert!(listed.iter().any(|line| line.starts_with("cgroup: ")), "{listed:?}");
    coracle.call(["kill", bundle.id(), "KILL"]).output().succeeds();
    coracle.becomes(bundle.id(), "stopped");
    coracle.call(["delete", bundle.id()]).output().succeeds();
    coracle.assert_nothing_left();
}

#[test]
fn the_cgroup_is_its_own_here() {
    let v2_alone = Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
    the_cgroup_is_its_own(&need!(Coracle::as_root()), v2_alone);
}

#[test]
fn the_cgroup_is_its_own_on_cgroup2() {
    the_cgroup_is_its_own(&need!(Coracle::on_cgroup2()), true);
}

fn cgroups_below_the_container_s_go_too(coracle: &Coracle) {
    let bundle = coracle.bundle().sh("sleep 1000");
    coracle.start(&bundle);
    for (_, cgroup) in controllers(coracle.pid(bundle.id())) {
        if cgroup.ends_with(bundle.id()) {
            fs::create_dir_all(cgroup.join("below/deeper")).unwrap();
            coracle.give(&cgroup.join("below"));
        }
    }
    coracle.delete(bundle.id());
    coracle.assert_nothing_left();
}

fn resources_are_limited(coracle: &Coracle) {
    let bundle = coracle.bundle().sh("sleep 1000");
    let mut bundle = bundle;
    let mut expected = Vec::new();
    for (controller, field, value, files, text) in [
        ("pids", "pids/limit", 77, ["pids.max", "pids.max"], ["77", "77"]),
        (
            "memory",
            "memory/limit",
            67_108_864,
            ["memory.limit_in_bytes", "memory.max"],
            ["67108864", "67108864"],
        ),
        ("cpu", "cpu/quota", 50_000, ["cpu.cfs_quota_us", "cpu.max"], ["50000", "50000 100000"]),
    ] {
        if has_controller(controller) {
            bundle = bundle.set(&format!("/linux/resources/{field}"), value);
            expected.push((controller, files, text));
        }
    }
    coracle.start(&bundle);
    let cgroups = controllers(coracle.pid(bundle.id()));
    for (controller, files, texts) in expected {
        let seen = cgroups.iter().any(|(names, cgroup)| {
            let version = usize::from(names.is_empty());
            (version == 1 || names.split(',').any(|name| name == controller))
                && fs::read_to_string(cgroup.join(files[version]))
                    .is_ok_and(|text| text.trim() == texts[version])
        });
        assert!(seen, "{controller}: {cgroups:?}");
    }
    coracle.delete(bundle.id());
}

fn kernel_parameters_and_the_oom_score_are_set(coracle: &Coracle) {
    let bundle = with_network(coracle)
        .set("/linux/sysctl", json!({"net.ipv4.ip_forward": "1", "kernel.shmmni": "42"}))
        .set("/process/oomScoreAdj", 321);
    let script =
        "cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/shmmni /proc/self/oom_score_adj";
    assert_eq!(look(coracle, bundle, script), "1\n42\n321\n");
}

fn a_namespace_can_be_joined(coracle: &Coracle) {
    let first = coracle.bundle().sh("hostname of-the-first; sleep 1000").set("/hostname", "first");
    coracle.start(&first);
    let pid = coracle.pid(first.id());
    let mut second = coracle.bundle().remove("/hostname");
    for (kind, file) in [("network", "net"), ("ipc", "ipc"), ("uts", "uts"), ("pid", "pid")] {
        second = second.without_namespace(kind).set(
            "/linux/namespaces/-",
            json!({"type": kind, "path": format!("/proc/{pid}/ns/{file}")}),
        );
    }
    let told = look(
        coracle,
        second,
        "cd /proc/self/ns; for n in net ipc uts pid; do readlink $n; done; hostname",
    );
    let mut expected = String::new();
    for file in ["net", "ipc", "uts", "pid"] {
        let link = fs::read_link(format!("/proc/{pid}/ns/{file}")).unwrap();
        expected += &format!("{}\n", link.display());
    }
    assert_eq!(told, expected + "first\n");
    coracle.delete(first.id());
    eventually("all is gone", || coracle.leftovers().is_empty());
}

coracle_tests::tests! {
    as_root, as_ranged_user, as_single_user =>
        namespaces_are_its_own,
        the_old_root_is_gone,
        no_mount_is_there_uncalled_for,
        default_devices_are_there,
        masked_paths_are_empty,
        read_only_paths_are,
        the_root_is_read_only_or_not,
        names_are_its_own,
        capabilities_are_limited,
        the_process_is_as_described,
        the_network_is_its_own,
        mounts_are_made_in_order,
        one_file_can_be_bound,
        mounts_come_in_but_never_go_out,
        the_root_s_propagation_is_slave_unless_told,
        kernel_parameters_and_the_oom_score_are_set;
    as_root, as_ranged_user =>
        capabilities_of_an_ordinary_user_inside,
        the_user_is_as_described;
    as_root, as_delegated_user, as_delegated_single_user =>
        cgroups_below_the_container_s_go_too,
        resources_are_limited;
    as_root =>
        mount_options_become_flags,
        a_shared_mount_shares_both_ways,
        nothing_is_mounted_on_a_host_that_shares_all,
        devices_asked_for_are_made,
        a_namespace_can_be_joined;
    as_root, on_cgroup2, as_ranged_user, as_single_user, as_delegated_user,
    as_delegated_single_user, as_delegated_user_on_cgroup2, as_delegated_single_user_on_cgroup2 =>
        a_life_is_lived;
}
