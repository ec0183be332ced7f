//! What every black-box test stands on: bundles to run, a runner for the built command that never
//! hangs and cleans up whatever happens, detectors of what a container left behind, and both ends
//! of the sockets and terminals that an engine holds.
//!
//! ```no_run
//! use coracle_tests::{Coracle, need};
//!
//! #[test]
//! fn the_exit_code_is_the_process_s_own() {
//!     let coracle = need!(Coracle::as_root());
//!     let bundle = coracle.bundle().sh("exit 7");
//!     assert_eq!(coracle.run(&bundle).code, Some(7));
//!     coracle.assert_nothing_left();
//! }
//! ```
//!
//! The command under test is `$CORACLE_BIN`, or the newest `coracle` built in the target
//! directory by the profiles `quick` and `release`. Any other runtime with runc's command line can
//! be named there, to find out whether a test or coracle is wrong.

// A test says that it failed by panicking.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::missing_panics_doc)]
// `outcome.succeeds();` is a statement of its own.
#![allow(clippy::return_self_not_must_use)]

mod bundle;
mod call;
mod cgroups;
mod coracle;
mod delegation;
mod descriptors;
mod disk;
mod engine;
mod everyone;
pub mod host;
mod leaks;
mod mounts;
mod pty;
mod scratch;
mod skip;
pub mod systemd;
mod user;

pub use bundle::Bundle;
pub use call::{Call, Outcome, Running, eventually};
pub use cgroups::{
    controlled, controllers, end_unmounted_hierarchies, has_controller, lacking_on_version_2,
    limit_of, of_process,
};
pub use coracle::Coracle;
pub use descriptors::Receiver;
pub use disk::{Disk, LoopDisk};
pub use engine::{EngineBundle, EngineConfig};
pub use leaks::{clear, is_alive, processes_rooted_at};
pub use mounts::Mount;
pub use pty::Pty;
pub use scratch::{Scratch, copy_program};
pub use skip::{Needs, skipped};
pub use user::User;

pub use rustix::process::Signal;
pub use serde_json::{Value, json};
