//! `checkpoint`: a container's processes, with all that they have, written to files by CRIU.

use std::os::fd::BorrowedFd;
use std::path::PathBuf;

use rustix::fs::{CWD, Mode, OFlags, openat};

use super::state::{Status, status};
use super::{delete, place, start};
use crate::criu::external;
use crate::criu::images::Images;
use crate::criu::options::CriuOptions;
use crate::criu::rpc::{Options, PageServer, Request, kind};
use crate::criu::service::Service;
use crate::error::{Context, Error, Kind, Result};
use crate::init::Root;
use crate::plan::Plan;
use crate::store::{Record, Store};

/// The first CRIU that notifies when its pages can be fetched.
const TELLS_READY: [i32; 3] = [3, 15, 4];

/// What a caller of [`checkpoint`] asks for.
#[derive(Debug, Default)]
pub struct CheckpointRequest<'a> {
    /// The container's ID.
    pub id: String,
    /// What CRIU is told.
    pub criu: CriuOptions,
    /// The images of an earlier [`CheckpointRequest::pre_dump`], relative to these.
    pub parent_path: Option<PathBuf>,
    /// The container goes on.
    pub leave_running: bool,
    /// Only memory, so that a later checkpoint has less to write; the container goes on.
    pub pre_dump: bool,
    /// TCP connections that are being made are passed over.
    pub tcp_skip_in_flight: bool,
    /// Files that are open and have no name are given one.
    pub link_remap: bool,
    /// Memory goes to a page server: address and port.
    pub page_server: Option<(String, u16)>,
    /// Gets a zero byte when lazy pages can be fetched.
    pub status_fd: Option<BorrowedFd<'a>>,
}

/// Writes a container to files. It is gone then, unless it was asked to go on.
///
/// What goes wrong with its poststop hooks goes to `warn`.
///
/// # Errors
/// The container goes on as it was; CRIU's log tells more.
pub fn checkpoint(
    store: &Store,
    request: &CheckpointRequest<'_>,
    warn: &mut impl FnMut(&str),
) -> Result<()> {
    let entry = store.open(&request.id)?;
    refuse_rootless()?;
    entry.lock()?;
    let record = entry.read()?;
    let paused = match status(&entry, &record) {
        Status::Running => false,
        Status::Paused => true,
        // This command's own lock makes a created one look as if it were being made.
        Status::Created | Status::Creating => return Err(refused("created")),
        Status::Stopped => return Err(refused("stopped")),
    };
    let (spec, plan) = start::plan_again(&entry, &record)?;
    let images = Images::make(&request.criu, "dump.log")?;
    check_parent(request, &images)?;
    let mut options = request.criu.to_rpc(&spec, !record.cgroup_paths.is_empty());
    dump_options(request, &record, &plan, &mut options);

    let service = Service::start(&images, None, &[])?;
    service.name_directories(&images, &mut options);
    let version = service.version()?;
    if request.status_fd.is_some() && version.0 < TELLS_READY {
        return Err(Error::new("criu does not tell when its pages can be fetched")
            .because(format!("it is version {version}"))
            .help("install criu 3.15.4 or newer, or leave --status-fd out"));
    }
    if !request.pre_dump {
        name_external(&record, &plan, &mut options, &images)?;
    }
    let kind = if request.pre_dump { kind::PRE_DUMP } else { kind::DUMP };
    let ask = Request { kind, options: Some(options), ..Request::default() };
    let response = service
        .ask(&ask, |notify, _| match (notify.script.as_str(), request.status_fd) {
            ("status-ready", Some(file)) => rustix::io::write(file, b"\0")
                .what(|| "writing to the descriptor of --status-fd")
                .map(drop),
            _ => Ok(()),
        })
        .map_err(|error| images.with_log(error));
    drop(service);
    let saved = response.and_then(|response| {
        if response.success {
            Ok(())
        } else {
            Err(images.explain("criu could not save the container", &response))
        }
    });
    if saved.is_err() && !paused {
        // One that ended in the middle has left it frozen.
        let _ = place::cgroup_of(&record).thaw();
    }
    saved?;
    if request.leave_running || request.pre_dump {
        return Ok(());
    }
    delete::destroy(&entry, &record, warn)
}

/// What CRIU does takes the host's root.
pub(super) fn refuse_rootless() -> Result<()> {
    if super::look_at_host()?.rootless {
        return Err(Error::new("an ordinary user cannot save or restore containers")
            .because("criu needs the privileges of the host's root")
            .help("run the container as root"));
    }
    Ok(())
}

fn refused(state: &str) -> Error {
    Error::new(format!("a container cannot be checkpointed in {state} state"))
        .because("container not running")
        .kind(Kind::State)
}

/// CRIU would look for an absolute one below the images as well, and save everything without it.
fn check_parent(request: &CheckpointRequest<'_>, images: &Images) -> Result<()> {
    let Some(parent) = &request.parent_path else { return Ok(()) };
    let bad = |error: Error| error.help("give the way from --image-path to the earlier images");
    if parent.is_absolute() {
        return Err(bad(
            Error::new("--parent-path must be relative").because(parent.display().to_string())
        ));
    }
    let path = images.path().join(parent);
    openat(CWD, &path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .what(|| format!("invalid parent path {}", path.display()))
        .map_err(bad)
        .map(drop)
}

fn dump_options(
    request: &CheckpointRequest<'_>,
    record: &Record,
    plan: &Plan,
    options: &mut Options,
) {
    options.pid = i32::try_from(record.init_process_pid).ok();
    options.root = Some(plan.rootfs.to_string_lossy().into_owned());
    options.leave_running = request.leave_running || request.pre_dump;
    options.track_mem = request.pre_dump;
    options.tcp_skip_in_flight = request.tcp_skip_in_flight;
    options.link_remap = request.link_remap;
    options.parent_img = request.parent_path.as_ref().map(|path| path.display().to_string());
    options.page_server = request
        .page_server
        .as_ref()
        .map(|(address, port)| PageServer { address: address.clone(), port: (*port).into() });
    let freezer = record.cgroup_paths.get("freezer").or(record.cgroup_paths.get(""));
    options.freeze_cgroup = freezer.cloned();
}

/// Names what is not the container's own.
fn name_external(
    record: &Record,
    plan: &Plan,
    options: &mut Options,
    images: &Images,
) -> Result<()> {
    let pid = record.init_process_pid;
    let path = format!("/proc/{pid}/root");
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = openat(CWD, path.as_str(), flags, Mode::empty()).what(|| format!("opening {path}"));
    external::save(plan, &Root::new(root?), pid, options)?;
    let cgroup = place::cgroup_of(record);
    let all = cgroup.procs()?;
    let others = all.iter().map(|pid| pid.as_raw_nonzero().get().unsigned_abs());
    let pids = others.chain(std::iter::once(pid));
    let names = external::save_descriptors(&record.external_descriptors, pids, options);
    images.write_descriptors(&names)
}
