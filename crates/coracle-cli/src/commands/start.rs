//! `start`.

use clap::ArgMatches;
use coracle::{Result, container};

use super::id;
use crate::globals::Globals;
use crate::log::Log;

pub(super) fn main(options: &ArgMatches, globals: &Globals, log: &mut Log) -> Result<u8> {
    container::start(&globals.store, id(options), |message| log.warn(message))?;
    Ok(0)
}
