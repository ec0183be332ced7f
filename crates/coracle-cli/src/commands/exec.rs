//! `exec`.

use clap::ArgMatches;
use coracle::cgroup::SubCgroup;
use coracle::config::{self, Capabilities, Process};
use coracle::container::{self, ExecRequest};
use coracle::error::Context;
use coracle::{Error, Result};

use super::{code, flag, handover, id, path};
use crate::globals::Globals;
use crate::log::Log;

pub(super) fn main(options: &ArgMatches, globals: &Globals, log: &mut Log) -> Result<u8> {
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
    let words = options.get_many::<String>("cgroup").into_iter().flatten().map(String::as_str);
    let request = ExecRequest {
        id: id(options).to_owned(),
        process,
        handover,
        cgroups: SubCgroup::parse(words)?,
        preserve_fds: options.get_one("preserve-fds").copied().unwrap_or(0),
        ignore_paused: flag(options, "ignore-paused"),
    };
    let attached = container::exec(&globals.store, &request, |message| log.warn(message))?;
    if detached {
        return Ok(0);
    }
    Ok(code(container::attach(&attached, &signals)?))
}

/// The process: from a file, with the container's capabilities if that has none, or the container's own with what the options change.
fn process(options: &ArgMatches, globals: &Globals) -> Result<Process> {
    if let Some(file) = path(options, "process") {
        let bytes = std::fs::read(&file).what(|| format!("reading {}", file.display()))?;
        let mut process: Process = config::parse(&bytes, file.display().to_string())?;
        if process.capabilities.is_none() {
            let spec = container::config(&globals.store, id(options))?;
            process.capabilities = spec.process.and_then(|own| own.capabilities);
        }
        return Ok(process);
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
    // An empty value is none, as to runc: scripts hand on variables that are not set.
    let text = |name| options.get_one::<String>(name).filter(|text| !text.is_empty());
    if let Some(cwd) = text("cwd") {
        process.cwd.clone_from(cwd);
    }
    if let Some(variables) = options.get_many::<String>("env") {
        process.env.extend(variables.cloned());
    }
    if let Some(forbid) = options.get_one::<bool>("no-new-privs") {
        process.no_new_privileges = *forbid;
    }
    if let Some(profile) = text("apparmor") {
        process.apparmor_profile = Some(profile.clone());
    }
    if let Some(label) = text("process-label") {
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
    if let Some(user) = text("user") {
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
