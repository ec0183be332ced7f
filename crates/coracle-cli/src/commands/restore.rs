//! `restore`.

use clap::ArgMatches;
use coracle::Result;
use coracle::container::{self, Request, RestoreRequest};

use super::checkpoint::{criu, text};
use super::{code, flag, handover, id, path};
use crate::globals::Globals;
use crate::log::Log;

pub(super) fn main(options: &ArgMatches, globals: &Globals, log: &mut Log) -> Result<u8> {
    let detached = flag(options, "detach");
    let request = RestoreRequest {
        container: Request {
            id: id(options).to_owned(),
            bundle: path(options, "bundle").unwrap_or_default(),
            handover: handover(options),
            start: true,
            detached,
            manager: globals.manager,
            ..Request::default()
        },
        criu: criu(options),
        tcp_close: flag(options, "tcp-close"),
        lsm_profile: text(options, "lsm-profile").map(str::to_owned),
        lsm_mount_context: text(options, "lsm-mount-context").map(str::to_owned),
    };
    // Before anything is made, so that no signal falls between.
    let signals = if detached {
        None
    } else {
        Some(container::prepare_signals(!flag(options, "no-subreaper"))?)
    };
    let mut warn = |message: &str| log.warn(message);
    let exit = container::restore(&globals.store, &request, signals.as_ref(), &mut warn)?;
    Ok(code(exit))
}
