//! `plan`.

use clap::ArgMatches;
use coracle::Result;
use coracle::container::{self, Request};

use super::{flag, path};
use crate::globals::Globals;
use crate::log::{Log, answer};

pub(super) fn main(options: &ArgMatches, globals: &Globals, log: &mut Log) -> Result<u8> {
    let request = Request {
        id: "ID".to_owned(),
        bundle: path(options, "bundle").unwrap_or_default(),
        no_pivot: flag(options, "no-pivot"),
        no_new_keyring: flag(options, "no-new-keyring"),
        manager: globals.manager,
        ..Request::default()
    };
    let (_, _, plan) = container::prepare(&request)?;
    for warning in &plan.warnings {
        log.warn(warning);
    }
    answer(&plan.to_string())?;
    Ok(0)
}
