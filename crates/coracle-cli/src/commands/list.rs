//! `list`.

use std::fmt::Write;

use clap::ArgMatches;
use coracle::container::{self, State};
use coracle::{Error, Result};

use super::flag;
use crate::globals::Globals;
use crate::log::{Log, answer};

pub(super) fn main(options: &ArgMatches, globals: &Globals, log: &mut Log) -> Result<u8> {
    let states = container::list(&globals.store, |message| log.warn(message))?;
    let format = options.get_one::<String>("format").map_or("table", String::as_str);
    if flag(options, "quiet") {
        let ids = states.iter().fold(String::new(), |text, state| text + &state.id + "\n");
        answer(&ids)?;
        return Ok(0);
    }
    match format {
        "table" => answer(&table(&states))?,
        "json" => {
            // runc prints an empty Go slice.
            let text = if states.is_empty() {
                "null".to_owned()
            } else {
                serde_json::to_string(&states)
                    .map_err(|error| Error::new("encoding the list").because(error.to_string()))?
            };
            answer(&(text + "\n"))?;
        }
        other => {
            return Err(Error::new(format!("invalid format option: {other}"))
                .help("the formats are table and json"));
        }
    }
    Ok(0)
}

/// Columns as wide as their widest cell, at least 12, three spaces apart.
fn table(states: &[State]) -> String {
    const HEAD: [&str; 6] = ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"];
    let rows: Vec<[String; 6]> = std::iter::once(HEAD.map(str::to_owned))
        .chain(states.iter().map(|state| {
            [
                state.id.clone(),
                state.pid.to_string(),
                state.status.to_string(),
                state.bundle.clone(),
                state.created.clone(),
                state.owner.clone(),
            ]
        }))
        .collect();
    let widths: Vec<usize> = (0..HEAD.len())
        .map(|column| rows.iter().map(|row| row[column].len() + 3).max().unwrap_or(0).max(12))
        .collect();
    rows.iter().fold(String::new(), |mut text, row| {
        for (column, cell) in row.iter().enumerate() {
            let width = if column + 1 == row.len() { 0 } else { widths[column] };
            let _ = write!(text, "{cell:<width$}");
        }
        text.push('\n');
        text
    })
}
