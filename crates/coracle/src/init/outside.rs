//! File systems that are made before a new user namespace is entered.
//!
//! proc shows a pid namespace, sysfs a network namespace and mqueue an ipc namespace, and only who
//! has capabilities over that may mount them. Where it is another user namespace's, the container's root has none, and
//! the runtime had them only before.

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::filesystem;
use crate::plan::Filesystem;

/// The file systems, mounted nowhere yet.
#[derive(Debug, Default)]
pub(crate) struct Outside(Vec<(&'static CStr, OwnedFd)>);

impl Outside {
    /// Makes one of each kind. What is not allowed is left out: mounting it will say so.
    pub(crate) fn make(kinds: &[&'static CStr]) -> Self {
        let one = |kind: &&'static CStr| {
            let new = Filesystem { kind: (*kind).into(), ..Filesystem::default() };
            filesystem::make(&new, None, 0).ok().map(|mount| (*kind, mount))
        };
        Self(kinds.iter().filter_map(one).collect())
    }

    /// Adds one that another process has made.
    pub(crate) fn add(&mut self, kind: &'static CStr, mount: OwnedFd) {
        self.0.push((kind, mount));
    }

    /// Takes the one of this kind. There is one: a second mount of the kind has to do with what the
    /// container's root may.
    pub(crate) fn take(&mut self, kind: &CStr) -> Option<OwnedFd> {
        let index = self.0.iter().position(|(known, _)| *known == kind)?;
        Some(self.0.swap_remove(index).1)
    }

    /// What must stay open.
    pub(super) fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.0.iter().map(|(_, mount)| mount.as_fd())
    }
}
