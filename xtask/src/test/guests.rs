//! What is tried in guests: which files of tests/, on which kernel, and how.

mod moved;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::process::geteuid;

use super::tally::{Lines, Tally};
use crate::Outcome;
use crate::packages;
use crate::vm::{self, Errand, Kernel};

/// The files of tests/ that are run in the guest too, because controllers of cgroup v2, AppArmor or a
/// user's session make a difference to them.
const IN_GUEST: [&str; 16] = [
    "guest",
    "engines_in_guest",
    "systemd",
    "checkpoint_in_guest",
    "systemd_limits",
    "resources",
    "refused_limits",
    "rare_limits",
    "figures",
    "update",
    "watching",
    "freezing",
    "rootless",
    "exec",
    "isolation",
    "packaging",
];

/// Those that the newest kernel makes a difference to.
const ON_NEWEST: [&str; 4] = ["guest", "mount_ids", "mounts", "net_devices"];

/// Those that need SELinux.
const ON_SELINUX: [&str; 2] = ["labels", "enforcing"];

/// Those that are skipped everywhere but in the guest.
const ONLY_IN_GUEST: [&str; 7] = [
    "guest",
    "engines_in_guest",
    "checkpoint_in_guest",
    "systemd",
    "systemd_limits",
    "labels",
    "enforcing",
];

/// For all that one guest is asked.
const LIMIT: Duration = Duration::from_mins(35);

/// For one file of tests in the guest.
const SECONDS_IN_GUEST: u32 = 900;

/// What guests take from a run.
pub(super) struct Guests {
    /// The command under test.
    pub(super) coracle: PathBuf,
    /// What is handed out, if it was built in this run.
    pub(super) dist: Option<PathBuf>,
    /// Where to keep what one guest leaves for another.
    pub(super) scratch: PathBuf,
}

impl Guests {
    /// Runs what is to be run there, and counts it: for a change that is tried, only what can be
    /// tried nowhere else.
    pub(super) fn test(&self, quick: bool, name: Option<&str>, tally: &mut Tally) {
        let wanted = |test: &str| match name {
            None => !quick,
            Some(name) => test == name && (!quick || ONLY_IN_GUEST.contains(&test)),
        };
        for (kernel, tests) in [
            (Kernel::Stable, &IN_GUEST[..]),
            (Kernel::Newest, &ON_NEWEST),
            (Kernel::Selinux, &ON_SELINUX),
        ] {
            let tests: Vec<&str> = tests.iter().copied().filter(|test| wanted(test)).collect();
            if tests.is_empty() {
            } else if geteuid().is_root() && Path::new("/usr/bin/apt-get").exists() {
                println!("$ cargo xtask vm --kernel {kernel} {}", tests.join(" "));
                count(self.errand(kernel, &tests), tally);
                if tests.contains(&moved::TEST) {
                    println!("$ cargo xtask vm, twice: from one guest to another");
                    count(moved::errand(&self.coracle, &self.scratch), tally);
                }
            } else {
                tally.skip("the guest: making it needs root on a Debian system");
            }
        }
    }

    /// One guest's errand: these files of tests/, one after the other.
    fn errand(&self, kernel: Kernel, names: &[&str]) -> Outcome<Errand> {
        packages::install(&vm::PACKAGES)?;
        // Debian's policy for SELinux lets a runtime have nothing of what is in /tmp.
        let scratch = if kernel == Kernel::Selinux { "/var/lib/containers" } else { "/tmp" };
        let script = format!(
            "export TMPDIR={scratch} CORACLE_GUEST=1 CORACLE_DIST=/opt/coracle/dist; \
             code=0; cd /opt/coracle/tests; for test in {}; do \
             echo \"     Running $test in the guest\"; \
             timeout {SECONDS_IN_GUEST} ./$test --show-output; status=$?; \
             [ $status != 124 ] || echo $test: not done after {SECONDS_IN_GUEST} s; \
             [ $status = 0 ] || code=$status; done; exit $code",
            names.join(" ")
        );
        let command = vec!["sh".into(), "-c".into(), script];
        let mut errand = Errand::new(kernel, LIMIT, command)?;
        errand.bring_coracle(self.coracle.clone());
        errand.bring_tests(|name| names.contains(&name))?;
        if let Some(dist) = &self.dist {
            for entry in fs::read_dir(dist)? {
                let entry = entry?;
                errand.bring(entry.path(), Path::new("opt/coracle/dist").join(entry.file_name()));
            }
        }
        Ok(errand)
    }
}

/// Runs tests in a guest and counts them.
fn count(errand: Outcome<Errand>, tally: &mut Tally) {
    let failed_before = tally.failed;
    let shared = Arc::new(Mutex::new(std::mem::take(tally)));
    let ended = errand.and_then(|errand| {
        let shared = Arc::clone(&shared);
        let hears = move |line: &str| {
            if shared.lock().is_ok_and(|mut tally| tally.hears(line)) {
                println!("{line}");
            }
        };
        errand.run([Box::new(Lines::new(hears)), Box::new(std::io::stderr())])
    });
    *tally = shared.lock().map(|mut tally| std::mem::take(&mut *tally)).unwrap_or_default();
    match ended {
        Ok(0) => {}
        // Its tests' failures are counted.
        Ok(_) if tally.failed > failed_before => {}
        Ok(code) => tally.fail("the guest", &format!("exit code {code}")),
        Err(error) => tally.fail("the guest", &error.to_string()),
    }
}
