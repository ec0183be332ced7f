//! `delete`.

use clap::ArgMatches;
use coracle::{Result, container};

use super::{flag, for_each};
use crate::globals::Globals;
use crate::log::Log;

pub(super) fn main(options: &ArgMatches, globals: &Globals, log: &mut Log) -> Result<u8> {
    let force = flag(options, "force");
    for_each(options, globals, |id| {
        container::delete(&globals.store, id, force, |message| log.warn(message))
    })?;
    Ok(0)
}
