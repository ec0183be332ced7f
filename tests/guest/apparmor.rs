//! Profiles of AppArmor, loaded and enforced.

use coracle_tests::{Bundle, Call, Coracle, Outcome, host, json, need};

/// A profile that is loaded as long as this lives.
struct Profile {
    name: String,
    text: String,
}

impl Profile {
    /// Loads a profile with these rules.
    fn load(name: String, rules: &str) -> Self {
        // A container's paths are not the host's.
        let flags = "flags=(attach_disconnected,mediate_deleted)";
        let text = format!("profile {name} {flags} {{\n{rules}\n}}\n");
        let parser = Call::new(["apparmor_parser", "--replace", "--skip-cache"]);
        parser.stdin_text(&text).output().succeeds();
        Self { name, text }
    }

    /// One that forbids /secret, and nothing else.
    fn secretive(name: String) -> Self {
        Self::load(name, &format!("{ALL}\n deny /secret rw,"))
    }
}

impl Drop for Profile {
    fn drop(&mut self) {
        drop(Call::new(["apparmor_parser", "--remove"]).stdin_text(&self.text).output());
    }
}

const ALL: &str = " file, capability, network, mount, umount, pivot_root, signal, ptrace, unix,";

fn with_secret(coracle: &Coracle) -> Bundle {
    coracle.bundle().file("/secret", 0o644, "told\n").file("/open", 0o644, "told\n")
}

const LOOK: &str = "cat /proc/self/attr/current; cat /open; cat /secret";

#[test]
fn a_profile_holds_for_run_and_exec() {
    let coracle = need!(Coracle::as_root());
    need!(host::apparmor());
    let profile = Profile::secretive(format!("{}-first", coracle.name()));
    let other = Profile::load(format!("{}-second", coracle.name()), ALL);

    let bundle = with_secret(&coracle).sh(LOOK).set("/process/apparmorProfile", &*profile.name);
    let told = coracle.run(&bundle).fails().says("Permission denied");
    assert_eq!(told.stdout, format!("{} (enforce)\ntold\n", profile.name));

    let bundle =
        with_secret(&coracle).sh("sleep 1000").set("/process/apparmorProfile", &*profile.name);
    coracle.start(&bundle);
    let exec = |options: &[&str]| {
        coracle.call(["exec"]).args(options).args([bundle.id(), "sh", "-c", LOOK]).output()
    };
    let told = exec(&[]).fails().says("Permission denied");
    assert_eq!(told.stdout, format!("{} (enforce)\ntold\n", profile.name));
    let told = exec(&["--apparmor", &other.name]).succeeds();
    assert_eq!(told.stdout, format!("{} (enforce)\ntold\ntold\n", other.name));
    coracle.delete(bundle.id());
    coracle.assert_nothing_left();
}

#[test]
fn a_profile_holds_without_new_privileges_and_beside_a_filter() {
    let coracle = need!(Coracle::as_root());
    need!(host::apparmor());
    let profile = Profile::secretive(coracle.name().to_owned());
    for no_new_privileges in [true, false] {
        let bundle = with_secret(&coracle)
            .sh(LOOK)
            .set("/process/apparmorProfile", &*profile.name)
            .set("/process/noNewPrivileges", no_new_privileges)
            .set("/process/user", json!({"uid": 1000, "gid": 1000}))
            .set(
                "/linux/seccomp",
                json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
                    {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO"},
                ]}),
            );
        let told = coracle.run(&bundle).fails().says("Permission denied");
        assert_eq!(told.stdout, format!("{} (enforce)\ntold\n", profile.name));
    }
    coracle.assert_nothing_left();
}

#[test]
fn a_profile_that_is_not_loaded_is_told() {
    let coracle = need!(Coracle::as_root());
    need!(host::apparmor());
    let bundle = coracle.bundle().sh("true").set("/process/apparmorProfile", "nonesuch");
    coracle
        .run(&bundle)
        .fails()
        .says("AppArmor profile nonesuch")
        .says("/process/apparmorProfile")
        .says("load it with apparmor_parser");
    coracle.assert_nothing_left();

    let bundle = coracle.bundle().sh("sleep 1000");
    coracle.start(&bundle);
    let exec = coracle.call(["exec", "--apparmor", "nonesuch", bundle.id(), "true"]).output();
    exec.fails().says("nonesuch");
    assert_eq!(coracle.status(bundle.id()), "running");
    coracle.delete(bundle.id());
}

#[test]
fn unconfined_is_no_profile() {
    let coracle = need!(Coracle::as_root());
    need!(host::apparmor());
    let bundle = coracle
        .bundle()
        .sh("cat /proc/self/attr/current")
        .set("/process/apparmorProfile", "unconfined");
    assert_eq!(coracle.run(&bundle).succeeds().stdout, "unconfined\n");
}

/// What a profile for an engine in a container has, but for moves: rules of this kind name file
/// systems, and match mount(2) only.
const FOR_ENGINES: &str = " file, capability, network, umount, pivot_root, signal, ptrace, unix,
    mount fstype=proc, mount fstype=sysfs, mount fstype=tmpfs, mount fstype=devpts,
    mount fstype=mqueue, mount fstype=cgroup2, remount,
    mount options=(rw,rslave), mount options=(rw,slave), mount options=(rw,rprivate),
    mount options=(rw,private), mount options=(rw,bind), mount options=(rw,rbind),";

/// Runs it by a runtime that has the profile.
fn confined(coracle: &Coracle, bundle: &Bundle, profile: &Profile) -> Outcome {
    let run = coracle.with_bundle("run", bundle, &[]);
    run.through(["aa-exec", "-p", &profile.name, "--"]).output()
}

#[test]
fn a_confined_runtime_takes_a_rule_for_moves() {
    let coracle = need!(Coracle::as_root());
    need!(host::apparmor());
    let bundle = coracle.bundle().sh("cat /proc/self/attr/current");
    let profile = Profile::load(format!("{}-a", coracle.name()), FOR_ENGINES);
    confined(&coracle, &bundle, &profile).fails().says("/root/path").says("options=(rw, move)");
    let profile = Profile::load(
        format!("{}-b", coracle.name()),
        &format!("{FOR_ENGINES} mount options=(rw,move),"),
    );
    let told = confined(&coracle, &bundle, &profile).succeeds().stdout;
    assert_eq!(told, format!("{} (enforce)\n", profile.name));
    coracle.assert_nothing_left();
}

#[test]
fn a_confined_runtime_mounts_the_file_systems_that_its_profile_lists() {
    let coracle = need!(Coracle::as_root());
    need!(host::apparmor());
    // Attaching is forbidden but for the root: these go by mount(2). A bind mount would not.
    let rules = format!("{FOR_ENGINES} mount options=(rw,move) -> /**/rootfs/,");
    let profile = Profile::load(coracle.name().to_owned(), &rules);
    let bundle = coracle
        .bundle()
        .sh("grep -c -E '^(proc|sysfs|tmpfs|devpts|mqueue) ' /proc/mounts")
        .remove("/mounts/6")
        .remove("/linux/maskedPaths")
        .remove("/linux/readonlyPaths");
    let told = confined(&coracle, &bundle, &profile).succeeds().stdout;
    assert_eq!(told, "6\n");
    coracle.assert_nothing_left();
}
