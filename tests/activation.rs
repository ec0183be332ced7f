//! A container as a service: it says that it is ready (sd_notify(3)), and serves sockets that were
//! opened for it (sd_listen_fds(3)).
//!
//! The test plays the service manager. Busybox cannot speak on a datagram socket, so a few lines of
//! C do it in the container.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::io::{IoSliceMut, Read};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use coracle_tests::{Bundle, Call, Coracle, Outcome, copy_program, eventually, need};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

/// The service manager's end.
struct Manager {
    socket: UnixDatagram,
    path: PathBuf,
}

impl Manager {
    fn new(coracle: &Coracle) -> Self {
        let path = coracle.home().join("manager.sock");
        let socket = UnixDatagram::bind(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o777)).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        Self { socket, path }
    }

    /// The next message, and the descriptor that came along.
    #[track_caller]
    fn hears(&self) -> (String, Option<OwnedFd>) {
        let mut text = [0; 4096];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut parts = [IoSliceMut::new(&mut text)];
        let got = recvmsg(&self.socket, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC)
            .expect("the manager should have been told");
        let file = control.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut files) => files.next(),
            _ => None,
        });
        (String::from_utf8(text[..got.bytes].to_vec()).unwrap(), file)
    }

    fn is_left_alone(&self) -> bool {
        self.socket.set_nonblocking(true).unwrap();
        let heard = self.socket.recv(&mut [0; 16]).is_ok();
        self.socket.set_nonblocking(false).unwrap();
        !heard
    }
}

/// The program that speaks in the container: each argument is a message.
fn speaker(coracle: &Coracle) -> Result<PathBuf, String> {
    let path = coracle.path().join("speak");
    let source = coracle.path().join("speak.c");
    let text = r#"
#include <string.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
int main(int argc, char **argv) {
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    strncpy(to.sun_path, getenv("NOTIFY_SOCKET"), sizeof to.sun_path - 1);
    int fd = socket(AF_UNIX, SOCK_DGRAM, 0);
    for (int i = 1; i < argc; i++)
        if (sendto(fd, argv[i], strlen(argv[i]), 0, (void *)&to, sizeof to) < 0) return 1;
    return 0;
}
"#;
    fs::write(&source, text).unwrap();
    let words = ["cc", "-static", "-o", path.to_str().unwrap(), source.to_str().unwrap()];
    if !fs::exists("/usr/bin/cc").unwrap() {
        return Err("needs a C compiler".into());
    }
    Call::new(words).output().succeeds();
    Ok(path)
}

fn with_speaker(coracle: &Coracle, speaker: &Path) -> Bundle {
    let bundle = coracle.bundle();
    copy_program(speaker, &bundle.rootfs().join("bin/speak"));
    coracle.make_directory(&bundle.rootfs().join("run"), 0o755);
    bundle
}

/// Not ready yet, then words that are nobody's business, then ready, on the word `go`.
const SPEAK: &str = "echo socket=$NOTIFY_SOCKET; until [ -e /go ]; do sleep 0.01; done; \
    speak 'STATUS=MAINPID=1' \"$(printf 'MAINPID=1\nREADY=1\nSTATUS=x')\"; sleep 1000";

fn start_returns_once_the_container_is_ready(coracle: &Coracle) {
    let speaker = need!(speaker(coracle));
    let manager = Manager::new(coracle);
    let bundle = with_speaker(coracle, &speaker).sh(SPEAK);
    let id = bundle.id();
    let as_service = |call: Call| call.env("NOTIFY_SOCKET", &manager.path);
    let created = as_service(coracle.with_bundle("create", &bundle, &[])).output().succeeds();
    assert_eq!(coracle.status(id), "created");
    let start = as_service(coracle.call(["start", id])).spawn();
    coracle.becomes(id, "running");
    // It may ask for its state and be signalled while it is waited for.
    coracle.call(["kill", id, "CONT"]).output().succeeds();
    assert!(manager.is_left_alone());
    fs::write(bundle.rootfs().join("go"), "").unwrap();
    let pid = coracle.pid(id);
    assert_eq!(manager.hears().0, format!("MAINPID={pid}\nREADY=1\n"));
    let (barrier, file) = manager.hears();
    assert_eq!(barrier, "BARRIER=1");
    drop(file.expect("the barrier's descriptor"));
    assert_eq!(start.wait().succeeds().stderr, "");
    assert!(created.stdout_by_now().contains("socket=/run/notify/notify.sock"));
    coracle.delete(id);
    coracle.assert_nothing_left();
}

fn run_tells_of_itself_in_the_foreground_and_of_the_container_detached(coracle: &Coracle) {
    let speaker = need!(speaker(coracle));
    let manager = Manager::new(coracle);
    let bundle = with_speaker(coracle, &speaker).sh("speak READY=1; sleep 1000");
    let run = |options: &[&str]| {
        coracle.with_bundle("run", &bundle, options).env("NOTIFY_SOCKET", &manager.path).spawn()
    };
    let foreground = run(&[]);
    assert_eq!(manager.hears().0, format!("MAINPID={}\nREADY=1\n", foreground.pid()));
    coracle.call(["kill", bundle.id(), "KILL"]).output().succeeds();
    foreground.wait().exits(137);

    let detached = run(&["--detach"]);
    let (told, _) = manager.hears();
    assert_eq!(told, format!("MAINPID={}\nREADY=1\n", coracle.pid(bundle.id())));
    drop(manager.hears());
    detached.wait().succeeds();
    coracle.delete(bundle.id());
    coracle.assert_nothing_left();
}

fn one_that_ends_without_a_word_is_not_waited_for(coracle: &Coracle) {
    let manager = Manager::new(coracle);
    let bundle = coracle.bundle().sh("exit 0");
    coracle.make_directory(&bundle.rootfs().join("run"), 0o755);
    let run = |options: &[&str]| {
        coracle.with_bundle("run", &bundle, options).env("NOTIFY_SOCKET", &manager.path).output()
    };
    run(&["--detach"]).succeeds();
    coracle.becomes(bundle.id(), "stopped");
    coracle.delete(bundle.id());
    run(&[]).succeeds();
    assert!(manager.is_left_alone());
    coracle.assert_nothing_left();
}

fn a_manager_that_is_not_there_is_warned_of(coracle: &Coracle) {
    let bundle = coracle.bundle().sh("exit 4");
    coracle.make_directory(&bundle.rootfs().join("run"), 0o755);
    for socket in ["/nowhere.sock", "vsock:2:1"] {
        let run = coracle.with_bundle("run", &bundle, &[]).env("NOTIFY_SOCKET", socket).output();
        run.exits(4).says("service manager");
    }
    coracle.assert_nothing_left();
}

/// What the container may do to the directory of the socket does not outlive it.
fn a_directory_that_the_container_filled_goes_too(coracle: &Coracle) {
    let manager = Manager::new(coracle);
    // A link to what is not to be emptied: never a directory of the machine's.
    let canary = coracle.path().join("canary");
    coracle.make_directory(&canary, 0o755);
    fs::write(canary.join("file"), "").unwrap();
    let script = format!(
        "mount -o remount,rw,bind /run/notify && mkdir -p /run/notify/a/b && \
         ln -s {} /run/notify/canary && touch /run/notify/a/c; ls /run/notify",
        canary.display()
    );
    let bundle = ["bounding", "effective", "permitted"]
        .iter()
        .fold(coracle.bundle().sh(&script), |bundle, set| {
            bundle.set(&format!("/process/capabilities/{set}/-"), "CAP_SYS_ADMIN")
        });
    coracle.make_directory(&bundle.rootfs().join("run"), 0o755);
    let run = coracle.with_bundle("run", &bundle, &[]).env("NOTIFY_SOCKET", &manager.path);
    assert_eq!(run.output().succeeds().stdout, "a\ncanary\nnotify.sock\n");
    coracle.assert_nothing_left();
    assert!(canary.join("file").exists());
}

/// Runs the command as a service manager does, with a listening socket on 3 and a file on 4.
fn activated(coracle: &Coracle, call: Call, pid: &str) -> Outcome {
    let socket = coracle.path().join("listen.sock");
    let _ = fs::remove_file(&socket);
    let listener: OwnedFd = UnixListener::bind(&socket).unwrap().into();
    let script = format!(
        "exec 3<&0 4</etc/hostname </dev/null; \
         LISTEN_PID={pid} LISTEN_FDS=1 LISTEN_FDNAMES=web exec \"$@\""
    );
    let call = call.stdin(listener);
    call.through(["sh", "-c", &script, "sh"]).output().succeeds()
}

fn sockets_come_first_and_other_descriptors_behind_them(coracle: &Coracle) {
    let script = "echo $LISTEN_FDS $LISTEN_PID $LISTEN_FDNAMES.; for n in 3 4; do \
        readlink /proc/self/fd/$n; done; ls /proc/self/fd | wc -l";
    let bundle = coracle.bundle().sh(script);
    let run = coracle.with_bundle("run", &bundle, &["--preserve-fds", "1"]);
    let told = activated(coracle, run, "$$").stdout;
    let lines: Vec<&str> = told.lines().collect();
    assert_eq!(lines[0], "1 1 .");
    assert!(lines[1].starts_with("socket:"), "{told}");
    assert!(lines[2].ends_with("/etc/hostname"), "{told}");
    // Those two, the standard ones, and the one that ls reads the directory by.
    assert_eq!(lines[3], "6");

    // In another's pid namespace it is not the first.
    let shared = coracle.bundle().without_namespace("pid").sh("echo $LISTEN_PID $$");
    let run = coracle.with_bundle("run", &shared, &[]);
    let told = activated(coracle, run, "$$").stdout;
    let ids: Vec<&str> = told.split_whitespace().collect();
    assert_eq!(ids[0], ids[1]);
    coracle.assert_nothing_left();
}

fn sockets_of_another_process_are_not_taken(coracle: &Coracle) {
    let bundle = coracle.bundle().sh("echo $LISTEN_FDS.; ls /proc/self/fd | wc -l");
    let run = coracle.with_bundle("run", &bundle, &[]);
    let told = activated(coracle, run, "1").stdout;
    assert_eq!(told, ".\n4\n");
}

fn a_created_container_serves_its_sockets(coracle: &Coracle) {
    let script = "echo $LISTEN_FDS; test -S /proc/self/fd/3 && sleep 1000";
    let bundle = coracle.bundle().sh(script);
    let create = coracle.with_bundle("create", &bundle, &[]);
    let created = activated(coracle, create, "$$");
    coracle.call(["start", bundle.id()]).output().succeeds();
    eventually("it serves", || created.stdout_by_now() == "1\n");
    // The socket is the container's alone by now, and takes a connection.
    let mut stream = UnixStream::connect(coracle.path().join("listen.sock")).unwrap();
    coracle.delete(bundle.id());
    assert_eq!(stream.read(&mut [0; 1]).unwrap_or(0), 0);
    coracle.assert_nothing_left();
}

coracle_tests::tests! {
    as_root, as_ranged_user, as_single_user =>
        start_returns_once_the_container_is_ready,
        run_tells_of_itself_in_the_foreground_and_of_the_container_detached,
        one_that_ends_without_a_word_is_not_waited_for,
        a_manager_that_is_not_there_is_warned_of,
        a_directory_that_the_container_filled_goes_too,
        sockets_come_first_and_other_descriptors_behind_them,
        sockets_of_another_process_are_not_taken,
        a_created_container_serves_its_sockets;
}
