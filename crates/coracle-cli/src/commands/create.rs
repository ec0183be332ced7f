//! `create`.

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
        handover: handover(options),
        no_pivot: flag(options, "no-pivot"),
        no_new_keyring: flag(options, "no-new-keyring"),
        preserve_fds: options.get_one("preserve-fds").copied().unwrap_or(0),
        start: false,
        detached: false,
        no_cgroup: globals.no_cgroup,
    }
}
