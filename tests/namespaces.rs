//! Namespaces are made or joined in any mix that the kernel allows, and `exec` finds them all.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::format_push_string)]

mod held;

use std::fs;
use std::path::Path;

use coracle_tests::{Bundle, Coracle, eventually, json, need};
use held::{FILES, Held, file_of, joining, joining_of, look, new};

/// Prints the links of /proc/self/ns, one a line.
const LINKS: &str =
    "for n in pid net mnt ipc uts user cgroup time; do readlink /proc/self/ns/$n; done";

/// What `LINKS` prints, by type.
fn links(told: &str) -> Vec<(&'static str, &str)> {
    let links: Vec<&str> = told.lines().collect();
    assert_eq!(links.len(), FILES.len(), "{told}");
    FILES.iter().map(|(kind, _)| *kind).zip(links).collect()
}

/// Makes a container with each mix of `kinds` joined and the others new, looks whether it is where
/// it should be, and whether a process of `exec` is there too.
fn all_mixes(coracle: &Coracle, held: &Held, base: &dyn Fn() -> Bundle, kinds: &[&str]) {
    for mix in 0..1_usize << kinds.len() {
        let mut bundle = base();
        let joined: Vec<&str> = (0..kinds.len())
            .filter(|index| mix >> index & 1 == 1)
            .map(|index| kinds[index])
            .collect();
        for kind in kinds {
            bundle = if joined.contains(kind) {
                joining(bundle, kind, &held.path(kind))
            } else {
                new(bundle, kind)
            };
        }
        let bundle = bundle.sh(&format!("{{ {LINKS}; }} > /tmp/links; exec sleep 1000"));
        let config = bundle.config()["linux"]["namespaces"].clone();
        coracle.start(&bundle);
        let file = bundle.rootfs().join("tmp/links");
        let read = || fs::read_to_string(&file).unwrap_or_default();
        eventually("it looks around", || read().lines().count() == FILES.len());
        let told = read();
        for (kind, link) in links(&told) {
            let named = config.as_array().unwrap().iter().find(|n| n["type"] == kind);
            let outside = fs::read_link(format!("/proc/self/ns/{}", file_of(kind))).unwrap();
            match named.map(|namespace| namespace["path"].as_str()) {
                None => assert_eq!(Path::new(link), outside, "{kind}, joined: {joined:?}"),
                Some(None) => {
                    assert_ne!(Path::new(link), outside, "{kind}, joined: {joined:?}");
                    assert_ne!(link, held.link(kind), "{kind}, joined: {joined:?}");
                }
                Some(Some(_)) => assert_eq!(link, held.link(kind), "{kind}, joined: {joined:?}"),
            }
        }
        let second = coracle.call(["exec", bundle.id(), "sh", "-c", LINKS]).output().succeeds();
        assert_eq!(second.stdout, told, "exec, joined: {joined:?}");
        coracle.delete(bundle.id());
        fs::remove_file(&file).unwrap();
    }
    coracle.assert_nothing_left();
}

/// A base that is written to, over and over the same directory would do as well.
fn writable(coracle: &Coracle) -> Bundle {
    coracle.bundle().set("/root/readonly", false)
}

/// Of root in the host's user namespace; of an ordinary user in one that is joined.
fn any_mix_of_new_and_joined(coracle: &Coracle) {
    let held = Held::of(coracle, &["--net", "--ipc", "--uts", "--cgroup", "--time", "--pid"]);
    let kinds = ["uts", "network", "ipc", "cgroup", "time", "pid"];
    // Half as many for each kind of user.
    let kinds = if coracle.user().is_some() { &kinds[1..] } else { &kinds[..] };
    all_mixes(coracle, &held, &|| held::with_user_of(coracle, writable(coracle), &held), kinds);
}

#[test]
fn any_mix_with_a_joined_user_namespace() {
    let coracle = need!(Coracle::as_root());
    let held = Held::mapped(&["--net", "--ipc", "--uts", "--time", "--pid"]);
    // Engines tell the mappings once more.
    let base = || joining(held::mapped(&coracle), "user", &held.path("user"));
    all_mixes(&coracle, &held, &base, &["network", "ipc", "uts", "time", "pid"]);
}

fn any_mix_of_the_host_s_with_a_new_user_namespace(coracle: &Coracle) {
    let held = Held::by_root(&["--net", "--ipc", "--cgroup", "--time", "--pid"]);
    all_mixes(
        coracle,
        &held,
        &|| held::mapped(coracle),
        &["network", "ipc", "cgroup", "time", "pid"],
    );
}

/// With a sysfs of its own, where `spec --rootless` has the host's.
fn with_sysfs(bundle: Bundle) -> Bundle {
    let list = bundle.config()["mounts"].as_array().unwrap();
    let index = list.iter().position(|mount| mount["destination"] == "/sys").unwrap();
    let sysfs = json!({
        "destination": "/sys", "type": "sysfs", "source": "sysfs",
        "options": ["nosuid", "noexec", "nodev", "ro"],
    });
    bundle.set(&format!("/mounts/{index}"), sysfs)
}

fn sysfs_and_mqueue_are_of_what_was_joined(coracle: &Coracle) {
    let held = Held::of(coracle, &["--net", "--ipc", "--mount"]);
    held.run(&["ip", "link", "add", "seen0", "type", "veth", "peer", "name", "seen1"]);
    let bundle = joining_of(coracle, with_sysfs(held::mapped(coracle)), "network", &held);
    let bundle = joining(bundle, "ipc", &held.path("ipc"));
    let script = "ls /sys/class/net; mkdir /sys/x 2>&1; echo 1 > /sys/class/net/seen0/mtu; \
                  touch /dev/mqueue/mine; grep -E ' /(sys|dev/mqueue) ' /proc/self/mountinfo";
    let told = coracle.run(&bundle.sh(script));
    assert!(told.stdout.contains("seen0\nseen1\n"), "{told:?}");
    let mounts = told.stdout.lines().filter(|line| line.contains(" - ")).collect::<Vec<_>>();
    let mounts = coracle_tests::Mount::parse(&mounts.join("\n"));
    let on = |point| mounts.iter().find(|mount| mount.point == point).unwrap();
    assert!(on("/sys").kind == "sysfs" && on("/sys").has("ro"), "{mounts:?}");
    assert_eq!(on("/dev/mqueue").kind, "mqueue");
    let queues = held.run(&["sh", "-c", "mount -t mqueue mqueue /mnt && ls /mnt"]);
    assert_eq!(queues, "mine\n", "it is the queue of the ipc namespace that was joined");
    let mtu = held.run(&["cat", "/proc/net/dev"]);
    assert!(mtu.contains("seen0"), "{mtu}");
    coracle.assert_nothing_left();
}

fn proc_is_of_the_pid_namespace_that_was_joined(coracle: &Coracle) {
    let held = Held::of(coracle, &["--pid"]);
    let script = "cat /proc/1/comm; echo x > /proc/sys/kernel/hostname || echo refused; \
                  cat /proc/1/environ > /dev/null || echo not readable; echo $$";
    let bundle = joining_of(coracle, held::mapped(coracle), "pid", &held);
    let told = look(coracle, bundle, script);
    assert!(told.starts_with("sleep\nrefused\nnot readable\n"), "{told}");
    // Without a pid namespace it is the host's, as the specification has it.
    let bundle = held::mapped(coracle).without_namespace("pid");
    let told = look(coracle, bundle, &format!("test -d /proc/{} && echo seen", held.pid()));
    assert_eq!(told, "seen\n");
    coracle.assert_nothing_left();
}

fn an_ordinary_user_sees_the_host_s_sysfs_without_a_network_of_its_own(coracle: &Coracle) {
    let mounts = json!([
        {"destination": "/proc", "type": "proc", "source": "proc"},
        {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["ro", "nosuid"]},
    ]);
    let bundle = coracle.bundle().without_namespace("network").set("/mounts", mounts);
    let script = "ls /sys/class/net; grep ' / /sys ' /proc/self/mountinfo";
    let told = look(coracle, bundle, script);
    let devices = fs::read_dir("/sys/class/net").unwrap().count();
    assert_eq!(told.lines().count(), devices + 1, "{told}");
    assert!(told.contains(" /sys ro,nosuid"), "{told}");
}

fn clocks_have_their_offsets(coracle: &Coracle) {
    let bundle = coracle
        .bundle()
        .set("/linux/namespaces/-", json!({"type": "time"}))
        .set("/linux/timeOffsets/boottime", json!({"secs": 1_000_000_000, "nanosecs": 5}))
        .set("/linux/timeOffsets/monotonic", json!({"secs": 86400}));
    let told = look(coracle, bundle, "cat /proc/self/timens_offsets; cat /proc/uptime");
    let words: Vec<&str> = told.split_whitespace().collect();
    assert_eq!(words[..6], ["monotonic", "86400", "0", "boottime", "1000000000", "5"]);
    assert!(words[6].starts_with("100"), "since boot it is some 30 years: {told}");
    let outside = fs::read_to_string("/proc/self/timens_offsets").unwrap();
    assert!(!outside.contains("86400"));
    coracle.assert_nothing_left();

    let bundle = coracle
        .bundle()
        .set("/linux/namespaces/-", json!({"type": "time"}))
        .set("/linux/timeOffsets/boottime", json!({"secs": -1_000_000_000}));
    let told = coracle.run(&bundle).fails();
    assert!(told.stderr.contains("/linux/timeOffsets"), "{told:?}");
    coracle.assert_nothing_left();
}

fn a_joined_mount_namespace_is_where_the_root_is(coracle: &Coracle) {
    let held = Held::of(coracle, &["--mount"]);
    let bundle = coracle.bundle();
    let rootfs = bundle.rootfs();
    let hidden = coracle.path().join("hidden");
    fs::create_dir(&hidden).unwrap();
    // There, and nowhere else.
    held.run(&["mount", "--rbind", rootfs.to_str().unwrap(), hidden.to_str().unwrap()]);
    let bundle =
        joining_of(coracle, bundle, "mount", &held).set("/root/path", hidden.to_str().unwrap());
    let told = look(
        coracle,
        bundle,
        &format!("readlink /proc/self/ns/mnt; test ! -e {0} && ls -d /bin", hidden.display()),
    );
    assert_eq!(told, format!("{}\n/bin\n", held.link("mount")));
    // The container's root has become that of the processes there.
    drop(held);
    eventually("they are gone", || coracle.leftovers().is_empty());
}

#[test]
fn the_mount_namespace_of_the_host_is_not_given_away() {
    let coracle = need!(Coracle::as_root());
    // Whatever happens, it happens to a copy.
    let bundle = joining(coracle.bundle(), "mount", "/proc/self/ns/mnt");
    let told = coracle.with_bundle("run", &bundle, &[]).through(["unshare", "-m"]).output().fails();
    assert!(told.stderr.contains("host's own mounts"), "{told:?}");
    assert!(told.stderr.contains("/linux/namespaces/"), "{told:?}");
    coracle.assert_nothing_left();
}

fn what_is_no_namespace_of_the_type_is_refused(coracle: &Coracle) {
    let held = Held::of(coracle, &["--net", "--uts"]);
    for (path, why) in [
        ("/not/there".to_owned(), "no such file or directory (ENOENT)"),
        ("/etc/passwd".to_owned(), "the file is not a namespace"),
        ("/dev/null".to_owned(), "the file is not a namespace"),
        ("/proc/self/status".to_owned(), "the file is not a namespace"),
        ("/tmp".to_owned(), "the file is not a namespace"),
        (held.path("uts"), "it is of type uts"),
    ] {
        let bundle = joining(coracle.bundle(), "network", &path);
        let told = coracle.run(&bundle).fails();
        assert!(told.stderr.contains(why), "{path}: {told:?}");
        let index = bundle.config()["linux"]["namespaces"]
            .as_array()
            .unwrap()
            .iter()
            .position(|n| n["type"] == "network")
            .unwrap();
        let pointer = format!("/linux/namespaces/{index}/path");
        assert!(told.stderr.contains(&pointer), "{path}: {told:?}");
        coracle.assert_nothing_left();
    }
}

/// Whoever owns the user namespace of another may join it, and of root's nobody else may.
fn what_an_ordinary_user_may_not_join_is_told(coracle: &Coracle) {
    let flags = ["--net", "--ipc", "--uts", "--cgroup", "--time", "--pid", "--mount"];
    // Its user namespace is not joined as well.
    let own = Held::of(coracle, &flags);
    let root = coracle.user().unwrap().switch.then(|| Held::by_root(&flags));
    for (held, what, way_out) in [
        (Some(&own), "joining a namespace", "join that too, or run as root"),
        (root.as_ref(), "opening a namespace", "for those who may trace it"),
    ] {
        let Some(held) = held else { continue };
        for kind in ["network", "ipc", "uts", "cgroup", "time", "pid", "mount"] {
            let bundle = joining(coracle.bundle(), kind, &held.path(kind)).sh("exit 0");
            let told = coracle.run(&bundle).fails().says("/linux/namespaces/");
            told.says(what).says("help: ").says(way_out);
        }
        coracle.assert_nothing_left();
    }
    // And the host's user namespace is nobody's to enter.
    for file in ["/proc/self/ns/user", "/proc/1/ns/user"] {
        let bundle = joining(coracle.bundle(), "user", file).sh("exit 0");
        let bundle = bundle.remove("/linux/uidMappings").remove("/linux/gidMappings");
        coracle.run(&bundle).fails().says("/linux/namespaces").says("help: ");
        coracle.assert_nothing_left();
    }
}

#[test]
fn the_runtime_s_own_user_namespace_need_not_be_joined() {
    let coracle = need!(Coracle::as_root());
    let bundle = joining(coracle.bundle(), "user", "/proc/self/ns/user").sh("sleep 1000");
    coracle.start(&bundle);
    let told = coracle.call(["exec", bundle.id(), "id", "-u"]).output().succeeds();
    assert_eq!(told.stdout, "0\n");
    coracle.delete(bundle.id());
    coracle.assert_nothing_left();
}

fn in_a_joined_pid_namespace_kill_ends_all_processes(coracle: &Coracle) {
    let held = Held::of(coracle, &["--pid"]);
    let bundle = joining_of(coracle, coracle.bundle(), "pid", &held);
    let bundle = bundle.sh("sleep 1000 & sleep 1000 & echo $$; wait");
    let created = coracle.start(&bundle);
    eventually("it starts", || !created.stdout_by_now().is_empty());
    assert_ne!(created.stdout_by_now(), "1\n", "the first is another's");
    let listed =
        || coracle.call(["ps", "--format", "json", bundle.id()]).output().succeeds().stdout;
    eventually("all run", || listed().matches(',').count() == 2);
    coracle.call(["kill", bundle.id(), "KILL"]).output().succeeds();
    coracle.becomes(bundle.id(), "stopped");
    eventually("none is left", || {
        coracle_tests::processes_rooted_at(&[&bundle.rootfs()]).is_empty()
    });
    coracle.call(["delete", bundle.id()]).output().succeeds();
    assert!(held.is_alive(), "whose namespace it is, goes on");
    // And `delete --force` does as well.
    coracle.start(&bundle);
    coracle.delete(bundle.id());
    assert!(held.is_alive());
    coracle.assert_nothing_left();
}

fn host_and_domain_name_are_set_in_a_joined_uts_namespace(coracle: &Coracle) {
    let held = Held::of(coracle, &["--uts"]);
    let bundle = joining_of(coracle, coracle.bundle(), "uts", &held)
        .set("/hostname", "joined-host")
        .set("/domainname", "joined-domain");
    let script = "hostname; cat /proc/sys/kernel/domainname";
    assert_eq!(look(coracle, bundle, script), "joined-host\njoined-domain\n");
    assert_eq!(held.run(&["uname", "-n"]), "joined-host\n");
    // Without a name the one that is there stays.
    let bundle = joining_of(coracle, coracle.bundle(), "uts", &held).remove("/hostname");
    assert_eq!(look(coracle, bundle, "hostname"), "joined-host\n");
    coracle.assert_nothing_left();
}

fn kernel_parameters_are_the_namespace_s(coracle: &Coracle) {
    let before = fs::read_to_string("/proc/sys/net/ipv4/ip_forward").unwrap();
    let bundle = new(coracle.bundle(), "network").set(
        "/linux/sysctl",
        json!({
            "net.ipv4.ip_forward": "1",
            "net/ipv4/ping_group_range": "0 0",
            "kernel.shmmax": "1234567",
            "kernel.domainname": "by-sysctl",
            "fs.mqueue.msg_max": "12",
        }),
    );
    let script = "cd /proc/sys; cat net/ipv4/ip_forward net/ipv4/ping_group_range \
                  kernel/shmmax kernel/domainname fs/mqueue/msg_max";
    let told = look(coracle, bundle, script);
    assert_eq!(told, "1\n0\t0\n1234567\nby-sysctl\n12\n");
    coracle.assert_nothing_left();
    assert_eq!(fs::read_to_string("/proc/sys/net/ipv4/ip_forward").unwrap(), before);

    for (name, why) in [("kernel.pid_max", "the host's"), ("vm.swappiness", "the host's")] {
        let bundle = coracle.bundle().set(&format!("/linux/sysctl/{name}"), "1");
        let told = coracle.run(&bundle).fails();
        assert!(told.stderr.contains(why) && told.stderr.contains(name), "{told:?}");
    }
    // In a network that is joined, it is set there.
    let held = Held::of(coracle, &["--net"]);
    let bundle = joining_of(coracle, coracle.bundle(), "network", &held)
        .set("/linux/sysctl", json!({"net.ipv4.ip_forward": "1"}));
    look(coracle, bundle, "true");
    assert_eq!(held.run(&["cat", "/proc/sys/net/ipv4/ip_forward"]), "1\n");
    // A value that the kernel does not take.
    let bundle = new(coracle.bundle(), "network")
        .set("/linux/sysctl", json!({"net.ipv4.ip_forward": "many"}));
    let told = coracle.run(&bundle).fails();
    assert!(told.stderr.contains("/linux/sysctl/net.ipv4.ip_forward"), "{told:?}");
    coracle.assert_nothing_left();
}

coracle_tests::tests! {
    as_root, as_ranged_user, as_single_user =>
        any_mix_of_new_and_joined,
        sysfs_and_mqueue_are_of_what_was_joined,
        proc_is_of_the_pid_namespace_that_was_joined,
        clocks_have_their_offsets,
        a_joined_mount_namespace_is_where_the_root_is,
        what_is_no_namespace_of_the_type_is_refused,
        host_and_domain_name_are_set_in_a_joined_uts_namespace,
        kernel_parameters_are_the_namespace_s;
    as_root, as_delegated_user, as_delegated_single_user =>
        in_a_joined_pid_namespace_kill_ends_all_processes;
    as_ranged_user, as_single_user =>
        an_ordinary_user_sees_the_host_s_sysfs_without_a_network_of_its_own,
        what_an_ordinary_user_may_not_join_is_told;
    as_root => any_mix_of_the_host_s_with_a_new_user_namespace;
}
