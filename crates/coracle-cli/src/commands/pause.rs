//! `pause`.

use clap::ArgMatches;
use coracle::{Result, container};

use super::id;
use crate::globals::Globals;

pub(super) fn main(options: &ArgMatches, globals: &Globals) -> Result<u8> {
    container::pause(&globals.store, id(options))?;
    Ok(0)
}
