//! `run`.

use clap::ArgMatches;
use coracle::Result;
use coracle::container::{self, Request};

use super::{code, create, flag};
use crate::globals::Globals;
use crate::log::Log;

pub(super) fn main(options: &ArgMatches, globals: &Globals, log: &mut Log) -> Result<u8> {
    let detached = flag(options, "detach");
    let request = Request { start: true, detached, ..create::request(options, globals) };
    // Before anything is made, so that no signal falls between.
    let signals = if detached {
        None
    } else {
        Some(container::prepare_signals(!flag(options, "no-subreaper"))?)
    };
    let keep = flag(options, "keep");
    let mut warn = |message: &str| log.warn(message);
    let exit = container::run(&globals.store, &request, keep, signals.as_ref(), &mut warn)?;
    Ok(code(exit))
}
