//! `create`.

use std::ffi::OsString;

use clap::ArgMatches;
use coracle::Result;
use coracle::container::{self, Request};

use super::{flag, handover, id, path};
use crate::globals::Globals;
use crate::log::Log;

pub(super) fn main(options: &ArgMatches, globals: &Globals, log: &mut Log) -> Result<u8> {
    let request = Request { detached: true, ..request(options, globals) };
    container::create(&globals.store, &request, &mut |message| log.warn(message))?;
    Ok(0)
}

/// The options that `create` and `run` share.
pub(super) fn request(options: &ArgMatches, globals: &Globals) -> Request {
    Request {
        id: id(options).to_owned(),
        bundle: path(options, "bundle").unwrap_or_default(),
        config: path(options, "config"),
        handover: handover(options),
        no_pivot: flag(options, "no-pivot"),
        no_new_keyring: flag(options, "no-new-keyring"),
        preserve_fds: options.get_one("preserve-fds").copied().unwrap_or(0),
        listen_fds: listen_fds(),
        notify_socket: notify_socket(),
        start: false,
        detached: false,
        manager: globals.manager,
    }
}

/// The service manager that wants to know when the container is ready (sd_notify(3)).
pub(super) fn notify_socket() -> Option<OsString> {
    std::env::var_os("NOTIFY_SOCKET").filter(|socket| !socket.is_empty())
}

/// How many sockets a service manager has given this very process (sd_listen_fds(3)).
fn listen_fds() -> u32 {
    let number = |name| std::env::var(name).ok()?.parse::<u32>().ok();
    match number("LISTEN_PID") {
        Some(pid) if pid == std::process::id() => number("LISTEN_FDS").unwrap_or(0),
        _ => 0,
    }
}
