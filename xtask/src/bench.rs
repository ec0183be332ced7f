//! `cargo xtask bench`: what a container costs here, and beside its peers and the kernel's floor.
//!
//! Everything is measured in one run: each round visits all contenders in a new random order, so
//! that a change of the machine's mood, or the kernel's late removal of network namespaces, meets
//! them alike. `docs/performance.md` says more.

mod cgroups;
mod command;
mod contender;
mod machine;
mod memory;
mod options;
mod programs;
mod report;
mod seccomp;
mod site;

use std::fs;
use std::io::{self, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use rustix::process::geteuid;
use serde_json::json;

use self::machine::Machine;
use self::options::Options;
use self::programs::Programs;
use self::report::Verdict;
use self::site::{Site, WARM_UP};
use crate::Outcome;

/// Measures, prints and judges as the arguments say.
pub(crate) fn run(arguments: &[String]) -> Outcome<ExitCode> {
    if let Some((_, rest)) = arguments.split_first().filter(|(first, _)| *first == "seccomp") {
        return seccomp::run(rest);
    }
    let options = Options::parse(arguments)?;
    if options.help {
        print!("{}", options::USAGE);
        return Ok(ExitCode::SUCCESS);
    }
    if !geteuid().is_root() {
        return Err("a benchmark of containers needs root".into());
    }
    if let Some(view) = options.view {
        view.enter(&Options::without_view(arguments))?;
    }
    let programs = Programs::build(options.coracle.as_deref())?;
    let (peers, mut left_out) = programs::peers(&options.peers)?;
    let mut site = Site::open(&programs, &peers)?;
    let machine = Machine::describe(&site.hierarchies);
    left_out.extend(site.leave_out_the_broken());
    if options.memory {
        memory::measure(&site, &machine, &left_out)?;
        return Ok(ExitCode::SUCCESS);
    }
    site.measure(&options, &programs)?;

    let verdicts = report::judge(&site.contenders);
    if let Some(file) = &options.json {
        let versions: Vec<_> =
            site.contenders.iter().map(|contender| contender.version(&site.runner)).collect();
        let report = json!({
            "machine": machine.to_json(),
            "runs": options.runs,
            "pause_ns": nanoseconds(options.pause),
            "left_out": left_out,
            "bars": verdicts.iter().map(Verdict::to_json).collect::<Vec<_>>(),
            "contenders": report::to_json(&site.contenders, &versions),
        });
        fs::write(file, serde_json::to_vec_pretty(&report)?)?;
    }
    // Written, not printed: a closed pipe must not end us before everything is removed.
    let mut output = io::stdout().lock();
    write!(output, "{machine}")?;
    writeln!(
        output,
        "samples  {}, after {WARM_UP} to warm up; {:?} apart\n",
        options.runs, options.pause
    )?;
    for line in left_out {
        writeln!(output, "left out: {line}\n")?;
    }
    output.write_all(report::tables(&site.contenders)?.as_bytes())?;
    if !options.check {
        return Ok(ExitCode::SUCCESS);
    }
    writeln!(output)?;
    for verdict in &verdicts {
        writeln!(output, "{verdict}")?;
    }
    let passed = verdicts.iter().all(Verdict::passed);
    Ok(if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// A time as JSON has it.
fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
