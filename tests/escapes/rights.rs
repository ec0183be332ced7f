//! Users, capabilities, cgroups, and the state on disk.

use std::fs;
use std::os::unix::fs::{MetadataExt, chown, symlink};

use coracle_tests::{Call, Coracle, User, controllers, json, need};

use crate::exec;

/// CVE-2022-29162: capabilities in the inheritable set, which a program with inheritable file
/// capabilities would get back.
#[test]
fn exec_gives_no_inheritable_capabilities_uncalled_for() {
    let coracle = need!(Coracle::as_root());
    let bundle =
        coracle.bundle().sh("sleep 1000").set("/process/capabilities/inheritable", json!([]));
    coracle.start(&bundle);
    let look = ["grep", "-E", "CapInh|CapAmb", "/proc/self/status"];
    let told = exec(&coracle, &bundle, &["--cap", "CAP_SYS_ADMIN"], &look).succeeds().stdout;
    assert_eq!(told, "CapInh:\t0000000000000000\nCapAmb:\t0000000000000000\n");
    coracle.delete(bundle.id());
}

/// The greatest ID means "no change" to setresuid(2): whoever gets it would stay root.
#[test]
fn the_id_that_changes_nothing_is_refused() {
    let coracle = need!(Coracle::as_root());
    let bundle = coracle.bundle().sh("sleep 1000");
    coracle.start(&bundle);
    for user in ["4294967295", "4294967295:4294967295", "1000:4294967295", "-1"] {
        exec(&coracle, &bundle, &["--user", user], &["id"]).fails();
    }
    coracle.delete(bundle.id());
    for field in ["uid", "gid"] {
        let bundle = coracle.bundle().sh("id").set(&format!("/process/user/{field}"), u32::MAX);
        coracle.run(&bundle).fails();
    }
}

/// CVE-2023-25809: an ordinary user's container that sees the host's cgroups may not write those
/// that are the user's.
#[test]
fn cgroups_of_the_user_cannot_be_written_from_inside() {
    let coracle = need!(Coracle::as_user());
    let user = coracle.user().unwrap();
    // One in each tree that is the user's own, as a session's is.
    let name = format!("{}-own", coracle.name());
    for (_, own) in controllers(std::process::id()) {
        let own = own.join(&name);
        fs::create_dir(&own).unwrap();
        chown(&own, Some(user.uid), Some(user.gid)).unwrap();
    }
    let look = format!(
        "find /sys/fs/cgroup -name {name} | while read own; do \
           mkdir $own/below 2>/dev/null && echo made $own/below; done; ls /sys/fs/cgroup"
    );
    let told = coracle.run(&coracle.bundle().sh(&look)).succeeds().stdout;
    assert!(!told.contains("made") && !told.is_empty(), "{told}");
}

/// What is kept of a container names processes to be killed and hooks to be run, and init waits on
/// a socket there for the word to start: all of it is for its owner only.
#[test]
fn other_users_get_nothing_of_the_state() {
    let coracle = need!(Coracle::as_root());
    let user = need!(User::ordinary());
    let bundle = coracle.bundle().sh("sleep 1000");
    coracle.create(&bundle);
    let state = coracle.state_directory().join(bundle.id());
    let as_user = |script: &str| {
        let call = Call::new(["sh", "-c", script, "sh"]).args([&state]);
        call.user(Some(user.clone())).output()
    };
    as_user("ls \"$1\"").fails();
    as_user("cat \"$1/state.json\"").fails();
    as_user("cat \"$1/config.json\"").fails();
    as_user("echo > \"$1/new\"").fails();
    let of = fs::symlink_metadata(state.join("init.sock")).unwrap();
    assert_eq!(of.mode() & 0o077, 0, "others may connect");
    coracle.delete(bundle.id());
}

/// What a user keeps of a container could name any process to be killed, and root would kill it.
#[test]
fn root_does_not_trust_another_user_s_state() {
    let root = need!(Coracle::as_root());
    let coracle = need!(Coracle::as_user());
    let bundle = coracle.bundle().sh("sleep 1000");
    coracle.start(&bundle);
    let (state, id) = (coracle.state_directory(), bundle.id());
    let as_root = |args: &[&str]| {
        root.bare().args(["--root".as_ref(), state.as_os_str()]).args(args).output()
    };
    for args in [&["kill", id, "KILL"][..], &["delete", "--force", id], &["exec", id, "true"]] {
        as_root(args).fails().says("another user's");
    }
    assert_eq!(as_root(&["list", "--quiet"]).succeeds().stdout, "");
    assert_eq!(coracle.status(id), "running");
    coracle.delete(id);
    coracle.assert_nothing_left();
}

/// A link that was put where the pid file goes leads the number nowhere else.
#[test]
fn a_pid_file_is_not_written_through_a_link() {
    let coracle = need!(Coracle::as_root());
    let bundle = coracle.bundle().sh("sleep 1000");
    let secret = coracle.path().join("secret");
    fs::write(&secret, "untouched").unwrap();
    let place = coracle.path().join("pids");
    fs::create_dir(&place).unwrap();
    for name in ["pid", ".pid"] {
        symlink(&secret, place.join(name)).unwrap();
    }
    let option = place.join("pid");
    let options = ["--pid-file", option.to_str().unwrap()];
    coracle.with_bundle("create", &bundle, &options).output().succeeds();
    assert_eq!(fs::read_to_string(&secret).unwrap(), "untouched");
    assert_eq!(fs::read_to_string(&option).unwrap(), coracle.pid(bundle.id()).to_string());
    coracle.delete(bundle.id());
}
