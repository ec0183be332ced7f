//! `mounts add` and `mounts remove`.

use clap::ArgMatches;
use coracle::config::{self, Mount};
use coracle::error::Context;
use coracle::{Error, Result, container};

use super::{id, path};
use crate::globals::Globals;

pub(super) fn main(options: &ArgMatches, globals: &Globals) -> Result<u8> {
    let file = path(options, "file").unwrap_or_default();
    let bytes = std::fs::read(&file).what(|| format!("reading {}", file.display()))?;
    let mounts: Vec<Mount> = config::parse(&bytes, file.display().to_string())?;
    let change = match options.get_one::<String>("change").map(String::as_str) {
        Some("add") => container::add_mounts,
        Some("remove") => container::remove_mounts,
        _ => {
            return Err(Error::new("mounts are added or removed").help("mounts add|remove ID FILE"));
        }
    };
    change(&globals.store, id(options), &mounts)
        .map_err(|error| error.in_file(file.display().to_string()))?;
    Ok(0)
}
