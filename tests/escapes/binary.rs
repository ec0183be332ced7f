//! The runtime's own binary, which is the host's.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};

use coracle_tests::{Call, Coracle, copy_program, eventually, need};

use crate::{attacker, with_capabilities};

/// The command from a copy that belongs to whoever runs it, which an attack may spoil.
fn from_a_copy(coracle: &Coracle) -> PathBuf {
    let copy = coracle.path().join("copy");
    copy_program(coracle.binary(), &copy);
    fs::set_permissions(&copy, fs::Permissions::from_mode(0o755)).unwrap();
    if let Some(user) = coracle.user() {
        chown(&copy, Some(user.uid), Some(user.gid)).unwrap();
    }
    copy
}

fn call_copy(coracle: &Coracle, copy: &Path) -> Call {
    let mut call = Call::new([copy]).env("CORACLE_TEST", coracle.name());
    if let Some(user) = coracle.user() {
        call = call.user(Some(user.clone())).env("XDG_RUNTIME_DIR", coracle.path().join("xdg"));
    }
    call.args(["--root".as_ref(), coracle.state_directory().as_os_str()])
}

/// Shell: holds the executable of process $pid open as descriptor 5, says so, and then tries to
/// write it, directly and out of a user namespace of its own; halfway the process is let go, as
/// nobody can write what is being executed (ETXTBSY).
fn write_executable() -> String {
    let attack = attacker::arguments("write_descriptor_5").join(" ");
    format!(
        "exec 5</proc/$pid/exe && echo held; \
         for n in $(seq 100); do \
           (echo spoilt >> /proc/self/fd/5) 2>/dev/null && echo written; \
           if [ $((n % 10)) = 0 ]; then {attack}; unshare -U -r {attack}; fi; \
           if [ $n = 30 ] && [ -p /tmp/wait ]; then echo > /tmp/wait & fi; \
           sleep 0.01; \
         done; echo tried"
    )
}

/// CVE-2019-5736: the container has `exec` execute /proc/self/exe, which is then the runtime's own
/// binary as a process of the container, and writes it.
fn the_binary_is_executed_inside_and_written(coracle: &Coracle) {
    let copy = from_a_copy(coracle);
    let before = fs::read(&copy).unwrap();
    let bundle = coracle.bundle();
    let script = format!(
        "mkfifo /tmp/wait; echo ready; pid=; while [ -z \"$pid\" ]; do sleep 0.01; \
         pid=$(grep -l '^/proc/self/exe' /proc/[0-9]*/cmdline 2>/dev/null | \
         sed 's,/proc/\\([0-9]*\\)/.*,\\1,' | head -n 1); done; \
         {}; sleep 1000",
        write_executable()
    );
    attacker::bring(&bundle);
    let bundle = bundle.sh(&script).set("/root/readonly", false);
    let create = call_copy(coracle, &copy).args(["create", "--bundle"]).args([bundle.path()]);
    let created = create.args([bundle.id()]).output().succeeds();
    call_copy(coracle, &copy).args(["start", bundle.id()]).output().succeeds();
    eventually("the container runs", || created.stdout_by_now().contains("ready"));
    // As a program of the container, it waits for somebody to write to the fifo.
    let inside = ["/proc/self/exe", "exec", "--process", "/tmp/wait", "x"];
    let victim = call_copy(coracle, &copy).args(["exec", "--detach", bundle.id()]).args(inside);
    victim.output().succeeds();
    eventually("the attack is over", || created.stdout_by_now().contains("tried"));
    let told = created.stdout_by_now();
    assert!(told.contains("held"), "the attack found nothing to attack: {told}");
    assert!(!told.contains("written"), "{told}");
    assert!(fs::read(&copy).unwrap() == before, "the binary was changed");
    coracle.delete(bundle.id());
}

#[test]
fn the_binary_cannot_be_written_by_a_container_that_executes_it() {
    the_binary_is_executed_inside_and_written(&need!(Coracle::as_root()));
}

#[test]
fn the_binary_cannot_be_written_by_a_container_that_executes_it_as_a_user() {
    the_binary_is_executed_inside_and_written(&need!(Coracle::as_user()));
}

/// CVE-2019-5736: the same by way of the first process while it waits for its start, in a container
/// that may trace.
#[test]
fn the_binary_cannot_be_written_through_the_first_process() {
    let coracle = need!(Coracle::as_root());
    let copy = from_a_copy(&coracle);
    let before = fs::read(&copy).unwrap();
    let bundle = with_capabilities(coracle.bundle().sh("sleep 1000"), &["CAP_SYS_PTRACE"]);
    attacker::bring(&bundle);
    let create = call_copy(&coracle, &copy).args(["create", "--bundle"]).args([bundle.path()]);
    create.args([bundle.id()]).output().succeeds();
    let script = format!("pid=1; {}", write_executable());
    let attack = call_copy(&coracle, &copy).args(["exec", "--detach", bundle.id(), "sh", "-c"]);
    let attack = attack.args([&script]).output().succeeds();
    eventually("it holds the executable", || attack.stdout_by_now().contains("held"));
    // While it runs, nobody can write it (ETXTBSY): this ends its last process.
    call_copy(&coracle, &copy).args(["start", bundle.id()]).output().succeeds();
    eventually("the attack is over", || attack.stdout_by_now().contains("tried"));
    let told = attack.stdout_by_now();
    assert!(!told.contains("written"), "{told}");
    assert!(fs::read(&copy).unwrap() == before, "the binary was changed");
    coracle.delete(bundle.id());
}
