//! Programs in the kernel. A filter stays with its thread, and each test has one of its own.

use std::os::fd::AsFd;
use std::sync::mpsc;

use coracle::Errno;
use coracle::config::{Seccomp, SeccompAction};
use coracle::seccomp::{Program, is_available, native};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use rustix::mount::UnmountFlags;
use rustix::net::{AddressFamily, SocketType};

use super::{PROFILES, profile, program};

/// Runs something on a thread under a filter.
fn under<T: Send>(program: &Program, run: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            rustix::thread::set_no_new_privs(true).unwrap();
            let loaded = program.load();
            assert!(matches!(loaded, Ok(None)), "{loaded:?}\n{program}");
            run()
        });
        thread.join().unwrap()
    })
}

fn parse(text: &str) -> Seccomp {
    serde_json::from_str(text).unwrap()
}

fn openat2() -> Result<(), Errno> {
    let resolve = ResolveFlags::empty();
    rustix::fs::openat2(CWD, "/", OFlags::PATH, Mode::empty(), resolve).map(drop)
}

#[test]
fn the_kernel_takes_the_default_profiles_and_keeps_to_them() {
    for (name, _) in PROFILES {
        let program = program(&profile(name), native());
        let (open, unix, vsock, unmount) = under(&program, || {
            let socket = |family| rustix::net::socket(family, SocketType::STREAM, None).map(drop);
            (
                openat2(),
                socket(AddressFamily::UNIX),
                socket(AddressFamily::VSOCK),
                rustix::mount::unmount("/no/such/place", UnmountFlags::empty()),
            )
        });
        assert_eq!((open, unix, vsock), (Ok(()), Ok(()), Err(Errno::PERM)), "{name}");
        // Podman lets a container with a user namespace inside mount there.
        let denied = if name == "podman" { Errno::NOENT } else { Errno::PERM };
        assert_eq!(unmount, Err(denied), "{name}");
    }
}

#[test]
fn calls_newer_than_the_profile_do_not_exist() {
    let mut profile = profile("docker");
    let newer = ["openat2", "pidfd_getfd"];
    let newest = coracle::seccomp::number(native(), "openat2");
    for rule in &mut profile.syscalls {
        rule.names.retain(|name| {
            coracle::seccomp::number(native(), name) < newest && !newer.contains(&&name[..])
        });
    }
    profile.syscalls.retain(|rule| !rule.names.is_empty());
    assert_eq!(under(&program(&profile, native()), openat2), Err(Errno::NOSYS));
}

#[test]
fn arguments_are_judged_whole() {
    let profile = parse(
        r#"{
            "defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{
                "names": ["lseek"],
                "action": "SCMP_ACT_ERRNO",
                "errnoRet": 33,
                "args": [{ "index": 1, "value": 4294967301, "op": "SCMP_CMP_GE" }]
            }]
        }"#,
    );
    let seek = |to| {
        let file = std::fs::File::open("/proc/self/exe").unwrap();
        rustix::fs::seek(file, rustix::fs::SeekFrom::Start(to)).map(drop)
    };
    let places = [7, 1 << 32, (1 << 32) + 4, (1 << 32) + 5, 3 << 32];
    let answers = under(&program(&profile, native()), || places.map(seek));
    assert_eq!(answers, [Ok(()), Ok(()), Ok(()), Err(Errno::DOM), Err(Errno::DOM)]);
}

#[test]
fn a_listener_hears_of_a_call() {
    let profile = parse(
        r#"{
            "defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{ "names": ["openat2"], "action": "SCMP_ACT_NOTIFY" }]
        }"#,
    );
    let program = program(&profile, native());
    let (sender, receiver) = mpsc::channel();
    let thread = std::thread::spawn(move || {
        rustix::thread::set_no_new_privs(true).unwrap();
        sender.send(program.load().unwrap().unwrap()).unwrap();
        openat2()
    });
    let listener = receiver.recv().unwrap();
    let timeout = Timespec { tv_sec: 20, tv_nsec: 0 };
    let mut heard = [PollFd::from_borrowed_fd(listener.as_fd(), PollFlags::IN)];
    assert_eq!(poll(&mut heard, Some(&timeout)), Ok(1));
    // Nobody is there to answer any more.
    drop(listener);
    assert_eq!(thread.join().unwrap(), Err(Errno::NOSYS));
}

#[test]
fn all_actions_and_flags_of_a_profile_can_be_loaded() {
    for action in ["KILL", "KILL_PROCESS", "KILL_THREAD", "TRAP", "ERRNO", "TRACE", "ALLOW", "LOG"]
    {
        let text = format!(
            r#"{{
                "defaultAction": "SCMP_ACT_ALLOW",
                "syscalls": [{{ "names": ["openat2"], "action": "SCMP_ACT_{action}" }}],
                "flags": ["SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_SPEC_ALLOW",
                          "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"]
            }}"#
        );
        under(&program(&parse(&text), native()), || ());
    }
    let actions = [
        SeccompAction::Kill,
        SeccompAction::KillProcess,
        SeccompAction::KillThread,
        SeccompAction::Trap,
        SeccompAction::Errno,
        SeccompAction::Trace,
        SeccompAction::Allow,
        SeccompAction::Log,
        SeccompAction::Notify,
    ];
    for action in actions {
        assert_eq!(is_available(action), Ok(true), "{action:?}");
    }
}
