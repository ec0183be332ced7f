//! An OCI container runtime for Linux.

pub mod cgroup;
pub mod config;
pub mod container;
pub mod embed;
pub mod error;
pub mod features;
pub mod plan;
pub mod resctrl;
mod resctrl_stats;
pub mod seccomp;
pub mod store;

mod criu;
mod dbus;
mod init;
mod launch;
mod lsm;
mod procfs;
mod share;
mod sys;
mod wire;

pub use error::{Errno, Error, Kind, Result};
