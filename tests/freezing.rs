//! Containers that make it hard to hold them still, to signal them all or to remove them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::path::{Path, PathBuf};

use coracle_tests::{
    Bundle, Call, Coracle, Running, controlled, controllers, eventually, is_alive, skipped,
};

/// A bundle of a process that lives on, and of others that each make the next one and end.
fn forking(bundle: Bundle) -> Bundle {
    bundle.sh("next() { echo; next & }; for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16; do next & done; while :; do sleep 1000; done")
}

/// The cgroup of a process in the tree that can hold it still, and whether that is version 2.
fn freezer(pid: u32) -> (PathBuf, bool) {
    if let Some((path, false)) = controlled(pid, "freezer") {
        return (path, false);
    }
    let unified = controllers(pid).into_iter().find(|(names, _)| names.is_empty());
    (unified.expect("a version 2 tree").1, true)
}

/// The same for a container that sees version 2 alone.
fn freezer_of(coracle: &Coracle, id: &str, alone: bool) -> (PathBuf, bool) {
    let pid = coracle.pid(id);
    if !alone {
        return freezer(pid);
    }
    (controllers(pid).into_iter().find(|(names, _)| names.is_empty()).unwrap().1, true)
}

fn processes(cgroup: &Path) -> String {
    fs::read_to_string(cgroup.join("cgroup.procs")).unwrap()
}

/// Whether all processes of a cgroup stand still.
fn stands(cgroup: &Path, unified: bool) -> bool {
    let file = if unified { "cgroup.events" } else { "freezer.state" };
    let text = fs::read_to_string(cgroup.join(file)).unwrap();
    if unified { text.contains("frozen 1") } else { text == "FROZEN\n" }
}

/// Tells a cgroup to stand still, or to go on, without the runtime.
fn hold(cgroup: &Path, unified: bool, still: bool) {
    let (file, word) = match (unified, still) {
        (true, true) => ("cgroup.freeze", "1"),
        (true, false) => ("cgroup.freeze", "0"),
        (false, true) => ("freezer.state", "FROZEN"),
        (false, false) => ("freezer.state", "THAWED"),
    };
    fs::write(cgroup.join(file), word).unwrap();
}

fn is_held_while_it_forks(coracle: &Coracle, alone: bool) {
    let bundle = forking(coracle.bundle());
    let id = bundle.id();
    let started = coracle.start(&bundle);
    let (cgroup, unified) = freezer_of(coracle, id, alone);
    for _ in 0..5 {
        let before = started.stdout_by_now().len();
        eventually("it forks", || started.stdout_by_now().len() > before);
        coracle.call(["pause", id]).output().succeeds();
        assert!(stands(&cgroup, unified));
        let held = processes(&cgroup);
        assert_eq!(coracle.status(id), "paused");
        assert_eq!(processes(&cgroup), held);
        coracle.call(["resume", id]).output().succeeds();
    }
    coracle.call(["pause", id]).output().succeeds();
    coracle.delete(id);
    coracle.assert_nothing_left();
}

fn a_container_is_held_while_it_forks(coracle: &Coracle) {
    is_held_while_it_forks(coracle, false);
}

fn a_container_is_held_while_it_forks_on_cgroup2(coracle: &Coracle) {
    is_held_while_it_forks(coracle, true);
}

fn what_is_nested_stands_too(coracle: &Coracle, alone: bool) {
    let bundle = coracle.bundle().sh("sleep 1000");
    let id = bundle.id();
    coracle.start(&bundle);
    let (cgroup, unified) = freezer_of(coracle, id, alone);
    let inner = cgroup.join("inner");
    fs::create_dir(&inner).unwrap();
    for pid in processes(&cgroup).lines() {
        fs::write(inner.join("cgroup.procs"), pid).unwrap();
    }
    let call = |command: &str| coracle.call([command, id]).output();
    call("pause").succeeds();
    assert!(stands(&inner, unified));
    // What the container itself holds still is its own affair.
    hold(&inner, unified, true);
    call("resume").succeeds();
    assert_eq!(coracle.status(id), "running");
    eventually("it stands", || stands(&inner, unified));
    assert!(!stands(&cgroup, unified) || !unified);
    call("pause").succeeds();
    assert_eq!(coracle.status(id), "paused");
    call("resume").succeeds();
    hold(&inner, unified, false);
    eventually("it goes on", || !stands(&inner, unified));
    coracle.delete(id);
    coracle.assert_nothing_left();
}

fn what_is_nested_is_held_with_the_container(coracle: &Coracle) {
    what_is_nested_stands_too(coracle, false);
}

fn what_is_nested_is_held_with_the_container_on_cgroup2(coracle: &Coracle) {
    what_is_nested_stands_too(coracle, true);
}

/// A bundle of a process that lives on, and of others that each start the next one, again and again.
/// A shell of its own for each: one that called itself would soon run out of stack.
fn relays(bundle: Bundle) -> Bundle {
    bundle
        .file("relay", 0o755, "#!/bin/sh\necho\n/relay &\n")
        .sh("for i in 1 2 3 4 5 6 7 8; do /relay & done; while :; do sleep 1000; done")
}

/// The signal goes out some time after the runtime looked whom to send it to, if strace is there to
/// delay it: whatever is not held still is others by then.
fn a_signal_to_all_misses_none_that_is_being_made(coracle: &Coracle) {
    const STRACE: &str = "/usr/bin/strace";
    let delay = "--inject=kill,pidfd_send_signal:delay_enter=200ms:when=1";
    let words = [STRACE, "--follow-forks", "--output=/dev/null", delay];
    let through = if Path::new(STRACE).exists() { &words[..] } else { &[] };
    for signal in ["TERM", "KILL"] {
        let bundle = relays(coracle.bundle().without_namespace("pid"));
        let started = coracle.start(&bundle);
        eventually("it forks", || started.stdout_by_now().len() > 20);
        let (cgroup, _) = freezer(coracle.pid(bundle.id()));
        let call = coracle.call(["kill", "--all", bundle.id(), signal]);
        call.through(through).output().succeeds();
        // In one look: one process of /proc at a time, they would outrun this test as well.
        eventually("all die", || processes(&cgroup).is_empty());
        coracle.becomes(bundle.id(), "stopped");
        coracle.delete(bundle.id());
    }
    coracle.assert_nothing_left();
}

/// A process of the host's.
fn stranger() -> Running {
    Call::new(["sleep", "1000"]).spawn()
}

fn goes_with_it(coracle: &Coracle, alone: bool) {
    let bundle = coracle.bundle().sh("sleep 1000");
    coracle.start(&bundle);
    let stranger = stranger();
    let (cgroup, _) = freezer_of(coracle, bundle.id(), alone);
    fs::write(cgroup.join("cgroup.procs"), stranger.pid().to_string()).unwrap();
    coracle.delete(bundle.id());
    assert_eq!(stranger.wait().signal, Some(9));
    coracle.assert_nothing_left();
}

fn a_stranger_in_the_cgroup_goes_with_it(coracle: &Coracle) {
    goes_with_it(coracle, false);
}

fn a_stranger_in_the_cgroup_goes_with_it_on_cgroup2(coracle: &Coracle) {
    goes_with_it(coracle, true);
}

fn one_that_keeps_a_cgroup_busy_is_named(coracle: &Coracle) {
    let bundle = coracle.bundle().sh("sleep 1000");
    let id = bundle.id();
    coracle.start(&bundle);
    // On version 2 there is but one tree, and nobody in it whom a kill would not reach.
    let Some((cgroup, false)) = controlled(coracle.pid(id), "pids") else {
        return skipped("needs the pids controller in version 1");
    };
    let stranger = stranger();
    fs::write(cgroup.join("cgroup.procs"), stranger.pid().to_string()).unwrap();
    let told = coracle.call(["delete", "--force", id]).output().fails();
    let named = format!("still in it: {}", stranger.pid());
    assert!(told.stderr.contains(&named), "{}", told.stderr);
    assert!(told.stderr.contains(cgroup.to_str().unwrap()), "{}", told.stderr);
    assert!(is_alive(stranger.pid()), "it is not the container's");
    assert_eq!(coracle.status(id), "stopped");
    stranger.signal(coracle_tests::Signal::KILL);
    stranger.wait();
    coracle.call(["delete", id]).output().succeeds();
    coracle.assert_nothing_left();
}

coracle_tests::tests! {
    as_root, as_delegated_user, as_delegated_single_user =>
        a_container_is_held_while_it_forks,
        what_is_nested_is_held_with_the_container,
        a_signal_to_all_misses_none_that_is_being_made,
        one_that_keeps_a_cgroup_busy_is_named;
    on_cgroup2, as_delegated_user_on_cgroup2, as_delegated_single_user_on_cgroup2 =>
        a_container_is_held_while_it_forks_on_cgroup2,
        what_is_nested_is_held_with_the_container_on_cgroup2,
        a_stranger_in_the_cgroup_goes_with_it_on_cgroup2;
    as_root => a_stranger_in_the_cgroup_goes_with_it;
}
