//! `cargo xtask bench memory`: the smallest memory limit under which a container still runs.
//!
//! What a runtime's own processes take while they are in the container's cgroup is taken from the
//! container: a limit has to leave room for both.

use std::io::{self, Write as _};

use super::machine::Machine;
use super::site::Site;
use crate::Outcome;

/// A limit is charged in pages, and so counted in them.
const PAGE: u64 = 4096;

/// Where the search gives up, in pages: 256 MiB.
const MOST: u64 = 256 << 20 >> 12;

/// As often it has to run under a limit: what the kernel charges differs a little between two runs.
const TRIES: usize = 5;

/// Searches for every runtime, one after the other, and prints a table.
pub(super) fn measure(site: &Site, machine: &Machine, left_out: &[String]) -> Outcome<()> {
    let mut output = io::stdout().lock();
    write!(output, "{machine}")?;
    writeln!(output, "a limit counts if {TRIES} containers in a row ran under it\n")?;
    for line in left_out {
        writeln!(output, "left out: {line}\n")?;
    }
    writeln!(output, "{:<12}{:>20}", "runtime", "smallest limit KiB")?;
    for contender in site.contenders.iter().filter(|contender| !contender.is_floor()) {
        // `most` is known to be enough, `least` not to be.
        let (mut least, mut most) = (0, MOST);
        if !contender.runs_within(&site.runner, MOST * PAGE, TRIES)? {
            writeln!(output, "  {:<10}{:>20}", contender.name, "above 256 MiB")?;
            continue;
        }
        while most - least > 1 {
            let middle = least.midpoint(most);
            if contender.runs_within(&site.runner, middle * PAGE, TRIES)? {
                most = middle;
            } else {
                least = middle;
            }
            site.go_on()?;
        }
        writeln!(output, "  {:<10}{:>20}", contender.name, most * PAGE / 1024)?;
    }
    Ok(())
}
