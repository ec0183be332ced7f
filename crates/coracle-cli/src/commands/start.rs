//! `start`.

use clap::ArgMatches;
use coracle::{Result, container};

use super::create::notify_socket;
use super::id;
use crate::globals::Globals;
use crate::log::Log;

pub(super) fn main(options: &ArgMatches, globals: &Globals, log: &mut Log) -> Result<u8> {
    let manager = notify_socket();
    let warn = |message: &str| log.warn(message);
    container::start_notifying(&globals.store, id(options), manager.as_deref(), warn)?;
    Ok(0)
}
