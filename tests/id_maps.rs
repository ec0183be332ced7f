//! User namespaces: which IDs a container has, and whose they are outside.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::format_push_string)]

mod held;

use std::fs;
use std::os::unix::fs::MetadataExt;

use coracle_tests::{Bundle, Call, Coracle, Pty, User, json, need};
use held::{Held, joining, look, mapped};

#[test]
fn a_mapped_root_has_a_whole_container() {
    let coracle = need!(Coracle::as_root());
    let script = "cat /proc/self/uid_map /proc/self/setgroups; id -u; id -G; touch /tmp/own; \
                  stat -c '%n %u %t:%T' /dev/null /dev/zero; ls -d /proc/1 /sys/kernel; \
                  cat /proc/sys/kernel/hostname > /dev/null; ls -ldn /proc/1 | awk '{print $3}'";
    let bundle = mapped(&coracle).set("/process/user/additionalGids", json!([5, 1000]));
    let file = bundle.rootfs().join("tmp/own");
    let told = look(&coracle, bundle, script);
    let lines: Vec<&str> = told.lines().collect();
    assert_eq!(lines[0].split_whitespace().collect::<Vec<_>>(), ["0", "200000", "65536"]);
    assert_eq!(lines[1..4], ["allow", "0", "0 5 1000"]);
    let rest = ["/dev/null 65534 1:3", "/dev/zero 65534 1:5", "/proc/1", "/sys/kernel", "0"];
    assert_eq!(lines[4..], rest);
    let of = fs::metadata(file).unwrap();
    assert_eq!((of.uid(), of.gid()), (200_000, 200_000));
    coracle.assert_nothing_left();

    // A terminal belongs to its user.
    let bundle = mapped(&coracle)
        .set("/process/user", json!({"uid": 1000, "gid": 1000}))
        .set("/process/terminal", true)
        .sh("tty; stat -c %u $(tty); exit 3");
    let mut pty = Pty::new(24, 80);
    let run = pty.spawn(coracle.with_bundle("run", &bundle, &[]));
    pty.shows("/dev/pts/0\r\n1000\r\n");
    run.wait().exits(3);
    coracle.assert_nothing_left();
}

#[test]
fn whoever_is_root_the_process_can_be_adjusted() {
    let told = |coracle: &Coracle, bundle: Bundle| {
        let bundle = bundle.set("/process/oomScoreAdj", 500);
        look(coracle, bundle, "cat /proc/self/oom_score_adj")
    };
    let coracle = need!(Coracle::as_root());
    assert_eq!(told(&coracle, mapped(&coracle)), "500\n");
    let held = Held::mapped(&["--net"]);
    let joined = joining(mapped(&coracle), "user", &held.path("user"));
    assert_eq!(told(&coracle, joined), "500\n");
    let coracle = need!(Coracle::as_user());
    assert_eq!(told(&coracle, coracle.bundle()), "500\n");
    coracle.assert_nothing_left();
}

#[test]
fn several_ranges_are_mapped() {
    let coracle = need!(Coracle::as_root());
    let map = json!([
        {"containerID": 0, "hostID": 300_000, "size": 10},
        {"containerID": 1000, "hostID": 400_000, "size": 1},
        {"containerID": 65534, "hostID": 500_000, "size": 2},
    ]);
    let bundle = mapped(&coracle)
        .set("/linux/uidMappings", map.clone())
        .set("/linux/gidMappings", map)
        .set("/process/user", json!({"uid": 1000, "gid": 65535, "additionalGids": [9]}));
    Call::new(["chown", "-R", "300000:300000"]).args([bundle.rootfs()]).output().succeeds();
    Call::new(["chmod", "777"]).args([bundle.rootfs().join("tmp")]).output().succeeds();
    let file = bundle.rootfs().join("tmp/own");
    let told =
        look(&coracle, bundle, "id -u; id -g; id -G; touch /tmp/own; wc -l < /proc/self/uid_map");
    assert_eq!(told, "1000\n65535\n65535 9\n3\n");
    let of = fs::metadata(file).unwrap();
    assert_eq!((of.uid(), of.gid()), (400_000, 500_001));
    coracle.assert_nothing_left();
}

#[test]
fn root_need_not_be_mapped() {
    let coracle = need!(Coracle::as_user());
    let user: User = coracle.user().unwrap().clone();
    let map = |own: u32| json!([{"containerID": 1000, "hostID": own, "size": 1}]);
    let bundle = coracle
        .bundle()
        .set("/linux/uidMappings", map(user.uid))
        .set("/linux/gidMappings", map(user.gid))
        .set("/process/user", json!({"uid": 1000, "gid": 1000}));
    // They would belong to a group that is not there.
    let bundle = bundle.set(
        "/mounts",
        json!([
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs"},
        ]),
    );
    assert_eq!(look(&coracle, bundle, "id -u; id -g"), "1000\n1000\n");
    coracle.assert_nothing_left();
}

#[test]
fn wrong_mappings_are_told_with_their_place() {
    let coracle = need!(Coracle::as_root());
    let range = |inside: u32, outside: u32, size: u32| json!({"containerID": inside, "hostID": outside, "size": size});
    let too_many: Vec<_> = (0..341).map(|index| range(index, index + 100_000, 1)).collect();
    let too_long: Vec<_> = (0..200)
        .map(|index| range(1_000_000_000 + index * 2, 2_000_000_000 + index * 2, 1))
        .collect();
    for (map, place) in [
        (json!([range(0, 100_000, 10), range(5, 200_000, 10)]), "/linux/uidMappings/1"),
        (json!([range(0, 100_000, 10), range(10, 100_009, 10)]), "/linux/uidMappings/1"),
        (json!([range(0, 100_000, 0)]), "/linux/uidMappings/0/size"),
        (json!([range(0, u32::MAX - 5, 10)]), "/linux/uidMappings/0"),
        (json!([range(1, 100_000, 10)]), "/process/user/uid"),
        (json!(too_many), "/linux/uidMappings"),
    ] {
        let bundle = mapped(&coracle).set("/linux/uidMappings", map);
        let told = coracle.run(&bundle).fails();
        assert!(told.stderr.contains(place), "{place}: {told:?}");
    }
    let bundle = mapped(&coracle)
        .set("/linux/uidMappings", too_long)
        .set("/process/user/uid", 1_000_000_000);
    let told = coracle.run(&bundle).fails();
    assert!(told.stderr.contains("the id map is too long"), "{told:?}");
    coracle.assert_nothing_left();

    // What is not the user's to map.
    let coracle = need!(Coracle::as_user());
    let user = coracle.user().unwrap();
    let (first, count) = need!(user.subordinate_ids("subuid"));
    let map = json!([range(0, user.uid, 1), range(1, first, count), range(count + 1, 5, 1)]);
    let told = coracle.run(&coracle.bundle().set("/linux/uidMappings", map)).fails();
    assert!(told.stderr.contains("/linux/uidMappings/2"), "{told:?}");
    coracle.assert_nothing_left();
}

#[test]
fn root_of_a_user_namespace_maps_what_is_mapped_there() {
    let coracle = need!(Coracle::as_user());
    let user = coracle.user().unwrap();
    need!(user.subordinate_ids("subuid"));
    need!(user.subordinate_ids("subgid"));
    // As podman runs its runtime for an ordinary user.
    let host = Held::by(Some(user.clone()), &["--user", "--map-root-user", "--map-auto"]);
    let pid = host.pid().to_string();
    let inside = ["nsenter", "--user", "--target", &pid];
    let run = |map: coracle_tests::Value| {
        let bundle = coracle
            .bundle()
            .set("/linux/uidMappings", map.clone())
            .set("/linux/gidMappings", map)
            .set("/process/user", json!({"uid": 5, "gid": 6, "additionalGids": [7]}))
            .sh("cat /proc/self/uid_map; id -u; id -G");
        coracle.with_bundle("run", &bundle, &[]).through(inside).output()
    };
    let told = run(json!([
        {"containerID": 0, "hostID": 0, "size": 1},
        {"containerID": 1, "hostID": 100, "size": 50},
    ]));
    let told = told.succeeds().stdout;
    let words: Vec<&str> = told.split_whitespace().collect();
    assert_eq!(words, ["0", "0", "1", "1", "100", "50", "5", "6", "7"]);
    let told = run(json!([
        {"containerID": 0, "hostID": 0, "size": 1},
        {"containerID": 1, "hostID": 4_000_000_000_u32, "size": 50},
    ]));
    assert!(told.fails().stderr.contains("Mappings/1"));
    coracle.assert_nothing_left();
}

#[test]
fn without_newuidmap_it_is_told_what_to_install() {
    let coracle = need!(Coracle::as_user());
    let user = coracle.user().unwrap();
    let (first, _) = need!(user.subordinate_ids("subuid"));
    let map = json!([
        {"containerID": 0, "hostID": user.uid, "size": 1},
        {"containerID": 1, "hostID": first, "size": 10},
    ]);
    let bundle = coracle.bundle().set("/linux/uidMappings", map).sh("exit 0");
    let told = coracle.with_bundle("run", &bundle, &[]).env("PATH", "/nowhere").output().fails();
    assert!(told.stderr.contains("uidmap") && told.stderr.contains("/linux/uidMappings"));
    coracle.assert_nothing_left();
}

#[test]
fn groups_that_cannot_be_dropped_are_told() {
    let coracle = need!(Coracle::as_user());
    let bundle = coracle.bundle().set("/process/user/additionalGids", json!([0]));
    let told = coracle.run(&bundle).fails();
    assert!(told.stderr.contains("/process/user/additionalGids"), "{told:?}");
    coracle.assert_nothing_left();
}

#[test]
fn a_user_s_groups_do_not_come_along() {
    let coracle = need!(Coracle::as_user());
    let flags = ["--user", "--map-root-user", "--net"];
    let held = Held::by(coracle.user().cloned(), &flags);
    let bundle = joining(coracle.bundle(), "user", &held.path("user"));
    let bundle = bundle.remove("/linux/uidMappings").remove("/linux/gidMappings");
    // setgroups is forbidden there, and that is no reason to fail.
    assert_eq!(look(&coracle, bundle, "cat /proc/self/setgroups; id -u"), "deny\n0\n");
    coracle.assert_nothing_left();
}
