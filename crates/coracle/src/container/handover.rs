//! What goes to an engine: descriptors over sockets, and the pid file.

use std::io::Write;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect as join, socket_with,
};

use crate::error::{Context, Result};
use crate::wire::send_with;

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
pub(super) fn send(socket: &OwnedFd, name: &str, file: BorrowedFd<'_>) -> Result<()> {
    use std::os::fd::AsFd;
    send_with(socket.as_fd(), name.as_bytes(), file)
        .map(drop)
        .what(|| format!("sending the {name} to its socket"))
}

/// Writes a process id in digits, without a newline, whole or not at all.
pub(super) fn write_pid_file(path: &Path, pid: u32) -> Result<()> {
    let what = || format!("writing the pid file {}", path.display());
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let temporary = path.with_file_name(format!(".{name}"));
    let write = || -> std::io::Result<()> {
        let mut file = std::fs::File::create(&temporary)?;
        write!(file, "{pid}")?;
        std::fs::rename(&temporary, path)
    };
    write().what(what).inspect_err(|_| {
        let _ = std::fs::remove_file(&temporary);
    })
}
