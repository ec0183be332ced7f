//! What only some machines have, tried for real: AppArmor, all controllers of cgroup v2, a user's
//! session, the right to raise limits. `cargo xtask test` runs this file in the guest too.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod apparmor;
mod controllers;
mod rights;
mod session;
