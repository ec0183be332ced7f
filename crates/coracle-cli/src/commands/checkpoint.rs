//! `checkpoint`.

use std::os::fd::{AsFd, OwnedFd};

use clap::ArgMatches;
use coracle::container::{self, CheckpointRequest, CriuOptions, ManageCgroups, NetworkLock};
use coracle::error::Context;
use coracle::{Errno, Error, Result};
use rustix::fs::OFlags;
use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};

use super::{flag, id, path};
use crate::globals::Globals;
use crate::log::Log;

pub(super) fn main(options: &ArgMatches, globals: &Globals, log: &mut Log) -> Result<u8> {
    let status = status(options)?;
    let request = CheckpointRequest {
        id: id(options).to_owned(),
        criu: criu(options),
        parent_path: path(options, "parent-path"),
        leave_running: flag(options, "leave-running"),
        pre_dump: flag(options, "pre-dump"),
        tcp_skip_in_flight: flag(options, "tcp-skip-in-flight"),
        link_remap: flag(options, "link-remap"),
        page_server: text(options, "page-server").map(page_server).transpose()?,
        status_fd: status.as_ref().map(AsFd::as_fd),
    };
    container::checkpoint(&globals.store, &request, &mut |message| log.warn(message))?;
    Ok(0)
}

/// The options that `checkpoint` and `restore` share.
pub(super) fn criu(options: &ArgMatches) -> CriuOptions {
    CriuOptions {
        image_path: path(options, "image-path").unwrap_or_default(),
        work_path: path(options, "work-path"),
        tcp_established: flag(options, "tcp-established"),
        ext_unix_sk: flag(options, "ext-unix-sk"),
        shell_job: flag(options, "shell-job"),
        file_locks: flag(options, "file-locks"),
        auto_dedup: flag(options, "auto-dedup"),
        lazy_pages: flag(options, "lazy-pages"),
        empty_network: text(options, "empty-ns").is_some(),
        manage_cgroups: text(options, "manage-cgroups-mode").and_then(ManageCgroups::from_name),
        network_lock: text(options, "network-lock").and_then(NetworkLock::from_name),
    }
}

pub(super) fn text<'a>(options: &'a ArgMatches, name: &str) -> Option<&'a str> {
    options.get_one::<String>(name).map(String::as_str).filter(|text| !text.is_empty())
}

/// `ADDRESS:PORT`, with an address of version 6 in brackets.
fn page_server(text: &str) -> Result<(String, u16)> {
    let parsed = text.rsplit_once(':').and_then(|(address, port)| {
        let address = address.trim_start_matches('[').trim_end_matches(']');
        Some((address.to_owned(), port.parse().ok()?))
    });
    parsed.filter(|(address, _)| !address.is_empty()).ok_or_else(|| {
        Error::new(format!("not the address of a page server: {text:?}"))
            .help("use --page-server ADDRESS:PORT, such as 192.0.2.1:27")
    })
}

/// A descriptor that the caller left open for writing; -1 is none.
fn status(options: &ArgMatches) -> Result<Option<OwnedFd>> {
    let Some(&number) = options.get_one::<i32>("status-fd").filter(|number| **number != -1) else {
        return Ok(None);
    };
    let wrong = |errno| {
        Error::new(format!("invalid --status-fd argument {number}"))
            .os(errno)
            .help("it takes the number of a descriptor that is open for writing")
    };
    let own = pidfd_open(getpid(), PidfdFlags::empty()).map_err(wrong)?;
    let file = pidfd_getfd(own, number, PidfdGetfdFlags::empty()).map_err(wrong)?;
    let flags =
        rustix::fs::fcntl_getfl(&file).what(|| "looking at the descriptor of --status-fd")?;
    if flags & OFlags::RWMODE == OFlags::RDONLY {
        return Err(wrong(Errno::BADF));
    }
    Ok(Some(file))
}
