//! systemd as the one who makes cgroups: a container is a transient unit, most often a scope
//! (systemd.scope(5), org.freedesktop.systemd1(5)).
//!
//! systemd owns the tree of cgroups on its machine. What it was not told of it may take away or set
//! back, at the next daemon-reload for instance; so limits are the unit's properties as far as
//! there are such, and written into the files besides.

mod annotations;
mod jobs;
mod properties;
mod unit;

pub use jobs::systemd_root;
pub use unit::{NewUnit, Unit};
