//! `exec`.

use clap::ArgMatches;
use coracle::config::{self, Capabilities, Process};
use coracle::container::{self, ExecRequest};
use coracle::error::Context;
use coracle::{Error, Result};

use super::{code, flag, handover, id, path};
use crate::globals::Globals;

pub(super) fn main(options: &ArgMatches, globals: &Globals) -> Result<u8> {
    let process = process(options, globals)?;
    let detached = flag(options, "detach");
    let handover = handover(options);
    if process.terminal && detached && handover.console_socket.is_none() {
        return Err(Error::new(
            "cannot allocate tty if runc will detach without setting console socket",
        )
        .help("give --console-socket, or leave --tty out"));
    }
    let signals = container::prepare_signals(!flag(options, "no-subreaper") && !detached)?;
    let request = ExecRequest {
        id: id(options).to_owned(),
        process,
        handover,
        preserve_fds: options.get_one("preserve-fds").copied().unwrap_or(0),
        ignore_paused: flag(options, "ignore-paused"),
    };
    let attached = container::exec(&globals.store, &request)?;
    if detached {
        return Ok(0);
    }
    Ok(code(container::attach(&attached, &signals)?))
}

/// The process: from a file, or the container's own with what the options change.
fn process(options: &ArgMatches, globals: &Globals) -> Result<Process> {
    if let Some(file) = path(options, "process") {
        let bytes = std::fs::read(&file).what(|| format!("reading {}", file.display()))?;
        return config::parse(&bytes, file.display().to_string());
    }
    let args: Vec<String> =
        options.get_many("command").map(|words| words.cloned().collect()).unwrap_or_default();
    if args.is_empty() {
        return Err(Error::new("process args cannot be empty")
            .help("name a program behind the container's ID"));
    }
    let spec = container::config(&globals.store, id(options))?;
    let mut process = spec.process.unwrap_or_default();
    process.args = args;
    process.terminal = flag(options, "tty");
    if let Some(cwd) = options.get_one::<String>("cwd") {
        process.cwd.clone_from(cwd);
    }
    if let Some(variables) = options.get_many::<String>("env") {
        process.env.extend(variables.cloned());
    }
    if let Some(forbid) = options.get_one::<bool>("no-new-privs") {
        process.no_new_privileges = *forbid;
    }
    if let Some(profile) = options.get_one::<String>("apparmor") {
        process.apparmor_profile = Some(profile.clone());
    }
    if let Some(label) = options.get_one::<String>("process-label") {
        process.selinux_label = Some(label.clone());
    }
    if let Some(names) = options.get_many::<String>("cap") {
        let sets = process.capabilities.get_or_insert_with(Capabilities::default);
        for name in names {
            for set in [&mut sets.bounding, &mut sets.effective, &mut sets.permitted] {
                set.push(name.clone());
            }
        }
    }
    if let Some(user) = options.get_one::<String>("user") {
        let (uid, gid) = user.split_once(':').map_or((user.as_str(), None), |(u, g)| (u, Some(g)));
        let number = |text: &str| {
            text.parse::<u32>().map_err(|_| {
                Error::new(format!("not a user or group id: {text:?}"))
                    .help("--user takes UID or UID:GID, in numbers")
            })
        };
        process.user.uid = number(uid)?;
        if let Some(gid) = gid {
            process.user.gid = number(gid)?;
        }
    }
    if let Some(groups) = options.get_many::<u32>("additional-gids") {
        process.user.additional_gids.extend(groups.copied());
    }
    Ok(process)
}
