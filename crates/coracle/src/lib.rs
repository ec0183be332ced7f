//! An OCI container runtime for Linux.

pub mod config;
pub mod error;

pub use error::{Errno, Error, Kind, Result};
