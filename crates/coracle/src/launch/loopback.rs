//! The loopback device of a new network namespace, brought up while init is at its mounts: of all
//! that init would do, this takes the kernel the longest.

use std::os::fd::AsFd;

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;

use super::Child;
use crate::error::{Context, Result};
use crate::sys::{network, process};

/// Visits the network namespace of a new process, whose user namespace is the runtime's own.
pub(crate) fn bring_up(child: &Child) -> Result<()> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let home = openat(CWD, c"/proc/self/ns/net", flags, Mode::empty())
        .what(|| "opening the runtime's network namespace")?;
    match process::setns(child.pidfd.as_fd(), libc::CLONE_NEWNET) {
        // It has ended, and said why.
        Err(Errno::SRCH) => return Ok(()),
        result => result.what(|| "entering the container's network namespace")?,
    }
    let up = network::loopback_up();
    process::setns(home.as_fd(), libc::CLONE_NEWNET)
        .what(|| "leaving the container's network namespace")?;
    up.what(|| "bringing the loopback device up")
}
