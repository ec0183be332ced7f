//! `state`.

use clap::ArgMatches;
use coracle::{Error, Result, container};

use super::id;
use crate::globals::{Globals, Name};
use crate::log::answer;

pub(super) fn main(options: &ArgMatches, globals: &Globals) -> Result<u8> {
    let mut state = container::state(&globals.store, id(options))?;
    if globals.name != Name::Crun {
        state.systemd_scope = None;
    }
    let text = serde_json::to_string_pretty(&state)
        .map_err(|error| Error::new("encoding the state").because(error.to_string()))?;
    answer(&text)?;
    Ok(0)
}
