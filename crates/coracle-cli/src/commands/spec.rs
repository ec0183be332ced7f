//! `spec`.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use clap::ArgMatches;
use coracle::error::Context;
use coracle::{Error, Result, config};
use rustix::process::{getegid, geteuid};

use super::{flag, path};
use crate::globals::Globals;

pub(super) fn main(options: &ArgMatches, _globals: &Globals) -> Result<u8> {
    let bundle = path(options, "bundle").unwrap_or_else(|| ".".into());
    let rootless = flag(options, "rootless");
    match path(options, "file") {
        None => write(&bundle, rootless)?,
        Some(file) => {
            let file = bundle.join(file);
            std::fs::write(&file, template(rootless)?)
                .what(|| format!("writing {}", file.display()))?;
        }
    }
    Ok(0)
}

/// The template, for the caller.
fn template(rootless: bool) -> Result<Vec<u8>> {
    let caller = rootless.then(|| (geteuid().as_raw(), getegid().as_raw()));
    config::to_json(&config::template(caller))
}

/// Writes the template into a bundle. A config.json that is there is never touched.
pub(super) fn write(bundle: &Path, rootless: bool) -> Result<()> {
    let text = template(rootless)?;
    let path = bundle.join("config.json");
    let mut file =
        std::fs::OpenOptions::new().write(true).create_new(true).mode(0o666).open(&path).map_err(
            |error| {
                if error.kind() == std::io::ErrorKind::AlreadyExists {
                    Error::new("File config.json exists. Remove it first")
                } else {
                    let bundle = bundle.display();
                    let failed: std::io::Result<()> = Err(error);
                    match failed.what(|| format!("making config.json in {bundle}")) {
                        Err(error) => error,
                        Ok(()) => Error::new("making config.json"),
                    }
                }
            },
        )?;
    file.write_all(&text).what(|| "writing config.json").inspect_err(|_| {
        // Half a file would be taken for a whole one.
        let _ = std::fs::remove_file(&path);
    })
}
