//! Whatever fails, and whenever the runtime is killed: `delete --force` leaves nothing.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use coracle_tests::{Bundle, Call, Coracle, Running, Signal, Value, eventually, json, need};
use rustix::mount::{MountFlags, mount, mount_remount};

/// Runs a command once to its end, to learn how long it takes, and then many times until it is
/// killed: the points spread over that time and a little more.
fn killed_at_many_points(
    coracle: &Coracle,
    mut prepare: impl FnMut(),
    spawn: impl Fn() -> Running,
    mut look: impl FnMut(),
) {
    const POINTS: u32 = 40;
    prepare();
    let start = Instant::now();
    spawn().wait();
    let whole = start.elapsed().min(Duration::from_millis(100));
    look();
    for point in 0..POINTS {
        prepare();
        let running = spawn();
        std::thread::sleep(whole * point * 5 / (POINTS * 4));
        running.signal(Signal::KILL);
        running.wait();
        look();
    }
    coracle.assert_nothing_left();
}

/// What an engine does after a command that went wrong.
fn clean_up(coracle: &Coracle, bundle: &Bundle) {
    let listed = coracle.call(["list", "--format", "json"]).output().succeeds().stdout;
    listed.parse::<Value>().unwrap_or_else(|error| panic!("{error}: {listed}"));
    coracle.call(["delete", "--force", bundle.id()]).output().succeeds();
    // A process that was never recorded ends by itself, when it finds its runtime gone.
    eventually("nothing is left", || coracle.leftovers().is_empty());
    coracle.call(["state", bundle.id()]).output().fails().says("does not exist");
}

#[test]
fn create_may_be_killed_at_any_point() {
    let coracle = need!(Coracle::as_root());
    let bundle = coracle.bundle().sh("sleep 1000");
    let create = || coracle.with_bundle("create", &bundle, &[]).spawn();
    killed_at_many_points(&coracle, || (), create, || clean_up(&coracle, &bundle));
}

#[test]
fn create_may_be_killed_at_any_point_as_a_user() {
    let coracle = need!(Coracle::as_user());
    let bundle = coracle.bundle().sh("sleep 1000");
    let create = || coracle.with_bundle("create", &bundle, &[]).spawn();
    killed_at_many_points(&coracle, || (), create, || clean_up(&coracle, &bundle));
}

#[test]
fn create_may_be_killed_in_its_hooks() {
    let coracle = need!(Coracle::as_root());
    for at in ["prestart", "createRuntime", "createContainer"] {
        let flag = coracle.path().join(at);
        let script = format!("touch {} && sleep 1", flag.display());
        let hook = json!({"path": "/bin/sh", "args": ["sh", "-c", script]});
        let bundle = coracle.bundle().set(&format!("/hooks/{at}/-"), hook);
        let running = coracle.with_bundle("create", &bundle, &[]).spawn();
        eventually("the hook runs", || flag.exists());
        running.signal(Signal::KILL);
        running.wait();
        clean_up(&coracle, &bundle);
    }
}

#[test]
fn start_may_be_killed_at_any_point() {
    let coracle = need!(Coracle::as_root());
    let bundle = coracle.bundle().sh("sleep 1000");
    let create = || drop(coracle.create(&bundle));
    let start = || coracle.call(["start", bundle.id()]).spawn();
    killed_at_many_points(&coracle, create, start, || {
        let status = coracle.status(bundle.id());
        assert!(["created", "running", "stopped"].contains(&status.as_str()), "{status}");
        clean_up(&coracle, &bundle);
    });
}

#[test]
fn run_may_be_killed_at_any_point() {
    let coracle = need!(Coracle::as_root());
    let bundle = coracle.bundle().sh("sleep 0.01");
    let run = || coracle.spawn(&bundle);
    killed_at_many_points(&coracle, || (), run, || clean_up(&coracle, &bundle));
}

#[test]
fn delete_may_be_killed_at_any_point() {
    let coracle = need!(Coracle::as_root());
    let bundle = coracle.bundle().sh("sleep 1000");
    let create = || drop(coracle.start(&bundle));
    let delete = || coracle.call(["delete", "--force", bundle.id()]).spawn();
    killed_at_many_points(&coracle, create, delete, || clean_up(&coracle, &bundle));
}

#[test]
fn the_first_process_may_be_killed_from_outside() {
    let coracle = need!(Coracle::as_root());
    let kill = |bundle: &Bundle| {
        let pid = coracle.pid(bundle.id());
        Call::new(["kill", "-KILL", &pid.to_string()]).output().succeeds();
        coracle.becomes(bundle.id(), "stopped");
    };
    let bundle = coracle.bundle().sh("sleep 1000");
    coracle.create(&bundle);
    kill(&bundle);
    let told = coracle.call(["start", bundle.id()]).output().fails();
    told.says("cannot start a container that has stopped");
    coracle.call(["delete", bundle.id()]).output().succeeds();
    coracle.assert_nothing_left();

    coracle.start(&bundle);
    kill(&bundle);
    coracle.call(["delete", bundle.id()]).output().succeeds();
    coracle.assert_nothing_left();

    let running = coracle.spawn(&bundle);
    eventually("it is there", || {
        coracle.call(["state", bundle.id()]).output().stdout.contains("running")
    });
    let pid = coracle.pid(bundle.id());
    Call::new(["kill", "-KILL", &pid.to_string()]).output().succeeds();
    running.wait().exits(137);
    coracle.assert_nothing_left();
}

#[test]
fn of_two_starts_exactly_one_wins() {
    let coracle = need!(Coracle::as_root());
    let bundle = coracle.bundle().sh("echo once; sleep 1000");
    for _ in 0..5 {
        let created = coracle.create(&bundle);
        let racers = [0; 3].map(|_| coracle.call(["start", bundle.id()]).spawn());
        let ended = racers.map(Running::wait);
        let won = ended.iter().filter(|of| of.code == Some(0)).count();
        assert_eq!(won, 1, "{ended:#?}");
        eventually("it runs", || created.stdout_by_now() == "once\n");
        coracle.delete(bundle.id());
    }
    coracle.assert_nothing_left();
}

#[test]
fn deletes_at_the_same_time_do_not_disturb_each_other() {
    let coracle = need!(Coracle::as_root());
    let bundle = coracle.bundle().sh("sleep 1000");
    for _ in 0..5 {
        coracle.start(&bundle);
        let delete = |_| coracle.call(["delete", "--force", bundle.id()]).spawn();
        for ended in [0; 3].map(delete).map(Running::wait) {
            ended.succeeds();
        }
        coracle.assert_nothing_left();
    }
}

/// A state directory that is a file system of its own, and the command that uses it.
fn small(coracle: &Coracle, options: &std::ffi::CStr) -> PathBuf {
    let root = coracle.path().join("small");
    fs::create_dir(&root).unwrap();
    mount("tmpfs", &root, "tmpfs", MountFlags::empty(), Some(options)).unwrap();
    root
}

fn create_under(coracle: &Coracle, root: &Path, bundle: &Bundle) -> coracle_tests::Outcome {
    let call = coracle.bare().args(["--root".as_ref(), root.as_os_str()]);
    call.args(["create", "--bundle"]).args([bundle.path()]).args([bundle.id()]).output()
}

fn delete_under(coracle: &Coracle, root: &Path, bundle: &Bundle) {
    let call = coracle.bare().args(["--root".as_ref(), root.as_os_str()]);
    call.args(["delete", "--force", bundle.id()]).output().succeeds();
}

#[test]
fn a_full_disk() {
    let coracle = need!(Coracle::as_root());
    let bundle = coracle.bundle().sh("sleep 1000");
    let root = small(&coracle, c"size=64k");
    let fill = root.join("fill");
    let use_up =
        || Call::new(["sh", "-c", "cat /dev/zero > \"$0\""]).args([&fill]).output().fails();
    use_up();

    create_under(&coracle, &root, &bundle).fails().says("no space left on device");
    let left: Vec<_> = fs::read_dir(&root).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(left, std::slice::from_ref(&fill));
    fs::remove_file(&fill).unwrap();
    create_under(&coracle, &root, &bundle).succeeds();

    // And full again, when it has to be cleaned away.
    use_up();
    delete_under(&coracle, &root, &bundle);
    assert!(!root.join(bundle.id()).exists());
    rustix::mount::unmount(&root, rustix::mount::UnmountFlags::empty()).unwrap();
    coracle.assert_nothing_left();
}

#[test]
fn a_disk_without_room_for_another_file() {
    let coracle = need!(Coracle::as_root());
    let bundle = coracle.bundle().sh("sleep 1000");
    // From no file at all to more than it needs: each number is a failure at another point.
    for files in 1..12 {
        let root = small(&coracle, &std::ffi::CString::new(format!("nr_inodes={files}")).unwrap());
        let created = create_under(&coracle, &root, &bundle);
        if created.code != Some(0) {
            created.fails().says("no space left on device");
            assert_eq!(fs::read_dir(&root).unwrap().count(), 0);
        }
        delete_under(&coracle, &root, &bundle);
        assert_eq!(fs::read_dir(&root).unwrap().count(), 0);
        rustix::mount::unmount(&root, rustix::mount::UnmountFlags::empty()).unwrap();
        fs::remove_dir(&root).unwrap();
        coracle.assert_nothing_left();
    }
}

#[test]
fn a_read_only_disk() {
    let coracle = need!(Coracle::as_root());
    let bundle = coracle.bundle().sh("sleep 1000");
    let root = small(&coracle, c"size=1m");
    mount_remount(&root, MountFlags::RDONLY, "").unwrap();
    create_under(&coracle, &root, &bundle).fails().says("read-only file system");
    rustix::mount::unmount(&root, rustix::mount::UnmountFlags::empty()).unwrap();
    coracle.assert_nothing_left();
}

#[test]
fn output_that_cannot_be_written() {
    let coracle = need!(Coracle::as_root());
    let bundle = coracle.bundle();
    coracle.create(&bundle);
    let full = || fs::File::options().write(true).open("/dev/full").unwrap();
    for args in [&["state", bundle.id()][..], &["list"], &["list", "--format", "json"]] {
        coracle.call(args).stdout(full()).output().fails();
    }
    let pid_file = ["--pid-file", "/dev/full"];
    let other = coracle.bundle();
    coracle.with_bundle("create", &other, &pid_file).output().fails();
    coracle.call(["state", other.id()]).output().fails().says("does not exist");
    coracle.delete(bundle.id());
    coracle.assert_nothing_left();
}

#[test]
fn standard_streams_that_are_closed() {
    let coracle = need!(Coracle::as_root());
    // A file that the runtime opens for itself must not become a stream of the container.
    let script = "for n in 0 1 2; do readlink /proc/self/fd/$n; done > /streams; exit 3";
    let bundle = coracle.bundle().set("/root/readonly", false).sh(script);
    let closed = ["sh", "-c", "exec \"$@\" <&- >&- 2>&-", "sh"];
    coracle.with_bundle("run", &bundle, &[]).through(closed).output().exits(3);
    let streams = fs::read_to_string(bundle.rootfs().join("streams")).unwrap();
    for (line, expected) in streams.lines().zip(["/dev/null", "/streams", "/dev/null"]) {
        assert_eq!(line, expected, "{streams}");
    }
    coracle.assert_nothing_left();
}

#[test]
fn few_descriptors_suffice() {
    let coracle = need!(Coracle::as_root());
    let bundle = coracle.bundle().sh("ulimit -n; exit 3").remove("/process/rlimits");
    let few = ["sh", "-c", "ulimit -n 48; exec \"$@\"", "sh"];
    let ended = coracle.with_bundle("run", &bundle, &[]).through(few).output().exits(3);
    assert_eq!(ended.stdout, "48\n", "the container inherits what config.json does not set");
    coracle.assert_nothing_left();
}
