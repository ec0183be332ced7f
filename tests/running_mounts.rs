//! Mounts of a container that runs: `mounts add` and `mounts remove`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};

use coracle_tests::{Bundle, Call, Coracle, Mount, Outcome, Value, json};
use rustix::mount::{MountFlags, UnmountFlags, mount, mount_remount, unmount};

/// `mounts add|remove` with this array.
fn change(coracle: &Coracle, what: &str, id: &str, mounts: &Value) -> Outcome {
    let file = coracle.path().join("mounts.json");
    fs::write(&file, mounts.to_string()).unwrap();
    coracle.call(["mounts", what, id]).args([file]).output()
}

fn add(coracle: &Coracle, bundle: &Bundle, mounts: &Value) -> Outcome {
    change(coracle, "add", bundle.id(), mounts)
}

fn remove(coracle: &Coracle, bundle: &Bundle, destination: &str) -> Outcome {
    change(coracle, "remove", bundle.id(), &json!([{"destination": destination}]))
}

fn inside(coracle: &Coracle, bundle: &Bundle, script: &str) -> String {
    coracle.call(["exec", bundle.id(), "sh", "-c", script]).output().stdout
}

/// What is mounted in the container: where, in order.
fn points(coracle: &Coracle, bundle: &Bundle) -> Vec<String> {
    let text = fs::read_to_string(format!("/proc/{}/mountinfo", coracle.pid(bundle.id()))).unwrap();
    Mount::parse(&text).into_iter().map(|mount| mount.point).collect()
}

/// A directory of the host with a file in it.
fn source(coracle: &Coracle) -> PathBuf {
    let path = coracle.home().join("source");
    fs::create_dir_all(path.join("below")).unwrap();
    fs::write(path.join("file"), "of the host\n").unwrap();
    path
}

fn bind(from: &Path, to: &str) -> Value {
    json!({"source": from, "destination": to, "options": ["rbind", "ro"]})
}

/// Containers whose mounts are made in different ways: root's with and without a user namespace,
/// and a user's.
fn each_kind(coracle: &Coracle) -> Vec<Bundle> {
    if coracle.user().is_some() {
        return vec![coracle.bundle()];
    }
    let bundles = vec![coracle.bundle(), in_user_namespace(coracle)];
    for bundle in &bundles {
        chown(bundle.rootfs(), Some(100_000), Some(100_000)).unwrap();
    }
    bundles
}

fn in_user_namespace(coracle: &Coracle) -> Bundle {
    if coracle.user().is_some() {
        return coracle.bundle();
    }
    let map = json!([{"containerID": 0, "hostID": 100_000, "size": 65536}]);
    coracle
        .bundle()
        .set("/linux/namespaces/-", json!({"type": "user"}))
        .set("/linux/uidMappings", map.clone())
        .set("/linux/gidMappings", map)
}

fn sleeping(bundle: Bundle) -> Bundle {
    bundle.set("/root/readonly", false).sh("sleep 1000")
}

fn mounts_come_and_go(coracle: &Coracle) {
    for bundle in each_kind(coracle) {
        let host = source(coracle);
        if coracle.user().is_none() {
            // Out of reach for the container's root, and bound all the same.
            fs::set_permissions(coracle.home(), fs::Permissions::from_mode(0o700)).unwrap();
        }
        let bundle = sleeping(bundle);
        let id = bundle.id();
        coracle.start(&bundle);
        let before = points(coracle, &bundle);
        let mounts = json!([
            {"source": "tmpfs", "destination": "/new/tmp", "type": "tmpfs", "options": ["size=64k", "mode=1777"]},
            bind(&host, "/new/tmp/data"),
            bind(&host.join("file"), "/new/file"),
        ]);
        let told = add(coracle, &bundle, &mounts).succeeds();
        assert_eq!((told.stdout.as_str(), told.stderr.as_str()), ("", ""));
        assert_eq!(
            points(coracle, &bundle)[before.len()..],
            ["/new/tmp", "/new/tmp/data", "/new/file"]
        );
        let script = "cat /new/file /new/tmp/data/file; stat -c %a /new/tmp; \
                      echo x > /new/file || echo x > /new/tmp/data/y || echo ro";
        let told = inside(coracle, &bundle, script);
        assert_eq!(told, "of the host\nof the host\n1777\nro\n");

        let record = coracle.state_directory().join(id).join("state.json");
        let record = || -> Value { fs::read_to_string(&record).unwrap().parse().unwrap() };
        let listed = record()["config"]["mounts"].as_array().unwrap().clone();
        let last =
            json!({"source": host.join("file"), "destination": "/new/file", "device": "bind"});
        assert_eq!(listed.last().unwrap(), &last);

        remove(coracle, &bundle, "/new/file").succeeds();
        let rest = json!([{"destination": "/new/tmp"}, {"destination": "/new/tmp/data"}]);
        change(coracle, "remove", id, &rest).succeeds();
        assert_eq!(points(coracle, &bundle), before);
        assert_eq!(record()["config"]["mounts"].as_array().unwrap().len(), listed.len() - 3);
        coracle.delete(id);
        change(coracle, "add", id, &mounts).fails().says("does not exist");
        coracle.assert_nothing_left();
    }
}

fn all_or_none(coracle: &Coracle) {
    let host = source(coracle);
    for bundle in each_kind(coracle) {
        let bundle = sleeping(bundle);
        coracle.start(&bundle);
        let before = points(coracle, &bundle);
        let good =
            [bind(&host, "/a"), bind(&host.join("file"), "/a/../f"), bind(&host, "/a/below")];
        for (bad, words) in [
            (bind(Path::new("/nowhere"), "/b"), "/mounts/3/source"),
            (bind(&host.join("file"), "/a"), "/mounts/3/destination"),
            (json!({"destination": "/b", "type": "no-such-type"}), "/mounts/3/type"),
            (
                json!({"destination": "/b", "type": "tmpfs", "options": ["size=x"]}),
                "/mounts/3/options/0",
            ),
            (bind(&host, "/proc/self"), "/mounts/3/destination"),
            (json!({"destination": "/b", "type": "proc"}), "/mounts/3/type"),
            (
                json!({"destination": "/b", "type": "tmpfs", "options": ["remount"]}),
                "/mounts/3/options/0",
            ),
            (json!({"destination": "", "type": "tmpfs"}), "/mounts/3/destination"),
        ] {
            let mut mounts = good.to_vec();
            mounts.push(bad);
            add(coracle, &bundle, &json!(mounts)).fails().says(words);
            assert_eq!(points(coracle, &bundle), before, "{words}");
        }
        add(coracle, &bundle, &json!({"destination": "/b"})).fails();

        add(coracle, &bundle, &json!(good)).succeeds();
        let there = points(coracle, &bundle);
        let some =
            json!([{"destination": "/a/below"}, {"destination": "/a"}, {"destination": "/a/none"}]);
        change(coracle, "remove", bundle.id(), &some).fails().says("/mounts/2/destination");
        remove(coracle, &bundle, "/").fails().says("root");
        remove(coracle, &bundle, "/bin").fails().says("nothing is mounted there");
        assert_eq!(points(coracle, &bundle), there);
        coracle.delete(bundle.id());
    }
    coracle.assert_nothing_left();
}

fn links_lead_nowhere_else(coracle: &Coracle) {
    let host = source(coracle);
    // There on the host, and in the container another place or none.
    let canary = coracle.path().join("canary");
    coracle.make_directory(&canary, 0o755);
    let bundle = sleeping(coracle.bundle().set("/linux/maskedPaths/-", "/proc/version"));
    coracle.start(&bundle);
    let canary_name = canary.display();
    let script = format!(
        "ln -s {canary_name} /out; ln -s ../../../../../../..{canary_name} /up; \
         ln -s /proc/1/root/tmp /magic; ln -s /tmp /fine; mkdir /real; ln -s /proc /linked"
    );
    inside(coracle, &bundle, &script);
    let before = points(coracle, &bundle);
    let own = || fs::read_to_string("/proc/self/mountinfo").unwrap();
    let ours = own();
    // What a link leads to is made in the container's root, and only there.
    for link in ["/out", "/up"] {
        add(coracle, &bundle, &json!([bind(&host, link)])).succeeds();
        let place = canary.to_str().unwrap();
        assert_eq!(points(coracle, &bundle).last().unwrap(), place, "{link}");
        remove(coracle, &bundle, place).succeeds();
        assert_eq!(points(coracle, &bundle), before, "{link}");
    }
    add(coracle, &bundle, &json!([bind(&host, "/magic")])).fails();
    assert_eq!(points(coracle, &bundle), before);
    assert_eq!((own(), fs::read_dir(&canary).unwrap().count()), (ours.clone(), 0));
    add(coracle, &bundle, &json!([bind(&host, "/fine")])).succeeds();
    assert_eq!(points(coracle, &bundle).last().unwrap(), "/tmp");
    // A link could lead to a mount that hides something.
    for through_link in ["/linked/version", "/fine"] {
        remove(coracle, &bundle, through_link).fails().says("without links");
    }
    assert_eq!(inside(coracle, &bundle, "wc -c < /proc/version").trim(), "0");

    // While the container swaps what is named for a link, over and over.
    let swapping = "while :; do rmdir /real; ln -s /proc/1/root /real; rm /real; mkdir /real; \
                    ln -s ../../../../.. /real/up; rm /real/up; done";
    let id = bundle.id();
    coracle.call(["exec", "--detach", id, "sh", "-c", swapping]).output().succeeds();
    for _ in 0..40 {
        let _ = add(coracle, &bundle, &json!([bind(&host, "/real/up/data")]));
    }
    assert_eq!(own(), ours);
    assert_eq!(fs::read_dir(&canary).unwrap().count(), 0);
    coracle.delete(id);
    coracle.assert_nothing_left();
}

/// What the host locks on a mount stays locked for the root of a container's user namespace.
fn the_host_s_flags_stay_locked(coracle: &Coracle) {
    if coracle.user().is_some_and(|user| !user.switch) {
        return coracle_tests::skipped("needs root, to mount on the host");
    }
    let host = coracle.home().join("locked");
    fs::create_dir(&host).unwrap();
    mount("tmpfs", &host, "tmpfs", MountFlags::empty(), None).unwrap();
    fs::write(host.join("file"), "of the host\n").unwrap();
    fs::set_permissions(host.join("file"), fs::Permissions::from_mode(0o666)).unwrap();
    let flags = MountFlags::BIND | MountFlags::RDONLY | MountFlags::NODEV | MountFlags::NOSUID;
    mount_remount(&host, flags, "").unwrap();
    let mut bundle = sleeping(in_user_namespace(coracle));
    if coracle.user().is_none() {
        chown(bundle.rootfs(), Some(100_000), Some(100_000)).unwrap();
    }
    for set in ["bounding", "permitted", "effective", "inheritable", "ambient"] {
        let pointer = format!("/process/capabilities/{set}");
        bundle = bundle.set(&pointer, json!(["CAP_SYS_ADMIN", "CAP_DAC_OVERRIDE"]));
    }
    coracle.start(&bundle);
    for options in [&["rbind"][..], &["bind", "rw", "dev"]] {
        let mount = json!({"source": host, "destination": "/mnt", "options": options});
        let added = add(coracle, &bundle, &json!([mount]));
        assert!(added.code == Some(0) || options.len() > 1, "{added:?}");
        if added.code == Some(0) {
            inside(coracle, &bundle, "mount -o remount,bind,rw /mnt; echo attacked > /mnt/file");
            remove(coracle, &bundle, "/mnt").succeeds();
        }
        assert_eq!(fs::read_to_string(host.join("file")).unwrap(), "of the host\n", "{options:?}");
    }
    coracle.delete(bundle.id());
    unmount(&host, UnmountFlags::DETACH).unwrap();
    coracle.assert_nothing_left();
}

fn a_container_that_has_ended_has_no_mounts(coracle: &Coracle) {
    let bundle = coracle.bundle().sh("exit 0");
    coracle.start(&bundle);
    coracle.becomes(bundle.id(), "stopped");
    let mounts = json!([bind(&source(coracle), "/a")]);
    add(coracle, &bundle, &mounts).fails().says("container not running");
    remove(coracle, &bundle, "/a").fails().says("container not running");
    coracle.delete(bundle.id());
    let missing = coracle.path().join("missing.json");
    coracle.call(["mounts", "add", "x"]).args([&missing]).output().fails().says("missing.json");
    Call::new([coracle.binary()]).args(["mounts", "change", "x", "y"]).output().fails();
}

coracle_tests::tests! {
    as_root, as_ranged_user, as_single_user =>
        mounts_come_and_go,
        all_or_none,
        links_lead_nowhere_else,
        the_host_s_flags_stay_locked,
        a_container_that_has_ended_has_no_mounts;
}
