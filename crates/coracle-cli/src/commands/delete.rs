//! `delete`.

use clap::ArgMatches;
use coracle::{Result, container};

use super::{flag, id};
use crate::globals::Globals;
use crate::log::Log;

pub(super) fn main(options: &ArgMatches, globals: &Globals, log: &mut Log) -> Result<u8> {
    let warn = |message: &str| log.warn(message);
    container::delete(&globals.store, id(options), flag(options, "force"), warn)?;
    Ok(0)
}
