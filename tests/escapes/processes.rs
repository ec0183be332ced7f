//! Processes of the runtime among those of the container.

use coracle_tests::{Bundle, Coracle, Pty, eventually, json, need};

use crate::{attacker, exec, with_capabilities};

/// Watches the processes that `exec` makes from inside, as an attack does; what was seen of them.
fn watched(coracle: &Coracle, bundle: Bundle) -> String {
    attacker::bring(&bundle);
    let bundle = bundle.args(attacker::arguments("watch"));
    let started = coracle.start(&bundle);
    eventually("the attack is on", || started.stdout_by_now().contains("watching"));
    for _ in 0..40 {
        exec(coracle, &bundle, &[], &["true"]).succeeds();
    }
    let told = started.stdout_by_now();
    coracle.delete(bundle.id());
    assert!(told.contains("capabilities"), "the attack saw nothing: {told}");
    told
}

/// With a user namespace in which the container's root has every right over its processes.
fn in_user_namespace(coracle: &Coracle) -> Bundle {
    let bundle = with_capabilities(coracle.bundle(), &["CAP_SYS_PTRACE"]);
    if coracle.user().is_some() {
        return bundle;
    }
    let map = json!([{"containerID": 0, "hostID": 100_000, "size": 65536}]);
    bundle
        .set("/linux/namespaces/-", json!({"type": "user"}))
        .set("/linux/uidMappings", map.clone())
        .set("/linux/gidMappings", map)
}

/// CVE-2016-9962: a process of the container gets at one that is about to join it, with the host's
/// memory and descriptors.
#[test]
fn nothing_can_be_had_of_a_process_that_joins_a_user_namespace() {
    for coracle in [need!(Coracle::as_root()), need!(Coracle::as_user())] {
        let told = watched(&coracle, in_user_namespace(&coracle));
        let kinds = ["memory ", "cwd ", "root ", "descriptor "];
        let loot = |line: &&str| kinds.iter().any(|kind| line.starts_with(kind));
        let got: Vec<&str> = told.lines().filter(loot).collect();
        assert_eq!(got, Vec::<&str>::new());
    }
}

/// CVE-2016-9962: with CAP_SYS_PTRACE over the host's user namespace a container's process may
/// trace another in any case. It gains by it no descriptor of the host, and no capability that
/// breaks out.
#[test]
fn a_process_that_joins_brings_nothing_of_the_host_along() {
    let coracle = need!(Coracle::as_root());
    // CHOWN, SETGID, SETUID, SETPCAP, SYS_PTRACE, SYS_RESOURCE.
    let allowed = 1_u64 | 1 << 6 | 1 << 7 | 1 << 8 | 1 << 19 | 1 << 24;
    let bundle = with_capabilities(coracle.bundle(), &["CAP_SYS_PTRACE"]);
    brings_only(allowed, &watched(&coracle, bundle));
    // With a filter and without no-new-privileges SYS_ADMIN too, and nothing else.
    let filter = json!({"defaultAction": "SCMP_ACT_ALLOW"});
    let bundle = with_capabilities(coracle.bundle(), &["CAP_SYS_PTRACE"]);
    let bundle = bundle.set("/linux/seccomp", filter).set("/process/noNewPrivileges", false);
    brings_only(allowed | 1 << 21, &watched(&coracle, bundle));
}

/// Nothing was seen but these capabilities, and descriptors and directories of no use.
fn brings_only(allowed: u64, told: &str) {
    for line in told.lines() {
        if let Some(mask) = line.strip_prefix("capabilities ") {
            let mask = u64::from_str_radix(mask, 16).unwrap();
            assert_eq!(mask & !allowed, 0, "{told}");
        }
        if let Some(file) = line.strip_prefix("descriptor ") {
            // The last is the container's, read for HOME.
            let harmless = ["socket:", "pipe:", "/dev/null", "/memfd:", "/etc/passwd"];
            assert!(harmless.iter().any(|start| file.starts_with(start)), "{told}");
        }
        if let Some(place) = line.strip_prefix("cwd ").or(line.strip_prefix("root ")) {
            assert_eq!(place, "/", "{told}");
        }
    }
}

/// CVE-2024-21626: a descriptor of a directory of the host that is open in the container's first
/// process, or in one that `exec` makes, is a way out: as the working directory, as part of the
/// program's path.
fn no_descriptor_leads_out(coracle: &Coracle) {
    let bundle = coracle.bundle().sh("sleep 1000");
    coracle.start(&bundle);
    let mut other = coracle.bundle().sh("pwd; ls");
    for number in 3..24 {
        let place = format!("/proc/self/fd/{number}");
        let out = format!("{place}/../../../../bin/busybox");
        exec(coracle, &bundle, &["--cwd", &place], &["true"]).fails();
        exec(coracle, &bundle, &["--cwd", &format!("{place}/..")], &["true"]).fails();
        exec(coracle, &bundle, &[], &[&out, "true"]).fails();
        other = other.set("/process/cwd", place.as_str());
        coracle.run(&other).fails();
    }
    let script = ["sh", "-c", "ls /proc/self/fd; readlink /proc/self/cwd"];
    let told = exec(coracle, &bundle, &[], &script).succeeds().stdout;
    // The fourth is the listing's own.
    assert_eq!(told, "0\n1\n2\n3\n/\n");
    coracle.delete(bundle.id());
}

#[test]
fn no_descriptor_leads_out_of_the_root() {
    no_descriptor_leads_out(&need!(Coracle::as_root()));
}

#[test]
fn no_descriptor_leads_out_of_the_root_as_a_user() {
    no_descriptor_leads_out(&need!(Coracle::as_user()));
}

/// Hooks that run in the container may be the image's own programs.
#[test]
fn hooks_in_the_container_get_nothing_of_the_host() {
    let coracle = need!(Coracle::as_root());
    let script = "ls -l /proc/self/fd | sed 's/.* //' > /tmp/seen; readlink /proc/self/cwd \
                  >> /tmp/seen; cat /proc/1/maps /proc/1/mem >> /tmp/seen 2>/dev/null; true";
    let hook = json!({"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/bin"]});
    let bundle = coracle.bundle().set("/hooks/startContainer/-", hook).set("/root/readonly", false);
    coracle.run(&bundle.sh("cat /tmp/seen")).succeeds().stdout.lines().for_each(|line| {
        // Files in memory that were made for it, with the state and for what it says, are deleted.
        let harmless =
            ["0", "3", "pipe:", "(deleted)", "/dev/null", "/tmp/seen", "/proc/", "/", "socket:"];
        assert!(
            harmless.iter().any(|one| line == *one || one.len() > 1 && line.starts_with(one)),
            "{line}"
        );
    });
}

/// A container that has the host's terminal for its standard input types into it, and the shell
/// from which it was started does what it says.
#[test]
fn the_terminal_of_the_host_cannot_be_typed_into() {
    let coracle = need!(Coracle::as_root());
    let bundle = coracle.bundle().args(attacker::arguments("type_into_the_terminal"));
    attacker::bring(&bundle);
    let mut terminal = Pty::new(24, 80);
    let running = terminal.spawn(coracle.with_bundle("run", &bundle, &[]));
    terminal.shows("TIOCSTI: ");
    running.wait().exits(0);
    let told = terminal.rest();
    assert!(!told.contains("done") && !told.contains("touch"), "{told}");
}
