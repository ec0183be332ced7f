//! A small D-Bus client, for systemd: calls, their answers and signals over one Unix socket (D-Bus
//! Specification 0.43).
//!
//! No thread, no event loop, and nothing is waited for that need not be: authentication, the
//! greeting and the first calls go out in one write. docs/architecture.md says why it is our own.

mod address;
mod connection;
mod message;
mod signature;
mod text;
mod value;

pub(crate) use connection::{Bus, Connection, Failure, refused};
pub(crate) use message::{Call, Kind};
pub(crate) use text::parse;
pub(crate) use value::Value;
