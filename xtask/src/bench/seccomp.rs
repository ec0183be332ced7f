//! `cargo xtask bench seccomp`: what the filters that we compile cost, beside libseccomp's.
//!
//! What is measured stands beside the tests that hold both to the same decisions, in
//! `crates/coracle/tests/seccomp_oracles/measure.rs`, and this runs it.

use std::process::{Command, ExitCode, Stdio};

use crate::Outcome;

/// What `cargo xtask bench seccomp --help` prints.
const USAGE: &str = "\
Usage: cargo xtask bench seccomp

Measures the default profiles of Docker, Podman and containerd, compiled by coracle and by libseccomp
in both its forms (needs gcc and libseccomp-dev): instructions, the time to compile and to load, and a
system call under the filter, in nanoseconds and (in brackets) as a multiple of one without a filter.
getppid is allowed whatever its arguments, which the kernel remembers; of socket, the profiles judge
one.
";

/// Measures and prints tables.
pub(super) fn run(arguments: &[String]) -> Outcome<ExitCode> {
    match arguments {
        [] => {}
        [help] if help == "--help" || help == "-h" => {
            print!("{USAGE}");
            return Ok(ExitCode::SUCCESS);
        }
        _ => return Err(format!("no arguments are known\n\n{USAGE}").into()),
    }
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["test", "--release", "--quiet", "--package", "coracle", "--test", "seccomp_oracles"])
        .args(["--", "--ignored", "--nocapture", "what_default_profiles_cost"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stderr(Stdio::inherit())
        .output()?;
    if !output.status.success() {
        return Err("the measurement failed".into());
    }
    // Without what the test harness says.
    let text = String::from_utf8_lossy(&output.stdout);
    for line in text.lines().filter(|line| line.starts_with('|') || line.contains("left out")) {
        if line.contains("instructions") {
            println!();
        }
        println!("{line}");
    }
    Ok(ExitCode::SUCCESS)
}
