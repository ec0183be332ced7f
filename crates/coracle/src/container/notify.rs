//! Telling a service manager that a container is ready (sd_notify(3)): the container says so on a
//! socket of its own, and only that is passed on, with the id of the process to watch.

use std::ffi::OsStr;
use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{AtFlags, Mode, mkdirat, unlinkat};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix,
    SocketFlags, SocketType, bind, connect, recv, send, sendmsg, socket_with,
};
use rustix::pipe::{PipeFlags, pipe_with};

use super::request::Request;
use crate::error::{Context, Error, Result};
use crate::plan::NOTIFY_SOCKET;
use crate::store::{self, Entry};

/// How long the service manager may take to read what it was sent, in seconds.
const PATIENCE: i64 = 30;

/// Makes the directory that the container gets to see.
pub(super) fn make_directory(entry: &Entry) -> Result<()> {
    // Whoever runs in the container has to reach the socket in it.
    let before = rustix::process::umask(Mode::empty());
    let made = mkdirat(entry.directory(), store::NOTIFY, Mode::from_raw_mode(0o755));
    rustix::process::umask(before);
    made.what(|| "making the directory of the notification socket")
}

/// The way from the container to the service manager.
#[derive(Debug)]
pub(super) struct Notify {
    /// Where the container speaks.
    container: OwnedFd,
    /// Where the service manager listens.
    manager: OwnedFd,
    told: bool,
}

impl Notify {
    /// Listens to a container that was made for it, on behalf of the service manager at `manager`.
    /// Why that cannot be goes to `warn`: the container can run without.
    pub(super) fn open(
        entry: &Entry,
        manager: &OsStr,
        warn: &mut impl FnMut(&str),
    ) -> Option<Self> {
        Self::try_open(entry, manager).inspect_err(|error| warn(&error.to_string())).ok()
    }

    /// The same, where the request is to start what it makes and has a service manager.
    pub(super) fn of_start(
        entry: &Entry,
        request: &Request,
        warn: &mut impl FnMut(&str),
    ) -> Option<Self> {
        let manager = request.notify_socket.as_deref().filter(|_| request.start)?;
        Self::open(entry, manager, warn)
    }

    fn try_open(entry: &Entry, manager: &OsStr) -> Result<Self> {
        let what = || format!("reaching the service manager at {}", manager.display());
        let address = match manager.as_bytes() {
            [b'@', name @ ..] => SocketAddrUnix::new_abstract_name(name),
            [b'/', ..] => SocketAddrUnix::new(manager),
            _ => Err(Errno::AFNOSUPPORT),
        };
        let help = |error: Error| error.help("NOTIFY_SOCKET is a path, or @ and a name");
        let manager = datagrams().what(what)?;
        connect(&manager, &address.what(what).map_err(help)?).what(what)?;

        let what = || "making the notification socket";
        let container = datagrams().what(what)?;
        let name = format!("{}/{NOTIFY_SOCKET}", store::NOTIFY);
        // Of a start that failed.
        let _ = unlinkat(entry.directory(), name.as_str(), AtFlags::empty());
        let path = format!("/proc/self/fd/{}/{name}", entry.directory().as_raw_fd());
        let address = SocketAddrUnix::new(path).what(what)?;
        let before = rustix::process::umask(Mode::empty());
        let bound = bind(&container, &address);
        rustix::process::umask(before);
        bound.what(what)?;
        Ok(Self { container, manager, told: false })
    }

    /// What to poll for, until the container has said that it is ready.
    pub(super) fn watch(&self) -> Option<PollFd<'_>> {
        (!self.told).then(|| PollFd::new(&self.container, PollFlags::IN))
    }

    /// Passes on that the container is ready, if it has said so by now: `main` is the process whose
    /// end is the service's.
    pub(super) fn pass_on(&mut self, main: u32) -> Result<()> {
        let mut text = [0; 4096];
        while !self.told {
            let said = match recv(&self.container, &mut text, RecvFlags::DONTWAIT) {
                Ok((length, _)) => &text[..length],
                Err(Errno::INTR) => continue,
                Err(_) => return Ok(()),
            };
            // Nothing else that it says is the service manager's business.
            if said.split(|byte| *byte == b'\n').any(|line| line == b"READY=1") {
                self.told = true;
                let message = format!("MAINPID={main}\nREADY=1\n");
                send(&self.manager, message.as_bytes(), SendFlags::NOSIGNAL)
                    .what(|| "telling the service manager that the container is ready")?;
            }
        }
        Ok(())
    }

    /// Waits until the container has said that it is ready, or its first process has ended, and
    /// passes it on. Returns once the service manager has read it. Why that cannot be goes to `warn`.
    pub(super) fn await_ready(self, pidfd: &OwnedFd, main: u32, warn: &mut impl FnMut(&str)) {
        if let Err(error) = self.try_await_ready(pidfd, main) {
            warn(&error.to_string());
        }
    }

    fn try_await_ready(mut self, pidfd: &OwnedFd, main: u32) -> Result<()> {
        let mut ended = false;
        while !self.told && !ended {
            let mut files =
                [PollFd::new(&self.container, PollFlags::IN), PollFd::new(pidfd, PollFlags::IN)];
            match poll(&mut files, None) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(errno) => return Err(errno).what(|| "waiting for the container to be ready"),
            }
            ended = !files[1].revents().is_empty();
            self.pass_on(main)?;
        }
        if self.told { self.barrier() } else { Ok(()) }
    }

    /// Waits for the service manager to have read all that it was sent (sd_notify_barrier(3)): it
    /// looks up who sent it, which is this process, and that ends now.
    fn barrier(&self) -> Result<()> {
        let what = || "waiting for the service manager";
        let (ours, theirs) = pipe_with(PipeFlags::CLOEXEC).what(what)?;
        let files = [theirs.as_fd()];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        control.push(SendAncillaryMessage::ScmRights(&files));
        let text = [IoSlice::new(b"BARRIER=1")];
        sendmsg(&self.manager, &text, &mut control, SendFlags::NOSIGNAL).what(what)?;
        drop(theirs);
        let limit = Timespec { tv_sec: PATIENCE, tv_nsec: 0 };
        // One that does not know of barriers says nothing, and that is no failure of ours.
        let _ = poll(&mut [PollFd::new(&ours, PollFlags::IN)], Some(&limit));
        Ok(())
    }
}

fn datagrams() -> Result<OwnedFd, Errno> {
    socket_with(AddressFamily::UNIX, SocketType::DGRAM, SocketFlags::CLOEXEC, None)
}
