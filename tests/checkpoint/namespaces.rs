//! Namespaces that a container joined, by the path of another's, and user namespaces of its own.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use coracle_tests::{Bundle, Call, Coracle, Value, json, need};

use crate::saved::{COUNT, Counter, criu, feature, images, restore, save};

/// What root of a user namespace is outside.
const ROOT: u32 = 100_000;

/// Its root is the image's owner.
fn in_user_namespace(bundle: Bundle) -> Bundle {
    let map = json!([{"containerID": 0, "hostID": ROOT, "size": 65536}]);
    let rootfs = bundle.rootfs();
    Call::new(["chown", "-Rh", "100000:100000", rootfs.to_str().unwrap()]).output().succeeds();
    bundle
        .set("/linux/namespaces/-", json!({ "type": "user" }))
        .set("/linux/uidMappings", map.clone())
        .set("/linux/gidMappings", map)
}

/// Which namespace a container's first process is in.
fn inode(coracle: &Coracle, id: &str, file: &str) -> PathBuf {
    fs::read_link(format!("/proc/{}/ns/{file}", coracle.pid(id))).unwrap()
}

/// A container that joined a namespace of one pod is saved, and joins that of another.
fn joins(kind: &str, file: &str, change: impl Fn(Bundle) -> Bundle) {
    let coracle = need!(Coracle::as_root());
    let joining = || {
        let pod = change(coracle.bundle().sh("sleep 1000"));
        coracle.start(&pod);
        let path = format!("/proc/{}/ns/{file}", coracle.pid(pod.id()));
        let bundle = coracle.bundle().sh(COUNT).without_namespace(kind);
        let namespace = json!({ "type": kind, "path": path });
        let bundle = bundle.set("/linux/namespaces/-", namespace);
        (Counter::of(&coracle, bundle, coracle.path().join("log")), pod)
    };
    let same = |counter: &Counter<'_>, pod: &Bundle| {
        counter.goes_on();
        assert_eq!(inode(&coracle, counter.id(), file), inode(&coracle, pod.id(), file));
    };
    let (counter, pod) = joining();
    counter.starts();
    same(&counter, &pod);
    save(&coracle, counter.id(), "one", &[]).succeeds();
    assert_eq!(coracle.status(pod.id()), "running");
    let (other, other_pod) = joining();
    restore(&other, other.id(), "one", &[]).succeeds();
    same(&other, &other_pod);
    for id in [other.id(), other_pod.id(), pod.id()] {
        coracle.delete(id);
    }
    coracle.assert_nothing_left();
}

#[test]
fn a_network_namespace_is_joined_again() {
    need!(criu());
    joins("network", "net", |pod| pod);
}

#[test]
fn an_ipc_namespace_is_joined_again() {
    need!(criu());
    joins("ipc", "ipc", |pod| pod);
}

#[test]
fn a_uts_namespace_is_joined_again() {
    need!(criu());
    joins("uts", "uts", |pod| pod.set("/hostname", "of-the-pod"));
}

#[test]
fn a_pid_namespace_is_joined_again() {
    need!(criu());
    joins("pid", "pid", |pod| pod);
}

#[test]
fn a_time_namespace_is_joined_again() {
    need!(feature("timens"));
    joins("time", "time", |pod| pod.set("/linux/namespaces/-", json!({ "type": "time" })));
}

#[test]
fn one_that_joined_a_user_namespace_gets_its_own() {
    need!(criu());
    let coracle = need!(Coracle::as_root());
    let pod = in_user_namespace(coracle.bundle().sh("sleep 1000"));
    coracle.start(&pod);
    let path = format!("/proc/{}/ns/user", coracle.pid(pod.id()));
    let counter = with_user_namespace(&coracle, |bundle| {
        let last = bundle.config()["linux"]["namespaces"].as_array().unwrap().len() - 1;
        let bundle = bundle.remove("/linux/uidMappings").remove("/linux/gidMappings");
        bundle.set(&format!("/linux/namespaces/{last}/path"), path.as_str())
    });
    counter.starts();
    counter.goes_on();
    save(&coracle, counter.id(), "one", &[]).succeeds();
    let failed = restore(&counter, counter.id(), "one", &[]).fails();
    failed.says("/linux/namespaces/").says("uidMappings");
    let other = Counter::writing_to(&coracle, counter.log()).with(in_user_namespace);
    restore(&other, other.id(), "one", &[]).succeeds();
    counter.goes_on();
    assert_ne!(inode(&coracle, other.id(), "user"), inode(&coracle, pod.id(), "user"));
    coracle.delete(other.id());
    coracle.delete(pod.id());
    coracle.assert_nothing_left();
}

/// A counter with a user namespace, whose standard output is a file of its root's: CRIU opens it as
/// that.
fn with_user_namespace(coracle: &Coracle, change: impl FnOnce(Bundle) -> Bundle) -> Counter<'_> {
    let counter = Counter::new(coracle).with(in_user_namespace).with(change);
    fs::write(counter.log(), "").unwrap();
    chown(counter.log(), Some(ROOT), Some(ROOT)).unwrap();
    counter
}

#[test]
fn a_user_namespace_comes_back() {
    need!(criu());
    let coracle = need!(Coracle::as_root());
    let counter = with_user_namespace(&coracle, |bundle| bundle);
    counter.starts();
    counter.goes_on();
    save(&coracle, counter.id(), "one", &[]).succeeds();
    // For nobody else to read.
    let mode = fs::metadata(images(&coracle, "one")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
    restore(&counter, counter.id(), "one", &[]).succeeds();
    counter.goes_on();
    let map = fs::read_to_string(format!("/proc/{}/uid_map", coracle.pid(counter.id()))).unwrap();
    assert_eq!(map.split_whitespace().collect::<Vec<_>>(), ["0", "100000", "65536"]);
    coracle.delete(counter.id());
    coracle.assert_nothing_left();
}

#[test]
fn images_of_a_strict_umask_are_read_in_a_user_namespace() {
    need!(criu());
    let coracle = need!(Coracle::as_root());
    let counter = with_user_namespace(&coracle, |bundle| bundle);
    counter.starts();
    counter.goes_on();
    let kept = images(&coracle, "one");
    let strict = ["sh", "-c", "umask 077; exec \"$@\"", "sh"];
    let call = coracle.call(["checkpoint", "--image-path"]).args([&kept]).args([counter.id()]);
    call.through(strict).output().succeeds();
    let refused = restore(&counter, counter.id(), "one", &["--auto-dedup"]).fails();
    refused.says("--auto-dedup cannot restore a container with a user namespace");
    coracle.assert_nothing_left();
    restore(&counter, counter.id(), "one", &[]).succeeds();
    counter.goes_on();
    coracle.delete(counter.id());
    coracle.assert_nothing_left();
}

/// Saves and restores a counter with ID-mapped mounts of a directory and of a file, both of user
/// 1000 on the host, and looks at their owners.
fn mapped(counter: Counter<'_>, coracle: &Coracle, mappings: &Value, owner: &str) {
    let directory = coracle.path().join("shared");
    fs::create_dir(&directory).unwrap();
    fs::write(directory.join("file"), "of the host\n").unwrap();
    for path in [directory.join("file"), directory.clone()] {
        chown(path, Some(1000), Some(1000)).unwrap();
    }
    let bind = |source: &Path, target: &str, option: &str| {
        let mut mount = json!({ "destination": target, "type": "bind", "source": source,
                                "options": ["rbind", option] });
        if option == "idmap" && !mappings.is_null() {
            mount["uidMappings"] = mappings.clone();
            mount["gidMappings"] = mappings.clone();
        }
        mount
    };
    let counter = counter.with(|bundle| {
        let bundle = bundle.set("/mounts/-", bind(&directory, "/mapped", "idmap"));
        let bundle = bundle.set("/mounts/-", bind(&directory.join("file"), "/one", "idmap"));
        bundle.set("/mounts/-", bind(&directory, "/plain", "ro"))
    });
    let look = "stat -c %u:%g /mapped/file /one /plain/file";
    let seen = || coracle.call(["exec", counter.id(), "sh", "-c", look]).output().succeeds().stdout;
    counter.starts();
    counter.goes_on();
    let before = seen();
    assert!(before.starts_with(&format!("{owner}\n{owner}\n")), "{before}");
    assert!(!before.ends_with(&format!("{owner}\n")), "{before}");
    save(coracle, counter.id(), "one", &[]).succeeds();
    restore(&counter, counter.id(), "one", &[]).succeeds();
    counter.goes_on();
    assert_eq!(seen(), before);
    let write = ["touch", "/mapped/new"];
    coracle.call(["exec", "--user", owner, counter.id()]).args(write).output().succeeds();
    assert_eq!(fs::metadata(directory.join("new")).unwrap().uid(), 1000);
    coracle.delete(counter.id());
    coracle.assert_nothing_left();
}

#[test]
fn id_mapped_mounts_are_mapped_again() {
    need!(criu());
    let coracle = need!(Coracle::as_root());
    let mappings = json!([{"containerID": 1000, "hostID": 7, "size": 1}]);
    mapped(Counter::new(&coracle), &coracle, &mappings, "7:7");
}

#[test]
fn so_they_are_in_a_user_namespace() {
    need!(criu());
    let coracle = need!(Coracle::as_root());
    let counter = with_user_namespace(&coracle, |bundle| bundle);
    mapped(counter, &coracle, &json!(null), "1000:1000");
}
