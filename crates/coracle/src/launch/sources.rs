//! Sources of bind mounts that init asks for: those that root of its user namespace cannot reach,
//! and ID-mapped ones, which only who may administer the file system can make.
//!
//! A short-lived process joins the container's mount namespace, with all privileges of the runtime,
//! and clones the source there. In that namespace the flags of the host's mounts are locked
//! (mount_namespaces(7)), and stay so in the clone: opened in ours, a host's read-only mount could
//! be made writable by the container's root.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;
use rustix::process::{PidfdFlags, WaitId, WaitIdOptions, getpid, pidfd_open, waitid};

use super::{Child, id_maps};
use crate::error::{Context, Error, Result};
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
    /// Where they are opened: else in the child's mount namespace.
    place: Option<Place>,
}

/// A mount namespace in which the sources of a container that runs can be seen.
#[derive(Debug)]
struct Place {
    /// A process that is in it.
    process: OwnedFd,
    /// `CLONE_NEW*` to join.
    flags: i32,
    /// Keeps the process there.
    _held: Option<Wire>,
}

/// A part of the answer that failed.
type Answer<T> = std::result::Result<T, (Operation, Errno)>;

impl Sources {
    /// For a container that runs, whose first process is `first`: it does not see the host's files
    /// any more. With a user namespace (`user`) they are opened in a copy of our mount namespace
    /// that belongs to that one, in which the host's flags are locked as in a container that is
    /// made; `root` tells whether we are root.
    pub(crate) fn of_running(first: &OwnedFd, user: bool, root: bool) -> Result<Self> {
        let what = || "making a place to open sources of mounts in";
        let place = if user {
            let (ours, theirs) = Wire::pair().what(what)?;
            match process::clone3(0, None).what(what)? {
                Cloned::Child => {
                    drop(ours);
                    let copied = process::setns(first.as_fd(), libc::CLONE_NEWUSER)
                        .and_then(|()| process::unshare(libc::CLONE_NEWNS));
                    let said = match copied {
                        Ok(()) => Message::Continue,
                        Err(errno) => Message::Refused(Operation::OpenSource, errno),
                    };
                    let _ = theirs.send(&said);
                    // Until the other side is closed.
                    let _ = theirs.receive();
                    process::exit(0)
                }
                Cloned::Parent { pidfd, .. } => {
                    drop(theirs);
                    match ours.receive().what(what)? {
                        Some(Message::Continue) => {}
                        Some(Message::Refused(_, errno)) => return Err(errno).what(what),
                        _ => return Err(Error::new(what())),
                    }
                    // Who is not root has rights over it only inside.
                    let user = if root { 0 } else { libc::CLONE_NEWUSER };
                    Place { process: pidfd, flags: libc::CLONE_NEWNS | user, _held: Some(ours) }
                }
            }
        } else {
            let own = pidfd_open(getpid(), PidfdFlags::empty()).what(what)?;
            Place { process: own, flags: libc::CLONE_NEWNS, _held: None }
        };
        Ok(Self { namespaces: Vec::new(), place: Some(place) })
    }

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
        let namespace = namespace.map(|(index, recursive)| {
            let (_, namespace) = &self.namespaces[index];
            (namespace.as_fd(), recursive)
        });
        let (place, flags) = match &self.place {
            Some(place) => (place.process.as_fd(), place.flags),
            None => (child.pidfd.as_fd(), libc::CLONE_NEWNS),
        };
        match process::clone3(0, None).map_err(open)? {
            Cloned::Child => {
                let message = match clone_inside(place, flags, bind, namespace) {
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

    /// The index of the user namespace that stands for the ids of a mount.
    fn namespace(&mut self, child: &Child, ids: &MountIds) -> Answer<usize> {
        let known = self.namespaces.iter().position(|(maps, _)| *maps == ids.maps);
        let index = known.unwrap_or(self.namespaces.len());
        if known.is_none() {
            let made = match &ids.maps {
                Some(maps) => user_namespace(maps),
                None => open_namespace(child.pid),
            };
            let made = made.map_err(|errno| (Operation::MapIds, errno))?;
            self.namespaces.push((ids.maps.clone(), made));
        }
        Ok(index)
    }
}

/// In the process of its own: the clone, made in the container's mount namespace.
fn clone_inside(
    place: BorrowedFd<'_>,
    flags: i32,
    bind: &Bind,
    namespace: Option<(BorrowedFd<'_>, bool)>,
) -> Answer<OwnedFd> {
    let open = |errno| (Operation::OpenSource, errno);
    let refused = if namespace.is_some() { Operation::MapIds } else { Operation::OpenSource };
    process::setns(place, flags).map_err(|errno| (refused, errno))?;
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
pub(crate) fn user_namespace(maps: &IdMaps) -> std::result::Result<OwnedFd, Errno> {
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
