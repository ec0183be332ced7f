//! What is refused, and what it leaves alone.

use std::fs;

use coracle_tests::{Coracle, json, need};

use crate::saved::{Counter, criu, images, restore, save};

#[test]
fn what_does_not_run_cannot_be_saved() {
    let coracle = need!(Coracle::as_root());
    save(&coracle, "none", "one", &[]).fails().says("does not exist");
    let bundle = coracle.bundle().sh("true");
    coracle.create(&bundle);
    save(&coracle, bundle.id(), "one", &[]).fails().says("cannot be checkpointed in created state");
    coracle.call(["start", bundle.id()]).output().succeeds();
    coracle.becomes(bundle.id(), "stopped");
    save(&coracle, bundle.id(), "one", &[]).fails().says("cannot be checkpointed in stopped state");
    assert!(!images(&coracle, "one").exists());
    coracle.delete(bundle.id());
}

#[test]
fn wrong_words_are_told() {
    let coracle = need!(Coracle::as_root());
    for (option, value) in [
        ("--manage-cgroups-mode", "other"),
        ("--empty-ns", "pid"),
        ("--network-lock", "other"),
        ("--page-server", "127.0.0.1"),
        ("--page-server", ":27"),
        ("--page-server", "127.0.0.1:66000"),
        ("--status-fd", "x"),
    ] {
        save(&coracle, "none", "one", &[option, value]).fails().says(value);
    }
}

#[test]
fn what_is_no_checkpoint_cannot_be_restored() {
    need!(criu());
    let coracle = need!(Coracle::as_root());
    let counter = Counter::new(&coracle);
    restore(&counter, counter.id(), "none", &[]).fails().says("is no checkpoint");
    let bad = images(&coracle, "bad");
    fs::create_dir_all(&bad).unwrap();
    restore(&counter, counter.id(), "bad", &[]).fails().says("inventory.img");
    fs::write(bad.join("inventory.img"), "nonsense").unwrap();
    let failed = restore(&counter, counter.id(), "bad", &[]).fails();
    failed.says("criu could not restore the container").says("bad/restore.log");
    fs::write(bad.join("descriptors.json"), "[1]").unwrap();
    restore(&counter, counter.id(), "bad", &[]).fails().says("descriptors.json is damaged");
    coracle.assert_nothing_left();
}

#[test]
fn a_checkpoint_that_lacks_something_leaves_nothing() {
    need!(criu());
    let coracle = need!(Coracle::as_root());
    let counter = Counter::new(&coracle);
    counter.starts();
    counter.goes_on();
    save(&coracle, counter.id(), "one", &[]).succeeds();
    let mut files: Vec<_> =
        fs::read_dir(images(&coracle, "one")).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| {
        let name = path.file_name().unwrap().to_str().unwrap();
        ["core-1.", "mountpoints", "pages-1.", "cgroup."].iter().any(|part| name.starts_with(part))
    });
    assert_eq!(files.len(), 4, "{files:?}");
    for file in files {
        let kept = file.with_extension("kept");
        fs::rename(&file, &kept).unwrap();
        restore(&counter, counter.id(), "one", &[]).fails().says("restore.log");
        fs::rename(&kept, &file).unwrap();
        coracle.assert_nothing_left();
    }
    restore(&counter, counter.id(), "one", &[]).succeeds();
    coracle.delete(counter.id());
}

#[test]
fn an_id_in_use_stays_as_it_is() {
    need!(criu());
    let coracle = need!(Coracle::as_root());
    let counter = Counter::new(&coracle);
    counter.starts();
    counter.goes_on();
    save(&coracle, counter.id(), "one", &["--leave-running"]).succeeds();
    let pid = coracle.pid(counter.id());
    restore(&counter, counter.id(), "one", &[]).fails().says("already exists");
    assert_eq!(coracle.pid(counter.id()), pid);
    counter.goes_on();
    // Another container in the same cgroup would be limited by it, and ended with it.
    let other = counter.bundle().other_id("other");
    restore(&counter, &other, "one", &[]).fails().says("cgroup is not empty");
    counter.goes_on();
    coracle.delete(counter.id());
    coracle.assert_nothing_left();
}

#[test]
fn another_configuration_is_refused_by_criu() {
    need!(criu());
    let coracle = need!(Coracle::as_root());
    let bind = json!({ "destination": "/shared", "type": "bind", "source": coracle.path(),
                       "options": ["bind"] });
    let counter = Counter::new(&coracle).with(|bundle| bundle.set("/mounts/-", bind));
    counter.starts();
    counter.goes_on();
    save(&coracle, counter.id(), "one", &[]).succeeds();
    let counter = counter.with(|bundle| {
        let last = bundle.config()["mounts"].as_array().unwrap().len() - 1;
        bundle.remove(&format!("/mounts/{last}"))
    });
    restore(&counter, counter.id(), "one", &[]).fails().says("No mapping").says("restore.log");
    coracle.assert_nothing_left();
}

#[test]
fn without_criu_the_package_is_named() {
    let coracle = need!(Coracle::as_root());
    let counter = Counter::new(&coracle);
    counter.starts();
    // Wherever it is, it is hidden.
    let hide = "for d in $(echo $PATH:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
                | tr : ' '); do if [ -e $d/criu ]; then mount --bind /dev/null $d/criu; fi; done; \
                exec \"$@\"";
    let call = coracle.call(["checkpoint", "--image-path"]).args([images(&coracle, "one")]);
    let call = call.args([counter.id()]).through(["unshare", "-m", "sh", "-c", hide, "sh"]);
    call.output().fails().says("criu is not installed").says("install the package criu");
    counter.goes_on();
    coracle.delete(counter.id());
}

#[test]
fn an_ordinary_user_is_refused_with_the_reason() {
    let coracle = need!(Coracle::as_user());
    let bundle = coracle.bundle().sh("sleep 1000");
    coracle.start(&bundle);
    save(&coracle, bundle.id(), "one", &[]).fails().says("root");
    let call = coracle.call(["restore", "--bundle"]).args([bundle.path()]).args(["other"]);
    call.output().fails().says("root");
    assert_eq!(coracle.status(bundle.id()), "running");
    coracle.delete(bundle.id());
}
