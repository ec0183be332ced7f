//! `events`.

use std::io::{ErrorKind, Write};
use std::ops::ControlFlow;

use clap::ArgMatches;
use coracle::container::{self, Event};
use coracle::error::Context;
use coracle::{Error, Result};

use super::{flag, id};
use crate::globals::Globals;
use crate::log::answer;
use crate::openmetrics;

pub(super) fn main(options: &ArgMatches, globals: &Globals) -> Result<u8> {
    let text = options.get_one::<String>("interval").map_or("5s", String::as_str);
    let interval = humantime::parse_duration(text).map_err(|error| {
        Error::new(format!("invalid interval {text:?}"))
            .because(error.to_string())
            .help("a number with a unit, such as 5s or 500ms")
    })?;
    if interval.is_zero() {
        return Err(Error::new("duration interval must be greater than 0"));
    }
    let format = options.get_one::<String>("format").map_or("json", String::as_str);
    let once = flag(options, "stats");
    match format {
        "json" => {}
        "openmetrics" if once => {
            let event = container::stats(&globals.store, id(options))?;
            answer(&openmetrics::text(event.id, &event.data.unwrap_or_default()))?;
            return Ok(0);
        }
        // Such a text has an end, and no place for what happens.
        "openmetrics" => {
            return Err(Error::new("OpenMetrics tells how things are, not what happens")
                .help("add --stats"));
        }
        other => {
            return Err(Error::new(format!("invalid format option: {other}"))
                .help("the formats are json and openmetrics"));
        }
    }
    if once {
        answer(&line(&container::stats(&globals.store, id(options))?))?;
        return Ok(0);
    }
    let mut told = Ok(());
    container::events(&globals.store, id(options), interval, |event| {
        told = tell(event);
        if told.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    match told {
        // Whoever asked has heard enough.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => {}
        told => told.what(|| "writing to standard output")?,
    }
    Ok(0)
}

/// Prints an event at once.
fn tell(event: &Event<'_>) -> std::io::Result<()> {
    let mut out = std::io::stdout();
    out.write_all(line(event).as_bytes())?;
    out.flush()
}

/// An event as a line of JSON.
fn line(event: &Event<'_>) -> String {
    // Of strings and numbers only, it always encodes.
    serde_json::to_string(event).unwrap_or_default() + "\n"
}
