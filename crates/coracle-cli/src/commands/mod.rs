//! One file for each command: its options into a request, the library's answer into output.

mod checkpoint;
mod create;
mod delete;
mod events;
mod exec;
mod features;
mod hello;
mod kill;
mod list;
mod mounts;
mod pause;
mod plan;
mod ps;
mod restore;
mod resume;
mod run;
mod spec;
mod start;
mod state;
mod update;

use std::path::PathBuf;

use clap::ArgMatches;
use coracle::container::Handover;
use coracle::{Error, Result};

use crate::globals::Globals;
use crate::log::Log;

/// Does what was asked; the exit code.
pub(crate) fn run(
    command: &str,
    options: &ArgMatches,
    globals: &Globals,
    log: &mut Log,
) -> Result<u8> {
    match command {
        "checkpoint" => checkpoint::main(options, globals, log),
        "create" => create::main(options, globals, log),
        "delete" => delete::main(options, globals, log),
        "events" => events::main(options, globals),
        "exec" => exec::main(options, globals, log),
        "features" => features::main(),
        "hello" => hello::main(),
        "kill" => kill::main(options, globals),
        "list" => list::main(options, globals, log),
        "mounts" => mounts::main(options, globals),
        "pause" => pause::main(options, globals),
        "plan" => plan::main(options, globals, log),
        "ps" => ps::main(options, globals),
        "restore" => restore::main(options, globals, log),
        "resume" => resume::main(options, globals),
        "run" => run::main(options, globals, log),
        "spec" => spec::main(options, globals),
        "start" => start::main(options, globals, log),
        "state" => state::main(options, globals),
        "update" => update::main(options, globals, log),
        other => Err(Error::new(format!("no such command: {other}"))),
    }
}

/// The container's ID.
fn id(options: &ArgMatches) -> &str {
    options.get_one::<String>("id").map_or("", String::as_str)
}

/// Does something with the container, or with `--regex` with all that match; each of them, and the
/// first failure counts.
fn for_each(
    options: &ArgMatches,
    globals: &Globals,
    mut act: impl FnMut(&str) -> Result<()>,
) -> Result<()> {
    if !flag(options, "regex") {
        return act(id(options));
    }
    let ids = coracle::container::matching(&globals.store, id(options))?;
    ids.iter().map(|id| act(id)).fold(Ok(()), Result::and)
}

/// Whether a flag is set.
fn flag(options: &ArgMatches, name: &str) -> bool {
    options.get_one::<bool>(name).copied().unwrap_or(false)
}

/// A path given as an option.
fn path(options: &ArgMatches, name: &str) -> Option<PathBuf> {
    options.get_one::<PathBuf>(name).filter(|path| !path.as_os_str().is_empty()).cloned()
}

/// Where an engine wants to be told of a new process.
fn handover(options: &ArgMatches) -> Handover {
    Handover {
        console_socket: path(options, "console-socket"),
        pidfd_socket: path(options, "pidfd-socket"),
        pid_file: path(options, "pid-file"),
    }
}

/// An exit code as the system has it: 0 to 255.
fn code(code: i32) -> u8 {
    u8::try_from(code & 0xff).unwrap_or(u8::MAX)
}
