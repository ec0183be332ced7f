//! `restore`: a container from the files of a `checkpoint`.

use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use rustix::io::fcntl_dupfd_cloexec;
use rustix::stdio::{stderr, stdin, stdout};

use super::create::{Created, check_host, prepare, runtime_hooks};
use super::record::{first_record, namespace_paths};
use super::request::Request;
use super::undo::Undo;
use super::{checkpoint, foreground, handover, notify, place};
use crate::cgroup::{self, Cgroup, Manager};
use crate::criu::external;
use crate::criu::images::Images;
use crate::criu::mapped::Mapped;
use crate::criu::options::CriuOptions;
use crate::criu::rpc::{self, CgroupRoot, Notify, Options, Request as Ask, Version, kind};
use crate::criu::service::Service;
use crate::error::{Context, Error, Result};
use crate::launch::Child;
use crate::plan::Plan;
use crate::resctrl::Resctrl;
use crate::store::{self, Entry, Record, Store};

/// The first CRIU that changes security labels.
const CHANGES_LABELS: Version = Version([3, 16, 0]);

/// What a caller of [`restore`] asks for.
#[derive(Clone, Debug, Default)]
pub struct RestoreRequest {
    /// The container: its ID may be another than that of the checkpoint, its bundle must ask for the
    /// same.
    pub container: Request,
    /// What CRIU is told.
    pub criu: CriuOptions,
    /// TCP connections come back closed.
    pub tcp_close: bool,
    /// Another profile of the security module for the processes: `TYPE:NAME`.
    pub lsm_profile: Option<String>,
    /// Another SELinux context for mounts.
    pub lsm_mount_context: Option<String>,
}

/// Brings a container back. Detached, it returns 0 once the processes run; else it is there for the
/// container until that ends, removes it, and returns its exit code, or 128 and the signal that
/// ended it.
///
/// # Errors
/// Whatever failed, nothing is left behind but CRIU's log.
pub fn restore(
    store: &Store,
    request: &RestoreRequest,
    signals: Option<&OwnedFd>,
    warn: &mut impl FnMut(&str),
) -> Result<i32> {
    let created = bring_back(store, request, warn)?;
    foreground::attend(created, &request.container, false, signals, warn)
}

fn bring_back(
    store: &Store,
    request: &RestoreRequest,
    warn: &mut impl FnMut(&str),
) -> Result<Created> {
    let container = &request.container;
    store::check_id(&container.id)?;
    checkpoint::refuse_rootless()?;
    let images = Images::existing(&request.criu, "restore.log")?;
    let descriptors = images.descriptors()?;
    let (bytes, spec, plan) = prepare(container)?;
    for warning in &plan.warnings {
        warn(warning);
    }
    check_host(&spec, &plan, container)?;
    external::check(&plan)?;
    if request.criu.auto_dedup && plan.namespaces.id_maps.is_some() {
        return Err(Error::new("--auto-dedup cannot restore a container with a user namespace")
            .because("its root may read the images, but not change them")
            .help("leave it out here; criu's own dedup relieves the images as well"));
    }
    let console = container.handover.console()?;
    let group = match &plan.resctrl {
        Some(wanted) => Some(Resctrl::find()?.group(wanted, &container.id)),
        None => None,
    };
    let entry = store.reserve(&container.id)?;
    let mut record = first_record(&entry, &spec, &plan, container, group.as_ref());
    let mut undo = Undo::new(&entry, group, warn);
    entry.write(&record)?;
    entry.write_config(&bytes)?;
    external::make_mount_points(&plan)?;

    let made = undo.cgroup.insert(place::make(&plan, container.manager)?);
    if plan.cgroup.unit.is_none() {
        place::limit(made, &plan)?;
    }
    if let Some(group) = &mut undo.group {
        group.make()?;
        group.write_schemata()?;
    }
    let mut options = restore_options(request, &spec, &plan);
    let mapped = Mapped::new(&plan, images.path(), covered(&entry)?)?;
    let mut files = external::restore(&plan, &mapped, &mut options)?;
    if !plan.terminal {
        let standard = standard_files()?;
        external::restore_descriptors(&descriptors, &standard, &mut options);
        files.extend(standard);
    }

    let root = CString::new(plan.rootfs.as_os_str().as_bytes()).unwrap_or_default();
    let keep: Vec<_> = files.iter().map(AsFd::as_fd).collect();
    let service = Service::start(&images, Some((&root, &mapped)), &keep)?;
    service.name_directories(&images, &mut options);
    check_version(service.version()?, request)?;
    if let Some(pid) = service.pid() {
        // What it restores is born where it is.
        place::enter(made, &plan, pid, false)?;
        options.cg_root = cgroup_roots(pid.as_raw_nonzero().get().unsigned_abs())?;
        if let Some(group) = &undo.group {
            group.enter(pid.as_raw_nonzero().get().unsigned_abs())?;
        }
    }
    let mut terminal = None;
    let made = &*made;
    let ask = Ask { kind: kind::RESTORE, options: Some(options), ..Ask::default() };
    let response = service
        .ask(&ask, |notify: &Notify, master| match notify.script.as_str() {
            "setup-namespaces" => {
                undo.child = adopt(&entry, &mut record, notify, made)?;
                runtime_hooks(&spec, &record, &plan)
            }
            "orphan-pts-master" => {
                let Some(master) = master else {
                    return Err(Error::new("criu sent no terminal"));
                };
                terminal = handover::deliver(console.as_ref(), master)?;
                Ok(())
            }
            // All is restored and nothing runs yet. Before, CRIU itself may need devices.
            "post-restore" => limit(made, &plan, container.manager),
            _ => Ok(()),
        })
        .map_err(|error| images.with_log(error))?;
    let restored = undo.child.as_ref().filter(|_| response.success);
    let Some(child) = restored else {
        return Err(images.explain("criu could not restore the container", &response));
    };
    drop(service);
    container.handover.announce(child)?;
    let manager = container.notify_socket.as_deref();
    let notify = manager.and_then(|manager| notify::Notify::open(&entry, manager, &mut undo.warn));
    undo.done = true;
    let child = undo.child.take();
    drop(undo);
    let Some(child) = child else { return Err(Error::new("the restored process is gone")) };
    entry.unlock();
    Ok(Created { entry, record, child, terminal, notify, spec, plan })
}

/// What is told to CRIU beside what is the host's.
fn restore_options(
    request: &RestoreRequest,
    spec: &crate::config::Spec,
    plan: &Plan,
) -> rpc::Options {
    Options {
        root: Some(plan.rootfs.to_string_lossy().into_owned()),
        rst_sibling: true,
        // Of another machine, with other numbers.
        evasive_devices: true,
        tcp_close: request.tcp_close,
        lsm_profile: request.lsm_profile.clone(),
        lsm_mount_context: request.lsm_mount_context.clone(),
        ..request.criu.to_rpc(spec, request.container.manager != Manager::Disabled)
    }
}

/// An older one would pass over what it does not know, and restore something else.
fn check_version(version: Version, request: &RestoreRequest) -> Result<()> {
    let labels = request.lsm_profile.is_some() || request.lsm_mount_context.is_some();
    if labels && version < CHANGES_LABELS {
        return Err(Error::new("criu cannot change security labels")
            .because(format!("it is version {version}"))
            .help(format!("install criu {CHANGES_LABELS} or newer")));
    }
    Ok(())
}

/// Standard input, output and error again, under numbers that CRIU itself does not use.
fn standard_files() -> Result<Vec<OwnedFd>> {
    [stdin(), stdout(), stderr()]
        .into_iter()
        .map(|file| fcntl_dupfd_cloexec(file, 3).what(|| "duplicating standard descriptors"))
        .collect()
}

/// A directory that CRIU has no use for.
fn covered(entry: &Entry) -> Result<PathBuf> {
    let link = format!("/proc/self/fd/{}", entry.directory().as_raw_fd());
    std::fs::read_link(link).what(|| "looking for the container's directory")
}

/// Where cgroups are restored: where CRIU is, in the kernel's words (proc(5), `/proc/PID/cgroup`);
/// the tree of version 2 has no name.
fn cgroup_roots(pid: u32) -> Result<Vec<CgroupRoot>> {
    let path = format!("/proc/{pid}/cgroup");
    let text = std::fs::read_to_string(&path).what(|| format!("reading {path}"))?;
    let lines = text.lines().filter_map(|line| line.split_once(':')?.1.split_once(':'));
    let roots = lines.flat_map(|(controllers, path)| {
        controllers
            .split(',')
            .map(|name| CgroupRoot { ctrl: name.to_owned(), path: path.to_owned() })
    });
    Ok(roots.collect())
}

/// Puts the first process on record.
fn adopt(
    entry: &Entry,
    record: &mut Record,
    notify: &Notify,
    made: &Cgroup,
) -> Result<Option<Child>> {
    let Some(pid) = notify.pid.and_then(|pid| u32::try_from(pid).ok()) else { return Ok(None) };
    let child = Child::silent(pid)?;
    record.init_process_pid = pid;
    record.init_process_start = store::process_start(pid).unwrap_or_default();
    record.cgroup_paths = made.paths();
    record.namespace_paths = namespace_paths(pid);
    entry.write(record)?;
    Ok(Some(child))
}

/// Allows the processes what the configuration does.
fn limit(made: &Cgroup, plan: &Plan, manager: Manager) -> Result<()> {
    if manager != Manager::Disabled {
        made.set_devices(&cgroup::effective_rules(&plan.cgroup.devices))?;
    }
    made.set_limits(&plan.cgroup.limits.tasks)
}
