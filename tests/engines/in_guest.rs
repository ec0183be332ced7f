//! podman and docker on cgroup v2 with their defaults, which are systemd's cgroups and `AppArmor`: each
//! scenario once with runc and once with coracle. `cargo xtask test` runs this file in the guest.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
// Scenarios are written alike, with quotes in them or not.
#![allow(clippy::needless_raw_string_hashes)]

mod compare;
mod machine;
mod programs;

mod in_guest {
    mod docker;
    mod life;
    mod limits;
    mod units;

    use std::sync::{Mutex, MutexGuard, PoisonError};

    /// Everything that must be gone when root's containers of podman's are.
    const LEFT: &str = r#"
        podman rm -f -a -t 0 >/dev/null
        none_left /run/runc /run/coracle -mindepth 1
        until_ok sh -c '! systemctl list-units --all --plain --no-legend "libpod-*.scope" | grep .'
    "#;

    /// Held by a test that runs root's containers: when they are gone there must be none.
    fn turn() -> MutexGuard<'static, ()> {
        static TURN: Mutex<()> = Mutex::new(());
        TURN.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
