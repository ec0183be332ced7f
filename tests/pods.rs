//! Pods: a sandbox that holds the namespaces, and containers that join them, as engines write them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::format_push_string)]

mod held;

use std::fs;

use coracle_tests::{Bundle, Coracle, eventually, need};
use held::{file_of, joining, look, mapped, new};

/// A sandbox that waits, as the pause image does.
fn sandbox(coracle: &Coracle, bundle: Bundle) -> Bundle {
    let bundle = ["network", "ipc", "uts", "pid"].into_iter().fold(bundle, new);
    let bundle = bundle.set("/hostname", "the-pod").sh("sleep 1000");
    coracle.start(&bundle);
    bundle
}

/// A container that joins these namespaces of the sandbox. containerd and podman name the files in
/// the sandbox's /proc directory, and give the container no host name.
fn member(coracle: &Coracle, bundle: Bundle, sandbox: &Bundle, kinds: &[&str]) -> Bundle {
    let pid = coracle.pid(sandbox.id());
    let join =
        |bundle, kind: &&str| joining(bundle, kind, &format!("/proc/{pid}/ns/{}", file_of(kind)));
    kinds.iter().fold(bundle, join).remove("/hostname")
}

/// Looks from a member, made from `base`, at what it shares with the sandbox.
fn shares(coracle: &Coracle, sandbox: &Bundle, base: Bundle, kinds: &[&str]) {
    let bundle = member(coracle, base, sandbox, kinds);
    let script = "for n in net ipc uts pid user mnt; do readlink /proc/self/ns/$n; done; \
                  hostname; cat /sys/class/net/lo/operstate; ls -d /dev/mqueue; id -u; \
                  cat /proc/1/comm; true";
    let told = look(coracle, bundle, script);
    let lines: Vec<&str> = told.lines().collect();
    let pid = coracle.pid(sandbox.id());
    for (index, kind) in ["network", "ipc", "uts", "pid", "user", "mount"].iter().enumerate() {
        let link = fs::read_link(format!("/proc/{pid}/ns/{}", file_of(kind))).unwrap();
        // Where no user namespace is joined, both are in the host's.
        let shared = kinds.contains(kind) || *kind == "user";
        let same = link.to_str().unwrap() == lines[index];
        assert_eq!(same, shared, "{kind}: {told}");
    }
    let first = if kinds.contains(&"pid") { "sleep" } else { "sh" };
    assert_eq!(lines[6..], ["the-pod", "unknown", "/dev/mqueue", "0", first], "{told}");
}

/// The life of a member beside its sandbox, whose pid namespace it shares.
fn lives_and_dies(coracle: &Coracle, sandbox: &Bundle, base: &dyn Fn() -> Bundle, kinds: &[&str]) {
    let bundle = member(coracle, base(), sandbox, kinds).sh("sleep 1000 & wait");
    coracle.start(&bundle);
    let seen = || {
        let told = coracle.call(["exec", bundle.id(), "ps", "-o", "args"]).output().succeeds();
        told.stdout.matches("sleep 1000").count()
    };
    eventually("the sandbox, the shell and its child are seen", || seen() == 3);
    coracle.call(["kill", bundle.id(), "KILL"]).output().succeeds();
    coracle.becomes(bundle.id(), "stopped");
    assert_eq!(coracle.status(sandbox.id()), "running");
    coracle.call(["delete", bundle.id()]).output().succeeds();

    // When the sandbox ends, so does all in its pid namespace.
    let bundle = member(coracle, base(), sandbox, kinds).sh("sleep 1000 & wait");
    coracle.start(&bundle);
    coracle.call(["kill", sandbox.id(), "KILL"]).output().succeeds();
    coracle.becomes(bundle.id(), "stopped");
    coracle.becomes(sandbox.id(), "stopped");
    for bundle in [&bundle, sandbox] {
        coracle.call(["delete", bundle.id()]).output().succeeds();
    }
    eventually("all is gone", || coracle.leftovers().is_empty());
}

#[test]
fn of_root() {
    for coracle in [need!(Coracle::as_root()), need!(Coracle::on_cgroup2())] {
        let sandbox = sandbox(&coracle, coracle.bundle());
        let base = || coracle.bundle();
        shares(&coracle, &sandbox, base(), &["network", "ipc", "uts"]);
        shares(&coracle, &sandbox, base(), &["network", "ipc", "uts", "pid"]);
        lives_and_dies(&coracle, &sandbox, &base, &["network", "ipc", "uts", "pid"]);
    }
}

#[test]
fn of_root_with_a_user_namespace() {
    let coracle = need!(Coracle::as_root());
    let sandbox = sandbox(&coracle, mapped(&coracle));
    let base = || mapped(&coracle);
    shares(&coracle, &sandbox, base(), &["user", "network", "ipc", "uts"]);
    shares(&coracle, &sandbox, base(), &["network", "ipc", "uts", "pid", "user"]);
    lives_and_dies(&coracle, &sandbox, &base, &["network", "ipc", "uts", "pid", "user"]);
}

fn of_an_ordinary_user(coracle: &Coracle) {
    let sandbox = sandbox(coracle, coracle.bundle());
    let base = || coracle.bundle().remove("/linux/uidMappings").remove("/linux/gidMappings");
    shares(coracle, &sandbox, base(), &["network", "ipc", "uts", "user"]);
    shares(coracle, &sandbox, base(), &["user", "network", "ipc", "uts", "pid"]);
    lives_and_dies(coracle, &sandbox, &base, &["user", "network", "ipc", "uts", "pid"]);
}

fn namespaces_that_an_engine_has_pinned(coracle: &Coracle) {
    // containerd and CRI-O bind them to files, and no process need be in them; for an ordinary
    // user with the user namespace that they belong to.
    let held = held::Held::of(coracle, &["--net", "--ipc", "--uts"]);
    let kinds: &[&str] = match coracle.user() {
        None => &["network", "ipc", "uts"],
        Some(user) if user.switch => &["network", "ipc", "uts", "user"],
        Some(_) => return coracle_tests::skipped("needs root, to pin namespaces"),
    };
    let files: Vec<_> = kinds
        .iter()
        .map(|kind| {
            let file = coracle.path().join(kind);
            fs::write(&file, "").unwrap();
            rustix::mount::mount_bind(held.path(kind), &file).unwrap();
            (kind, file, held.link(kind))
        })
        .collect();
    let bundle = held::with_user_of(coracle, coracle.bundle(), &held);
    drop(held);
    let bundle = files
        .iter()
        .fold(bundle, |bundle, (kind, file, _)| joining(bundle, kind, file.to_str().unwrap()));
    let script = "for n in net ipc uts user; do readlink /proc/self/ns/$n; done";
    let told = look(coracle, bundle, script);
    for (_, file, _) in &files {
        rustix::mount::unmount(file, rustix::mount::UnmountFlags::DETACH).unwrap();
    }
    let links: Vec<&str> = files.iter().map(|(_, _, link)| link.as_str()).collect();
    assert_eq!(told.lines().collect::<Vec<_>>()[..links.len()], links);
    coracle.assert_nothing_left();
}

coracle_tests::tests! {
    as_ranged_user, as_single_user, as_delegated_user, as_delegated_single_user =>
        of_an_ordinary_user;
    as_root, as_ranged_user, as_single_user => namespaces_that_an_engine_has_pinned;
}
