//! Device nodes are made as config.json describes them, or bound where they cannot be made.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::format_push_string)]

mod held;

use std::fs;
use std::mem::MaybeUninit;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use coracle_tests::{Call, Coracle, Value, json, need, skipped};
use held::{look, mapped};
use rustix::fs::inotify;

/// Prints name, type, numbers, mode and owner.
const STAT: &str = "stat -c '%n %F %t:%T %a %u:%g'";

fn every_type_with_its_numbers_mode_and_owner(coracle: &Coracle) {
    let bundle = coracle.bundle().set(
        "/linux/devices",
        json!([
            {"path": "/dev/char", "type": "c", "major": 1, "minor": 3, "fileMode": 0o640,
             "uid": 1000, "gid": 5},
            {"path": "/dev/unbuffered", "type": "u", "major": 1, "minor": 5, "fileMode": 0o4711},
            {"path": "/dev/block", "type": "b", "major": 7, "minor": 300, "fileMode": 0o600},
            {"path": "/dev/fifo", "type": "p", "fileMode": 0o622, "uid": 7},
            {"path": "/dev/deep/in/here", "type": "c", "major": 10, "minor": 200},
            // Docker and containerd write the file's type into the mode as well.
            {"path": "/dev/whole", "type": "c", "major": 1, "minor": 8, "fileMode": 0o20666},
            {"path": "/outside", "type": "c", "major": 1, "minor": 7, "fileMode": 0},
        ]),
    );
    let files =
        "/dev/char /dev/unbuffered /dev/block /dev/fifo /dev/deep/in/here /dev/whole /outside";
    let outside = bundle.rootfs().join("outside");
    let told = look(coracle, bundle, &format!("{STAT} {files}; cat /dev/char | wc -c"));
    assert_eq!(
        told,
        "/dev/char character special file 1:3 640 1000:5\n\
         /dev/unbuffered character special file 1:5 4711 0:0\n\
         /dev/block block special file 7:12c 600 0:0\n\
         /dev/fifo fifo 0:0 622 7:0\n\
         /dev/deep/in/here character special file a:c8 666 0:0\n\
         /dev/whole character special file 1:8 666 0:0\n\
         /outside character special file 1:7 0 0:0\n\
         0\n"
    );
    assert_eq!(fs::metadata(outside).unwrap().rdev(), rustix::fs::makedev(1, 7));
    coracle.assert_nothing_left();
}

fn a_default_device_can_be_described(coracle: &Coracle) {
    let device = json!([{"path": "/dev/null", "type": "c", "major": 1, "minor": 3,
                         "fileMode": 0o600, "gid": 5}]);
    let bundle = coracle.bundle().set("/linux/devices", device);
    let told = look(coracle, bundle, &format!("{STAT} /dev/null /dev/zero"));
    assert!(told.contains("/dev/null character special file 1:3 600 0:5\n"), "{told}");
    assert!(told.contains("/dev/zero character special file 1:5 666 0:0\n"), "{told}");
}

fn what_is_there_serves_if_it_is_the_device(coracle: &Coracle) {
    let device = |mode: u32| json!([{"path": "/home/null", "type": "c", "major": 1, "minor": 3, "fileMode": mode}]);
    let bundle = coracle.bundle().set("/linux/devices", device(0o600));
    let node = bundle.rootfs().join("home/null");
    Call::new(["mknod"]).args([&node]).args(["c", "1", "3"]).output().succeeds();
    let told = look(coracle, bundle, &format!("{STAT} /home/null"));
    assert_eq!(told, "/home/null character special file 1:3 600 0:0\n");
    // Once more, from the same directory, with another mode.
    assert_eq!(fs::metadata(&node).unwrap().permissions().mode() & 0o7777, 0o600);
    coracle.assert_nothing_left();
}

/// The ways in which something else can be at the device's path.
fn in_the_way(coracle: &Coracle, device: &Value, users: bool) {
    for make in ["mkdir", "mkfifo", "ln -s /etc/passwd", "mknod -m 666 N c 1 5 #", "echo text >"] {
        let bundle = if users { mapped(coracle) } else { coracle.bundle() };
        let bundle = bundle.set("/linux/devices", json!([device])).sh("exit 0");
        let node = bundle.rootfs().join("home/null");
        let script = make.replace('N', node.to_str().unwrap());
        let made = Call::new(["sh", "-c", &format!("{script} {}", node.display())]).output();
        made.succeeds();
        let told = coracle.run(&bundle).fails();
        assert!(told.stderr.contains("another file is there"), "{make}: {told:?}");
        assert!(told.stderr.contains("/linux/devices/0"), "{make}: {told:?}");
        coracle.assert_nothing_left();
    }
}

fn a_mount_takes_the_place_of_a_device(coracle: &Coracle) {
    let mounts = [("/dev/urandom", "/dev/random"), ("/dev/zero", "/dev/mine")];
    let bundle = mounts.iter().fold(coracle.bundle(), |bundle, (source, place)| {
        let mount = json!({"source": source, "destination": place, "options": ["bind"]});
        bundle.set("/mounts/-", mount)
    });
    let mine = json!([{"path": "/dev/mine", "type": "c", "major": 1, "minor": 3}]);
    let bundle = bundle.set("/linux/devices", mine);
    let told = look(coracle, bundle, "stat -c '%t:%T' /dev/random /dev/mine /dev/null");
    assert_eq!(told, "1:9\n1:5\n1:3\n");
}

fn another_file_in_the_way_is_an_error(coracle: &Coracle) {
    let device = json!({"path": "/home/null", "type": "c", "major": 1, "minor": 3});
    in_the_way(coracle, &device, false);
    let device = json!({"path": "/home/null", "type": "p"});
    for make in ["mkdir", "echo text >"] {
        let bundle = coracle.bundle().set("/linux/devices", json!([device])).sh("exit 0");
        let node = bundle.rootfs().join("home/null");
        Call::new(["sh", "-c", &format!("{make} {}", node.display())]).output().succeeds();
        coracle.run(&bundle).fails().says("another file is there");
    }
    coracle.assert_nothing_left();
}

fn twice_the_same_is_once_and_twice_another_is_an_error(coracle: &Coracle) {
    let device = |minor: u32, mode: u32| json!({"path": "/dev/twice", "type": "c", "major": 1, "minor": minor, "fileMode": mode});
    let bundle =
        coracle.bundle().set("/linux/devices", json!([device(3, 0o600), device(3, 0o640)]));
    let told = look(coracle, bundle, &format!("{STAT} /dev/twice"));
    assert_eq!(told, "/dev/twice character special file 1:3 640 0:0\n");
    let bundle =
        coracle.bundle().set("/linux/devices", json!([device(3, 0o600), device(5, 0o600)]));
    let told = coracle.run(&bundle.sh("exit 0")).fails();
    assert!(told.stderr.contains("/linux/devices/1"), "{told:?}");
    coracle.assert_nothing_left();
}

fn in_a_user_namespace_the_host_s_are_bound(coracle: &Coracle) {
    let bundle = mapped(coracle).set(
        "/linux/devices",
        json!([
            {"path": "/dev/kmsg", "type": "c", "major": 1, "minor": 11},
            {"path": "/dev/mine", "type": "c", "major": 1, "minor": 5},
            {"path": "/dev/fifo", "type": "p", "fileMode": 0o600},
        ]),
    );
    let script = format!("{STAT} /dev/kmsg /dev/mine /dev/fifo; head -c 3 /dev/mine | wc -c");
    let told = look(coracle, bundle, &script);
    assert!(told.contains("/dev/kmsg character special file 1:b"), "{told}");
    // By its numbers, where the host has it under another name.
    assert!(told.contains("/dev/mine character special file 1:5"), "{told}");
    assert!(told.contains("/dev/fifo fifo 0:0 600 0:0\n3\n"), "{told}");
    coracle.assert_nothing_left();
}

#[test]
fn an_ordinary_user_gets_the_host_s_and_is_told_what_it_has_not() {
    let coracle = need!(Coracle::as_user());
    let device =
        |path: &str, minor: u32| json!([{"path": path, "type": "c", "major": 1, "minor": minor}]);
    let bundle = coracle.bundle().set("/linux/devices", device("/dev/other", 7));
    let told =
        look(&coracle, bundle, &format!("{STAT} /dev/other; echo x > /dev/other || echo full"));
    assert!(told.contains("/dev/other character special file 1:7"), "{told}");
    assert!(told.ends_with("full\n"), "{told}");
    let bundle = coracle.bundle().set("/linux/devices", device("/dev/none", 99));
    let told = coracle.run(&bundle.sh("exit 0")).fails();
    assert!(told.stderr.contains("/linux/devices/0"), "{told:?}");
    coracle.assert_nothing_left();
}

fn a_bound_device_takes_the_place_of_an_empty_file_only(coracle: &Coracle) {
    let device = json!({"path": "/home/null", "type": "c", "major": 1, "minor": 3});
    in_the_way(coracle, &device, true);
    // What an earlier container has left to bind on.
    let bundle = mapped(coracle).set("/linux/devices", json!([device]));
    let bundle = bundle.sh(&format!("{STAT} /home/null"));
    for _ in 0..2 {
        let told = coracle.run(&bundle).succeeds().stdout;
        assert!(told.starts_with("/home/null character special file 1:3"), "{told}");
    }
    coracle.assert_nothing_left();
}

fn wrong_devices_are_told_with_their_place(coracle: &Coracle) {
    for (device, place) in [
        (json!({"path": "dev/x", "type": "c", "major": 1, "minor": 3}), "/linux/devices/0/path"),
        (json!({"path": "/dev/x", "type": "c", "minor": 3}), "/linux/devices/0/major"),
        (
            json!({"path": "/dev/x", "type": "b", "major": 5000, "minor": 3}),
            "/linux/devices/0/major",
        ),
        (json!({"path": "/dev/x", "type": "x", "major": 1, "minor": 3}), "/linux/devices/0/type"),
        (
            json!({"path": "/dev/x", "type": "c", "major": 1, "minor": 3, "fileMode": 0o777_777}),
            "/linux/devices/0/fileMode",
        ),
    ] {
        let bundle = coracle.bundle().set("/linux/devices", json!([device])).sh("exit 0");
        let told = coracle.run(&bundle).fails();
        assert!(told.stderr.contains(place), "{place}: {told:?}");
    }
    coracle.assert_nothing_left();
}

/// Else the kernel would forbid init some of them: version 1 takes the rules one by one, beginning
/// with none allowed.
#[test]
fn the_rules_of_version_1_are_there_before_any_node() {
    let coracle = need!(Coracle::as_root());
    let tree = Path::new("/sys/fs/cgroup/devices");
    if !tree.join("cgroup.procs").exists() {
        return skipped("needs the devices controller in version 1");
    }
    // Many, which take their time.
    let rules = (0..4000).map(|minor| {
        json!({"allow": true, "type": "c", "major": 10, "minor": 300 + minor, "access": "rwm"})
    });
    let nothing = json!({"allow": false, "access": "rwm"});
    let bundle = coracle
        .bundle()
        .sh("exit 0")
        .set("/linux/devices", json!([{"path": "/node", "type": "c", "major": 1, "minor": 3}]))
        .set("/linux/resources/devices", std::iter::once(nothing).chain(rules).collect::<Value>());
    // It is there before, to be watched.
    let cgroup = tree.join(bundle.id());
    fs::create_dir(&cgroup).unwrap();
    let watch = inotify::init(inotify::CreateFlags::CLOEXEC).unwrap();
    let rules: Vec<i32> = ["devices.allow", "devices.deny"]
        .map(|file| {
            inotify::add_watch(&watch, cgroup.join(file), inotify::WatchFlags::MODIFY).unwrap()
        })
        .into();
    let root = inotify::add_watch(&watch, bundle.rootfs(), inotify::WatchFlags::CREATE).unwrap();
    coracle.run(&bundle).succeeds();
    let mut buffer = [MaybeUninit::uninit(); 4096];
    let mut events = inotify::Reader::new(&watch, &mut buffer);
    let mut written = 0;
    loop {
        let event = events.next().unwrap();
        let node = event.file_name().is_some_and(|name| name == c"node");
        if event.wd() == root && node {
            break;
        }
        written += usize::from(rules.contains(&event.wd()));
    }
    assert!(written > 0, "no rule was written before the node");
    // What follows are the removals.
    while !events.is_buffer_empty() {
        let event = events.next().unwrap();
        let late =
            rules.contains(&event.wd()) && event.events().contains(inotify::ReadFlags::MODIFY);
        assert!(!late, "a rule was written after the node");
    }
    coracle.assert_nothing_left();
}

coracle_tests::tests! {
    as_root, as_ranged_user, as_single_user =>
        a_mount_takes_the_place_of_a_device,
        another_file_in_the_way_is_an_error,
        wrong_devices_are_told_with_their_place,
        a_bound_device_takes_the_place_of_an_empty_file_only,
        in_a_user_namespace_the_host_s_are_bound;
    as_root =>
        a_default_device_can_be_described,
        every_type_with_its_numbers_mode_and_owner,
        twice_the_same_is_once_and_twice_another_is_an_error,
        what_is_there_serves_if_it_is_the_device;
}
