//! User namespaces: which IDs a container has, and whose they are outside.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::format_push_string)]

mod held;

use std::fs;
use std::os::unix::fs::MetadataExt;

use coracle_tests::{Call, Coracle, Pty, User, Value, json, need};
use held::{Held, joining, look, mapped};

fn a_mapped_root_has_a_whole_container(coracle: &Coracle) {
    let script = "cat /proc/self/uid_map /proc/self/setgroups; id -u; id -G; touch /tmp/own; \
                  stat -c '%n %u %t:%T' /dev/null /dev/zero; ls -d /proc/1 /sys/kernel; \
                  cat /proc/sys/kernel/hostname > /dev/null; ls -ldn /proc/1 | awk '{print $3}'";
    let bundle = mapped(coracle).set("/process/user/additionalGids", json!([5, 1000]));
    let file = bundle.rootfs().join("tmp/own");
    let map = bundle.config()["linux"]["uidMappings"].clone();
    let [first, groups] = ["uidMappings", "gidMappings"]
        .map(|list| bundle.config()["linux"][list][0]["hostID"].as_u64().unwrap());
    let told = look(coracle, bundle, script);
    let mut lines: Vec<&str> = told.lines().collect();
    for range in map.as_array().unwrap() {
        let line: Vec<&str> = lines.remove(0).split_whitespace().collect();
        let wanted = ["containerID", "hostID", "size"].map(|field| range[field].to_string());
        assert_eq!(line, wanted);
    }
    assert_eq!(lines[..3], ["allow", "0", "0 5 1000"]);
    let rest = ["/dev/null 65534 1:3", "/dev/zero 65534 1:5", "/proc/1", "/sys/kernel", "0"];
    assert_eq!(lines[3..], rest);
    let of = fs::metadata(file).unwrap();
    assert_eq!((u64::from(of.uid()), u64::from(of.gid())), (first, groups));
    coracle.assert_nothing_left();

    // A terminal belongs to its user.
    let bundle = mapped(coracle)
        .set("/process/user", json!({"uid": 1000, "gid": 1000}))
        .set("/process/terminal", true)
        .sh("tty; stat -c %u $(tty); exit 3");
    let mut pty = Pty::new(24, 80);
    let run = pty.spawn(coracle.with_bundle("run", &bundle, &[]));
    pty.shows("/dev/pts/0\r\n1000\r\n");
    run.wait().exits(3);
    coracle.assert_nothing_left();
}

fn whoever_is_root_the_process_can_be_adjusted(coracle: &Coracle) {
    let held = match coracle.user() {
        None => Held::mapped(&["--net"]),
        Some(_) => Held::of(coracle, &["--net"]),
    };
    let joined = joining(mapped(coracle), "user", &held.path("user"));
    for bundle in [mapped(coracle), held::with_user_of(coracle, joined, &held)] {
        let bundle = bundle.set("/process/oomScoreAdj", 500);
        assert_eq!(look(coracle, bundle, "cat /proc/self/oom_score_adj"), "500\n");
    }
    coracle.assert_nothing_left();
}

fn several_ranges_are_mapped(coracle: &Coracle) {
    // Of root any; of a user its own id and its subordinate ones.
    let starts = match coracle.user() {
        None => [[300_000, 400_000, 500_000]; 2],
        Some(user) => [("subuid", user.uid), ("subgid", user.gid)].map(|(file, own)| {
            let (first, count) = user.subordinate_ids(file).unwrap();
            assert!(count > 100, "a range of {count}");
            [first + 50, own, first + 7]
        }),
    };
    let map = |[low, middle, high]: [u32; 3]| {
        json!([
            {"containerID": 0, "hostID": low, "size": 10},
            {"containerID": 1000, "hostID": middle, "size": 1},
            {"containerID": 65534, "hostID": high, "size": 2},
        ])
    };
    let bundle = coracle.bundle();
    let bundle = if coracle.user().is_some() {
        bundle
    } else {
        bundle.set("/linux/namespaces/-", json!({"type": "user"}))
    };
    let bundle = bundle
        .set("/root/readonly", false)
        .set("/linux/uidMappings", map(starts[0]))
        .set("/linux/gidMappings", map(starts[1]))
        .set("/process/user", json!({"uid": 1000, "gid": 65535, "additionalGids": [9]}));
    if coracle.user().is_none() {
        Call::new(["chown", "-R", "300000:300000"]).args([bundle.rootfs()]).output().succeeds();
    }
    Call::new(["chmod", "777"]).args([bundle.rootfs().join("tmp")]).output().succeeds();
    let file = bundle.rootfs().join("tmp/own");
    let told =
        look(coracle, bundle, "id -u; id -g; id -G; touch /tmp/own; wc -l < /proc/self/uid_map");
    assert_eq!(told, "1000\n65535\n65535 9\n3\n");
    let of = fs::metadata(file).unwrap();
    assert_eq!((of.uid(), of.gid()), (starts[0][1], starts[1][2] + 1));
    coracle.assert_nothing_left();
}

fn root_need_not_be_mapped(coracle: &Coracle) {
    let user: User = coracle.user().unwrap().clone();
    let map = |own: u32, file: &str| {
        let mut map = json!([{"containerID": 1000, "hostID": own, "size": 1}]);
        if coracle.has_ids() {
            let (first, _) = user.subordinate_ids(file).unwrap();
            map.as_array_mut().unwrap().push(json!(
                {"containerID": 1001, "hostID": first, "size": 10}
            ));
        }
        map
    };
    let bundle = coracle
        .bundle()
        .set("/linux/uidMappings", map(user.uid, "subuid"))
        .set("/linux/gidMappings", map(user.gid, "subgid"))
        .set("/process/user", json!({"uid": 1000, "gid": 1000}));
    // They would belong to a group that is not there.
    let bundle = bundle.set(
        "/mounts",
        json!([
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs"},
        ]),
    );
    assert_eq!(look(coracle, bundle, "id -u; id -g"), "1000\n1000\n");
    coracle.assert_nothing_left();
}

fn range(inside: u32, outside: u32, size: u32) -> Value {
    json!({"containerID": inside, "hostID": outside, "size": size})
}

fn wrong_mappings_are_told_with_their_place(coracle: &Coracle) {
    let too_many: Vec<_> = (0..341).map(|index| range(index, index + 100_000, 1)).collect();
    for (map, place) in [
        (json!([range(0, 100_000, 10), range(5, 200_000, 10)]), "/linux/uidMappings/1"),
        (json!([range(0, 100_000, 10), range(10, 100_009, 10)]), "/linux/uidMappings/1"),
        (json!([range(0, 100_000, 0)]), "/linux/uidMappings/0/size"),
        (json!([range(0, u32::MAX - 5, 10)]), "/linux/uidMappings/0"),
        (json!([range(1, 100_000, 10)]), "/process/user/uid"),
        (json!(too_many), "/linux/uidMappings"),
    ] {
        let bundle = mapped(coracle).set("/linux/uidMappings", map);
        coracle.run(&bundle).fails().says(place);
    }
    coracle.assert_nothing_left();
}

#[test]
fn a_map_may_be_too_long_for_the_kernel() {
    let coracle = need!(Coracle::as_root());
    let too_long: Vec<_> = (0..200)
        .map(|index| range(1_000_000_000 + index * 2, 2_000_000_000 + index * 2, 1))
        .collect();
    let bundle = mapped(&coracle)
        .set("/linux/uidMappings", too_long)
        .set("/process/user/uid", 1_000_000_000);
    coracle.run(&bundle).fails().says("the id map is too long");
    coracle.assert_nothing_left();
}

/// Another's ids, and more than the range that is the user's.
fn what_is_not_the_user_s_to_map_is_told(coracle: &Coracle) {
    let user = coracle.user().unwrap();
    let (first, count) = need!(user.subordinate_ids("subuid"));
    let beyond = json!([range(0, user.uid, 1), range(1, first, count), range(count + 1, 5, 1)]);
    for (map, place) in [
        (beyond, "/linux/uidMappings/2"),
        (json!([range(0, user.uid, 1), range(1, 1, 10)]), "/linux/uidMappings/1"),
        (json!([range(0, 0, 1)]), "/linux/uidMappings"),
    ] {
        let bundle = coracle.bundle().set("/linux/uidMappings", map).sh("exit 0");
        coracle.run(&bundle).fails().says(place).says("help: ").says("/etc/subuid");
        coracle.assert_nothing_left();
    }
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
    let run = |map: Value| {
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

fn without_newuidmap_it_is_told_what_to_install(coracle: &Coracle) {
    let user = coracle.user().unwrap();
    let (first, _) = need!(user.subordinate_ids("subuid"));
    let map = json!([
        {"containerID": 0, "hostID": user.uid, "size": 1},
        {"containerID": 1, "hostID": first, "size": 10},
    ]);
    let bundle = coracle.bundle().set("/linux/uidMappings", map).sh("exit 0");
    let told = coracle.with_bundle("run", &bundle, &[]).env("PATH", "/nowhere").output().fails();
    // Those of groups come first.
    let place = if coracle.has_ids() { "/linux/gidMappings" } else { "/linux/uidMappings" };
    told.says(place).says("help: ").says("uidmap");
    coracle.assert_nothing_left();
}

fn groups_that_cannot_be_dropped_are_told(coracle: &Coracle) {
    let bundle = coracle.bundle().set("/process/user/additionalGids", json!([0]));
    let told = coracle.run(&bundle).fails();
    assert!(told.stderr.contains("/process/user/additionalGids"), "{told:?}");
    coracle.assert_nothing_left();
}

fn a_user_s_groups_do_not_come_along(coracle: &Coracle) {
    let held = Held::of(coracle, &["--net"]);
    let bundle = held::with_user_of(coracle, coracle.bundle(), &held);
    // With one id setgroups is forbidden there, and that is no reason to fail.
    let groups = if coracle.has_ids() { "allow\n0\n0\n" } else { "deny\n0\n0\n" };
    assert_eq!(look(coracle, bundle, "cat /proc/self/setgroups; id -u; id -G"), groups);
    coracle.assert_nothing_left();
}

coracle_tests::tests! {
    as_root, as_ranged_user =>
        a_mapped_root_has_a_whole_container,
        several_ranges_are_mapped;
    as_root, as_ranged_user, as_single_user =>
        whoever_is_root_the_process_can_be_adjusted,
        wrong_mappings_are_told_with_their_place;
    as_ranged_user, as_single_user =>
        root_need_not_be_mapped,
        what_is_not_the_user_s_to_map_is_told,
        without_newuidmap_it_is_told_what_to_install,
        a_user_s_groups_do_not_come_along;
    as_single_user => groups_that_cannot_be_dropped_are_told;
}
