//! What goes to an engine: descriptors over sockets, and the pid file.

use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::net::{
    AddressFamily, SendFlags, SocketAddrUnix, SocketFlags, SocketType, connect as join, socket_with,
};

use super::relay;
use crate::error::{Context, Error, Result};
use crate::launch::Child;
use crate::wire::send_with;

/// Where an engine wants to be told of a new process.
#[derive(Clone, Debug, Default)]
pub struct Handover {
    /// A socket that the terminal is sent to.
    pub console_socket: Option<PathBuf>,
    /// A socket that a descriptor of the process is sent to.
    pub pidfd_socket: Option<PathBuf>,
    /// A file that the process's id is written to.
    pub pid_file: Option<PathBuf>,
}

impl Handover {
    /// Connects to the console socket, before anything is made that would have to be undone.
    pub(super) fn console(&self) -> Result<Option<OwnedFd>> {
        self.console_socket.as_deref().map(|path| connect(path, "console socket")).transpose()
    }

    /// Tells of a process that is ready to start.
    pub(super) fn announce(&self, child: &Child) -> Result<()> {
        if let Some(path) = &self.pidfd_socket {
            send_pidfd(path, child)?;
        }
        match &self.pid_file {
            Some(path) => write_pid_file(path, child.pid),
            None => Ok(()),
        }
    }

    /// Takes back what was told of a process that then did not start: conmon takes a pid file for
    /// one that did.
    pub(super) fn retract(&self) {
        if let Some(path) = &self.pid_file {
            let _ = std::fs::remove_file(path);
        }
    }
}

/// Sends a descriptor of the process to a socket.
pub(super) fn send_pidfd(path: &Path, child: &Child) -> Result<()> {
    let socket = connect(path, "pidfd socket")?;
    send(&socket, "pidfd", child.pidfd.as_fd())
}

/// Checks that the descriptors to pass on are open: one of ours would take the number of one that
/// is not, and be passed on.
pub(super) fn check_preserved(count: u32) -> Result<()> {
    for number in 3..3u32.saturating_add(count) {
        if std::fs::symlink_metadata(format!("/proc/self/fd/{number}")).is_err() {
            return Err(Error::new(format!(
                "please check that preserved-fd {number} (of {count}) is present"
            ))
            .help("--preserve-fds N passes the descriptors 3 to N+2, which must be open"));
        }
    }
    Ok(())
}

/// Sends a terminal to its socket; without one it is for this process to serve, at once in the
/// size of ours.
pub(super) fn deliver(socket: Option<&OwnedFd>, master: OwnedFd) -> Result<Option<OwnedFd>> {
    if let Some(socket) = socket {
        send(socket, "console", master.as_fd())?;
        return Ok(None);
    }
    relay::adopt_size(&master);
    Ok(Some(master))
}

/// Connects to an engine's socket.
pub(super) fn connect(path: &Path, what: &str) -> Result<OwnedFd> {
    let text = || format!("connecting to the {what} {}", path.display());
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)
        .what(text)?;
    let address = SocketAddrUnix::new(path).what(text)?;
    join(&socket, &address).what(text).map_err(|error| {
        error.help("somebody has to listen there; the path is at most 107 bytes long")
    })?;
    Ok(socket)
}

/// Sends one message with one descriptor (cli.md, "Console, pidfd socket").
fn send(socket: &OwnedFd, name: &str, file: BorrowedFd<'_>) -> Result<()> {
    send_all(socket, name, name.as_bytes(), file)
}

/// Sends a text with one descriptor; a stream may take it in pieces.
pub(super) fn send_all(
    socket: &OwnedFd,
    what: &str,
    text: &[u8],
    file: BorrowedFd<'_>,
) -> Result<()> {
    let what = || format!("sending the {what} to its socket");
    let mut sent = send_with(socket.as_fd(), text, file).what(what)?;
    while sent < text.len() {
        sent += rustix::net::send(socket, &text[sent..], SendFlags::NOSIGNAL).what(what)?;
    }
    Ok(())
}

/// Writes a process id in digits, without a newline, whole or not at all. What is there and is no
/// file, such as a fifo, is written to and not replaced.
fn write_pid_file(path: &Path, pid: u32) -> Result<()> {
    let what = || format!("writing the pid file {}", path.display());
    let special =
        std::fs::symlink_metadata(path).is_ok_and(|there| !there.is_file() && !there.is_symlink());
    if special {
        return std::fs::OpenOptions::new()
            .write(true)
            .open(path)
            .and_then(|mut file| write!(file, "{pid}"))
            .what(what);
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let temporary = path.with_file_name(format!(".{name}.{}", std::process::id()));
    let write = || -> std::io::Result<()> {
        // A new file, and not one that a link of this name leads to.
        let mut file = std::fs::File::create_new(&temporary)?;
        write!(file, "{pid}")?;
        std::fs::rename(&temporary, path)
    };
    write().what(what).inspect_err(|_| {
        let _ = std::fs::remove_file(&temporary);
    })
}
