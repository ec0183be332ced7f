//! What goes wrong on the way: no room, an end in the middle, images that are damaged.

use std::fs;
use std::time::{Duration, Instant};

use coracle_tests::{Coracle, Outcome, Running, eventually, need, of_process};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use rustix::process::{Pid, Signal, kill_process};

use crate::saved::{Counter, criu, images, restore, save};

/// A file system for very little, as long as this lives.
struct Small(std::path::PathBuf);

impl Small {
    fn at(path: std::path::PathBuf) -> Self {
        fs::create_dir_all(&path).unwrap();
        mount("small", &path, "tmpfs", MountFlags::empty(), Some(c"size=64k")).unwrap();
        Self(path)
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = unmount(&self.0, UnmountFlags::DETACH);
    }
}

#[test]
fn without_room_for_the_images_it_goes_on() {
    need!(criu());
    let coracle = need!(Coracle::as_root());
    let counter = Counter::new(&coracle);
    counter.starts();
    counter.goes_on();
    let small = Small::at(images(&coracle, "full"));
    let work = coracle.path().join("work");
    let work = ["--work-path", work.to_str().unwrap()];
    let failed = save(&coracle, counter.id(), "full", &work).fails();
    failed.says("criu could not save the container").says("work/dump.log");
    counter.goes_on();
    // The log has no room either.
    save(&coracle, counter.id(), "full", &[]).fails();
    counter.goes_on();
    drop(small);
    save(&coracle, counter.id(), "full", &[]).succeeds();
    restore(&counter, counter.id(), "full", &[]).succeeds();
    counter.goes_on();
    coracle.delete(counter.id());
    coracle.assert_nothing_left();
}

/// What a container may be after its saving was cut off: as before, or ended.
#[test]
fn a_saving_that_is_killed_leaves_it_whole_or_ended() {
    need!(criu());
    let coracle = need!(Coracle::as_root());
    for delay in [0, 10, 30, 60, 90, 120, 160] {
        let counter = Counter::writing_to(&coracle, &coracle.path().join(format!("log-{delay}")));
        counter.starts();
        counter.goes_on();
        let pid = coracle.pid(counter.id());
        let saving = coracle.call(["checkpoint", "--image-path"]);
        let saving = saving.args([images(&coracle, &format!("one-{delay}"))]);
        let saving = saving.args([counter.id()]).spawn();
        std::thread::sleep(Duration::from_millis(delay));
        saving.signal(rustix::process::Signal::KILL);
        drop(saving.wait());
        // CRIU lives on, and finds out, or is done with it.
        eventually("criu lets it go", || {
            let status = fs::read_to_string(format!("/proc/{pid}/status"));
            let traced = status.is_ok_and(|status| !status.contains("TracerPid:\t0\n"));
            // Frozen by criu.
            let state = coracle.call(["state", counter.id()]).output();
            !traced && !state.stdout.contains("\"paused\"")
        });
        let known = coracle.call(["state", counter.id()]).output();
        if known.code == Some(0) {
            match coracle.status(counter.id()).as_str() {
                "running" => counter.goes_on(),
                "stopped" => {}
                other => panic!("after {delay} ms it is {other}"),
            }
            coracle.delete(counter.id());
        }
        eventually("nothing is left", || coracle.leftovers().is_empty());
    }
}

#[test]
fn a_restoring_that_is_killed_can_be_deleted_and_repeated() {
    need!(criu());
    let coracle = need!(Coracle::as_root());
    let counter = Counter::new(&coracle);
    counter.starts();
    counter.goes_on();
    save(&coracle, counter.id(), "one", &[]).succeeds();
    for delay in [0, 10, 30, 60, 90, 120, 160] {
        let id = counter.bundle().other_id(&delay.to_string());
        let restoring = counter.restoring(&id, "one", &["--detach"]).spawn();
        std::thread::sleep(Duration::from_millis(delay));
        restoring.signal(rustix::process::Signal::KILL);
        drop(restoring.wait());
        coracle.call(["delete", "--force", &id]).output().succeeds();
        eventually("criu is gone", || coracle.leftovers().is_empty());
    }
    fs::write(counter.log(), "").unwrap();
    coracle.assert_nothing_left();
    restore(&counter, counter.id(), "one", &[]).succeeds();
    coracle.becomes(counter.id(), "running");
    coracle.delete(counter.id());
    coracle.assert_nothing_left();
}

/// Kills the CRIU of a command when `now` says so, and takes the command's end.
fn without_criu(command: Running, now: impl Fn() -> bool) -> Outcome {
    let path = format!("/proc/{0}/task/{0}/children", command.pid());
    let children = || fs::read_to_string(&path).unwrap_or_default();
    // What has ended, and is not yet waited for, has no program.
    let ended = || fs::read_link(format!("/proc/{}/exe", command.pid())).is_err();
    let mut criu = 0;
    eventually("criu runs", || {
        criu = children().trim().parse().unwrap_or_default();
        criu != 0 || ended()
    });
    while !now() && !ended() {}
    if let Some(criu) = Pid::from_raw(criu) {
        let _ = kill_process(criu, Signal::KILL);
    }
    command.wait()
}

#[test]
fn a_criu_that_is_killed_while_it_saves_leaves_it_whole_or_ended() {
    need!(criu());
    let coracle = need!(Coracle::as_root());
    for moment in ["freezing", "files.img", "pages-1.img", "core-1.img"] {
        let counter = Counter::writing_to(&coracle, &coracle.path().join(moment));
        counter.starts();
        counter.goes_on();
        let kept = images(&coracle, &format!("at-{moment}"));
        let cgroups = of_process(coracle.pid(counter.id()));
        let own = cgroups.iter().find(|(controllers, _)| controllers == "freezer");
        let (_, own) = need!(own.ok_or_else(|| "needs a freezer of version 1".to_owned()));
        let state = format!("/sys/fs/cgroup/freezer{own}/freezer.state");
        let mut saving = coracle.call(["checkpoint", "--image-path"]).args([&kept]);
        saving = saving.args([counter.id()]);
        let saved = without_criu(saving.spawn(), || match moment {
            "freezing" => fs::read_to_string(&state).is_ok_and(|state| state != "THAWED\n"),
            file => kept.join(file).exists(),
        });
        // It may have been done.
        if saved.code != Some(0) {
            saved.says("criu ended without an answer").says("dump.log");
            match coracle.status(counter.id()).as_str() {
                "running" => counter.goes_on(),
                "stopped" => {}
                other => panic!("at {moment} it is {other}"),
            }
            coracle.delete(counter.id());
        }
        coracle.assert_nothing_left();
    }
}

#[test]
fn a_criu_that_is_killed_while_it_restores_leaves_nothing() {
    need!(criu());
    let coracle = need!(Coracle::as_root());
    let counter = Counter::new(&coracle);
    counter.starts();
    counter.goes_on();
    save(&coracle, counter.id(), "one", &[]).succeeds();
    for delay in [0, 5, 10, 20, 30, 35, 40, 45, 50, 55, 60, 70, 80, 100] {
        let begun = Instant::now();
        let restoring = counter.restoring(counter.id(), "one", &["--detach"]).spawn();
        let late = || begun.elapsed() > Duration::from_millis(delay);
        let restored = without_criu(restoring, late);
        if restored.code == Some(0) {
            coracle.delete(counter.id());
        } else {
            restored.says("criu");
        }
        eventually("nothing is left", || coracle.leftovers().is_empty());
    }
    fs::write(counter.log(), "").unwrap();
    restore(&counter, counter.id(), "one", &[]).succeeds();
    coracle.becomes(counter.id(), "running");
    coracle.delete(counter.id());
}

#[test]
fn damaged_images_leave_nothing() {
    need!(criu());
    let coracle = need!(Coracle::as_root());
    let counter = Counter::new(&coracle);
    counter.starts();
    counter.goes_on();
    save(&coracle, counter.id(), "one", &[]).succeeds();
    let kept = images(&coracle, "one");
    let damage = |name: &str, change: &dyn Fn(&mut Vec<u8>)| {
        let path = kept.join(name);
        let whole = fs::read(&path).unwrap();
        let mut bytes = whole.clone();
        change(&mut bytes);
        assert_ne!(bytes, whole, "{name}");
        fs::write(&path, bytes).unwrap();
        let failed = restore(&counter, counter.id(), "one", &[]).fails();
        coracle.assert_nothing_left();
        fs::write(path, whole).unwrap();
        failed.says("criu could not restore the container").says("restore.log")
    };
    let half = |bytes: &mut Vec<u8>| bytes.truncate(bytes.len() / 2);
    let other = |bytes: &mut Vec<u8>| bytes.iter_mut().for_each(|byte| *byte ^= 0x55);
    for name in ["inventory.img", "core-1.img", "pstree.img", "files.img"] {
        damage(name, &half);
    }
    for name in ["inventory.img", "core-1.img", "pstree.img", "files.img", "pages-1.img"] {
        damage(name, &other);
    }
    // A magic number, a length, and the version: field 1.
    damage("inventory.img", &|bytes| {
        assert_eq!(bytes[8], 8);
        bytes[9] = 99;
    })
    .says("version");
    restore(&counter, counter.id(), "one", &[]).succeeds();
    counter.goes_on();
    coracle.delete(counter.id());
}

/// CRIU would read the end of the file for ever.
#[test]
fn pages_that_are_cut_off_are_refused_with_the_file_s_name() {
    need!(criu());
    let coracle = need!(Coracle::as_root());
    let counter = Counter::new(&coracle);
    counter.starts();
    counter.goes_on();
    save(&coracle, counter.id(), "one", &[]).succeeds();
    let kept = images(&coracle, "one");
    // As an earlier checkpoint leaves them, of processes that are no more: of one page, and of 127.
    let begin = fs::read(kept.join("pagemap-1.img")).unwrap()[..8].to_vec();
    for (process, pages) in [(4_000_000, 1), (4_000_001, 127)] {
        let left = [&begin[..], b"\x02\0\0\0\x08\x01\x06\0\0\0\x08\x01\x10", &[pages], b"\x20\x04"];
        fs::write(kept.join(format!("pagemap-{process}.img")), left.concat()).unwrap();
    }
    let path = kept.join("pages-1.img");
    let whole = fs::read(&path).unwrap();
    assert!(whole.len() < 127 * 4096, "those left tell of more: {}", whole.len());
    for left in [whole.len() - 4096, whole.len() - 1, whole.len() / 2 + 7, 0] {
        fs::write(&path, &whole[..left]).unwrap();
        let failed = restore(&counter, counter.id(), "one", &[]).fails();
        failed.says("one/pages-1.img is cut off").says(&format!("{left} bytes of {}", whole.len()));
        coracle.assert_nothing_left();
    }
    fs::write(&path, whole).unwrap();
    restore(&counter, counter.id(), "one", &[]).succeeds();
    counter.goes_on();
    coracle.delete(counter.id());
}

#[test]
fn a_paused_one_is_saved_and_runs_when_it_is_back() {
    need!(criu());
    let coracle = need!(Coracle::as_root());
    let counter = Counter::new(&coracle);
    counter.starts();
    counter.goes_on();
    coracle.call(["pause", counter.id()]).output().succeeds();
    save(&coracle, counter.id(), "one", &["--leave-running"]).succeeds();
    assert_eq!(coracle.status(counter.id()), "paused");
    save(&coracle, counter.id(), "two", &[]).succeeds();
    coracle.assert_nothing_left();
    restore(&counter, counter.id(), "two", &[]).succeeds();
    counter.goes_on();
    assert_eq!(coracle.status(counter.id()), "running");
    coracle.delete(counter.id());
    coracle.assert_nothing_left();
}
