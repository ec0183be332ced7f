//! An ordinary user to whom systemd has delegated controllers.

use std::fs;

use coracle_tests::{Bundle, Coracle, controlled, eventually, json, need};

/// A bundle whose cgroup is below the user's own.
fn delegated(coracle: &Coracle) -> Bundle {
    let uid = coracle.user().unwrap().uid;
    let bundle = coracle.bundle();
    let own = format!("/user.slice/user-{uid}.slice/user@{uid}.service");
    let path = format!("{own}/{}", bundle.id());
    bundle.set("/linux/cgroupsPath", path)
}

#[test]
fn a_user_s_limits_are_held() {
    let coracle = need!(Coracle::in_session());
    let bundle = delegated(&coracle)
        .sh("tail /dev/zero; echo ended with $?; sleep 1000")
        .limited(&json!({"memory": {"limit": 16 << 20, "swap": 16 << 20}, "pids": {"limit": 12}}));
    let id = bundle.id();
    let started = coracle.start(&bundle);
    eventually("tail is killed", || started.stdout_by_now().contains("ended with 137"));
    let (path, _) = controlled(coracle.pid(id), "memory").unwrap();
    assert!(path.ends_with(id), "{}", path.display());
    let limit = || fs::read_to_string(path.join("pids.max")).unwrap();
    assert_eq!(limit(), "12\n");
    coracle.call(["update", "--pids-limit", "15", id]).output().succeeds();
    assert_eq!(limit(), "15\n");
    let told = coracle.call(["events", "--stats", id]).output().succeeds().stdout;
    assert!(told.contains("\"limit\":15"), "{told}");
    coracle.delete(id);
    assert!(!path.exists(), "the cgroup is left");
    coracle.assert_nothing_left();
}

#[test]
fn a_user_s_container_is_paused_and_gone_on_with() {
    let coracle = need!(Coracle::in_session());
    let bundle = delegated(&coracle).sh("sleep 1000");
    let id = bundle.id();
    coracle.start(&bundle);
    coracle.call(["pause", id]).output().succeeds();
    assert_eq!(coracle.status(id), "paused");
    coracle.call(["resume", id]).output().succeeds();
    assert_eq!(coracle.status(id), "running");
    let listed = coracle.call(["ps", "--format", "json", id]).output().succeeds().stdout;
    assert!(listed.contains(&coracle.pid(id).to_string()), "{listed}");
    assert_eq!(coracle.call(["exec", id, "echo", "inside"]).output().succeeds().stdout, "inside\n");
    coracle.call(["kill", "--all", id, "KILL"]).output().succeeds();
    coracle.becomes(id, "stopped");
    coracle.delete(id);
    coracle.assert_nothing_left();
}
