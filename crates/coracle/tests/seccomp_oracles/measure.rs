//! What the filters cost, to be looked at: `cargo test --release --test seccomp_oracles -- \
//! --ignored --nocapture measure`.

use std::time::{Duration, Instant};

use coracle::seccomp::native;

use super::{PROFILES, libseccomp, profile, program};

/// The median of many.
fn median(mut once: impl FnMut() -> Duration) -> Duration {
    let mut times: Vec<_> = (0..201).map(|_| once()).collect();
    times.sort_unstable();
    times[times.len() / 2]
}

#[test]
#[ignore = "measures"]
fn what_default_profiles_cost() {
    for (name, _) in PROFILES {
        let profile = profile(name);
        let program = program(&profile, native());
        let compiling = median(|| {
            let start = Instant::now();
            std::hint::black_box(super::program(&profile, native()));
            start.elapsed()
        });
        let loading = median(|| load(&program));
        eprintln!(
            "{name}: {} instructions, compiled in {compiling:?}, loaded in {loading:?}",
            program.instructions.len()
        );
        let Ok(other) = libseccomp::export(&profile, 2) else { continue };
        let loading = median(|| load(&other.program));
        eprintln!(
            "{name}, libseccomp: {} instructions, compiled in {:?}, loaded in {loading:?}",
            other.program.instructions.len(),
            other.compiling
        );
    }
}

/// On a thread of its own, since a filter stays.
fn load(program: &coracle::seccomp::Program) -> Duration {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            rustix::thread::set_no_new_privs(true).unwrap();
            let start = Instant::now();
            program.load().unwrap();
            start.elapsed()
        });
        thread.join().unwrap()
    })
}
