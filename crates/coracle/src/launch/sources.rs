//! Sources of bind mounts that init asks for: those that root of its user namespace cannot reach,
//! and ID-mapped ones, which only who may administer the file system can make.
//!
//! A short-lived process joins the container's mount namespace, with all privileges of the runtime,
//! and clones the source there. In that namespace the flags of the host's mounts are locked
//! (mount_namespaces(7)), and stay so in the clone: opened in ours, a host's read-only mount could
//! be made writable by the container's root.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;
use rustix::process::{WaitId, WaitIdOptions, waitid};

use super::{Child, id_maps};
use crate::error::{Error, Result};
use crate::init;
use crate::plan::{Action, Bind, IdMaps, MountIds, Source, Step};
use crate::sys::mount::{MountAttr, attr, mount_setattr};
use crate::sys::process::{self, Cloned};
use crate::wire::{Message, Operation, Wire};

/// Answers init's questions for sources.
#[derive(Debug, Default)]
pub(crate) struct Sources {
    /// User namespaces that stand for id maps, made so far.
    namespaces: Vec<(Option<IdMaps>, OwnedFd)>,
}

/// A part of the answer that failed.
type Answer<T> = std::result::Result<T, (Operation, Errno)>;

impl Sources {
    /// Has the source of step `number` sent to init, or the reason why not.
    pub(crate) fn answer(&mut self, child: &Child, steps: &[Step], number: u32) -> Result<()> {
        let refused = match steps.get(number as usize).map(|step| &step.action) {
            Some(Action::Mount(mount)) => match &mount.source {
                Source::Bind(bind) => self.send(child, bind),
                Source::Filesystem(_) => Err((Operation::OpenSource, Errno::INVAL)),
            },
            _ => Err((Operation::OpenSource, Errno::INVAL)),
        };
        match refused {
            Ok(()) => Ok(()),
            Err((operation, errno)) => child.tell(&Message::Refused(operation, errno)),
        }
    }

    /// Has another process clone the source and send it.
    fn send(&mut self, child: &Child, bind: &Bind) -> Answer<()> {
        let open = |errno| (Operation::OpenSource, errno);
        let namespace = match &bind.ids {
            Some(ids) => Some((self.namespace(child, ids)?, ids.recursive)),
            None => None,
        };
        match process::clone3(0, None).map_err(open)? {
            Cloned::Child => {
                let message = match clone_inside(child, bind, namespace) {
                    Ok(tree) => Message::Source(tree),
                    Err((operation, errno)) => Message::Refused(operation, errno),
                };
                process::exit(i32::from(child.wire.send(&message).is_err()))
            }
            Cloned::Parent { pidfd, .. } => {
                let status = waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED);
                let sent = status.ok().flatten().is_some_and(|s| s.exit_status() == Some(0));
                if sent { Ok(()) } else { Err(open(Errno::IO)) }
            }
        }
    }

    /// The user namespace that stands for the ids of a mount.
    fn namespace(&mut self, child: &Child, ids: &MountIds) -> Answer<&OwnedFd> {
        let known = self.namespaces.iter().position(|(maps, _)| *maps == ids.maps);
        let index = known.unwrap_or(self.namespaces.len());
        if known.is_none() {
            let made = match &ids.maps {
                Some(maps) => new_namespace(maps),
                None => open_namespace(child.pid),
            };
            let made = made.map_err(|errno| (Operation::MapIds, errno))?;
            self.namespaces.push((ids.maps.clone(), made));
        }
        Ok(&self.namespaces[index].1)
    }
}

/// In the process of its own: the clone, made in the container's mount namespace.
fn clone_inside(
    child: &Child,
    bind: &Bind,
    namespace: Option<(&OwnedFd, bool)>,
) -> Answer<OwnedFd> {
    let open = |errno| (Operation::OpenSource, errno);
    let refused = if namespace.is_some() { Operation::MapIds } else { Operation::OpenSource };
    process::setns(child.pidfd.as_fd(), libc::CLONE_NEWNS).map_err(|errno| (refused, errno))?;
    let tree = init::clone_source(bind).map_err(open)?;
    if let Some((namespace, recursive)) = namespace {
        #[allow(clippy::cast_sign_loss)] // an open descriptor is not negative
        let userns_fd = namespace.as_raw_fd() as u64;
        let change = MountAttr { set: attr::IDMAP, userns_fd, ..MountAttr::default() };
        mount_setattr(tree.as_fd(), recursive, &change)
            .map_err(|errno| (Operation::MapIds, errno))?;
    }
    Ok(tree)
}

/// The user namespace of a process.
fn open_namespace(pid: u32) -> std::result::Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    openat(CWD, format!("/proc/{pid}/ns/user"), flags, Mode::empty())
}

/// A new user namespace with these maps, kept alive by its descriptor alone.
fn new_namespace(maps: &IdMaps) -> std::result::Result<OwnedFd, Errno> {
    let (ours, theirs) = Wire::pair()?;
    #[allow(clippy::cast_sign_loss)] // CLONE_NEWUSER is positive
    match process::clone3(libc::CLONE_NEWUSER as u64, None)? {
        Cloned::Child => {
            drop(ours);
            // Until the other side is closed.
            let _ = theirs.receive();
            process::exit(0)
        }
        Cloned::Parent { pid, pidfd } => {
            drop(theirs);
            let errno = |error: Error| error.errno().unwrap_or(Errno::INVAL);
            let namespace =
                id_maps::write(pid, maps).map_err(errno).and_then(|()| open_namespace(pid));
            drop(ours);
            let _ = waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED);
            namespace
        }
    }
}
