//! What `features` tells is tried, as far as it can be here.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use coracle_tests::{Bundle, Coracle, Value, json, need};

/// What is told, by root and by anyone else alike.
fn features(coracle: &Coracle) -> Value {
    let told = coracle.bare().args(["features"]).output().succeeds();
    assert_eq!(told.stderr, "", "CRI-O reads both streams");
    told.stdout.parse().expect("features writes JSON")
}

fn names<'a>(features: &'a Value, pointer: &str) -> Vec<&'a str> {
    let list = features.pointer(pointer).and_then(Value::as_array).expect(pointer);
    list.iter().map(|name| name.as_str().unwrap()).collect()
}

#[test]
fn engines_find_what_they_look_for() {
    let coracle = need!(Coracle::as_root());
    let features = features(&coracle);
    assert!(features["linux"].is_object());
    assert!(names(&features, "/mountOptions").contains(&"rro"));
    assert!(names(&features, "/linux/namespaces").contains(&"user"));
    assert!(features.pointer("/linux/mountExtensions/idmap/enabled").is_some());
    let Ok(user) = Coracle::as_user() else { return };
    assert_eq!(self::features(&user), features);
}

fn every_mount_option(coracle: &Coracle) {
    let bundles = coracle.path().to_str().unwrap();
    for option in names(&features(coracle), "/mountOptions") {
        // Alone where it makes a mount, else on a mount that takes everything: with options of its
        // own, a file system that does not know one says so by its name.
        let bind = json!({"destination": "/mnt", "source": "/etc", "options": ["bind", option]});
        let mount = match option {
            "remount" => json!({"destination": "/proc", "options": ["remount", "nosuid"]}),
            // The file system's own; it may not be one of tmpfs.
            "acl" | "noacl" | "mand" | "iversion" | "silent" | "sync" | "dirsync" | "lazytime"
            | "tmpcopyup" => {
                json!({"destination": "/mnt", "type": "tmpfs", "options": [option]})
            }
            "idmap" | "ridmap" => {
                let map = json!([{"containerID": 0, "hostID": 0, "size": 1}]);
                json!({"destination": "/mnt", "source": bundles, "options": ["bind", option],
                       "uidMappings": map, "gidMappings": map})
            }
            _ => bind,
        };
        let bundle = coracle.bundle().set("/mounts/-", mount).sh("exit 0");
        let told = coracle.run(&bundle);
        if told.code != Some(0) {
            let forbidden = coracle.user().is_some() && told.stderr.contains("help: ");
            // The kernel may refuse what is known; the runtime may not.
            assert!(forbidden || told.stderr.contains("(EINVAL)"), "{option}: {}", told.stderr);
        }
    }
}

fn every_namespace(coracle: &Coracle) {
    let features = features(coracle);
    let all = names(&features, "/linux/namespaces");
    assert_eq!(all.len(), 8);
    let map = json!([{"containerID": 0, "hostID": 0, "size": 65536}]);
    let bundle = all.iter().fold(coracle.bundle(), |bundle: Bundle, kind| {
        bundle.without_namespace(kind).set("/linux/namespaces/-", json!({"type": kind}))
    });
    let files = all.iter().map(|kind| match *kind {
        "network" => "net",
        "mount" => "mnt",
        other => other,
    });
    let script = files.map(|file| format!("readlink /proc/self/ns/{file}"));
    let script = script.collect::<Vec<_>>().join("; ");
    let bundle = match coracle.user() {
        None => bundle.set("/linux/uidMappings", map.clone()).set("/linux/gidMappings", map),
        Some(_) => bundle,
    };
    let told = coracle.run(&bundle.sh(&script)).succeeds().stdout;
    assert_eq!(told.lines().count(), all.len());
    for link in told.lines() {
        let file = link.split(':').next().unwrap();
        let own = std::fs::read_link(format!("/proc/self/ns/{file}")).unwrap();
        assert_ne!(own.to_str(), Some(link));
    }
}

fn every_capability(coracle: &Coracle) {
    let bundle = coracle.bundle();
    let own = std::fs::read_to_string("/proc/self/status").unwrap();
    let own = own.lines().find_map(|line| line.strip_prefix("CapBnd:\t")).unwrap();
    // In a user namespace of its own an ordinary user has all that the kernel knows.
    let last = std::fs::read_to_string("/proc/sys/kernel/cap_last_cap").unwrap();
    let own = match coracle.user() {
        None => u64::from_str_radix(own, 16).unwrap(),
        Some(_) => (2 << last.trim().parse::<u32>().unwrap()) - 1,
    };
    let features = features(coracle);
    // Those that can be given.
    let names: Vec<&str> = names(&features, "/linux/capabilities")
        .into_iter()
        .zip(0..)
        .filter(|(_, bit)| own & 1_u64 << bit != 0)
        .map(|(name, _)| name)
        .collect();
    let bundle = ["bounding", "effective", "permitted"].iter().fold(bundle, |bundle, set| {
        bundle.set(&format!("/process/capabilities/{set}"), json!(names))
    });
    let bundle = bundle.sh("grep CapEff /proc/self/status");
    assert_eq!(coracle.run(&bundle).succeeds().stdout, format!("CapEff:\t{own:016x}\n"));
}

fn the_rest_is_refused_where_it_is_not_told(coracle: &Coracle) {
    let features = features(coracle);
    if features["linux"]["netDevices"]["enabled"] == false {
        let bundle = coracle.bundle().set("/linux/netDevices/none", json!({}));
        coracle.run(&bundle).fails().says("/linux/netDevices");
    }
}

coracle_tests::tests! {
    as_root, as_ranged_user, as_single_user =>
        every_mount_option,
        every_namespace,
        every_capability,
        the_rest_is_refused_where_it_is_not_told;
}
