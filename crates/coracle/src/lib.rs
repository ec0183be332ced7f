//! An OCI container runtime for Linux.

pub mod cgroup;
pub mod config;
pub mod error;
mod sys;

pub use error::{Errno, Error, Kind, Result};
