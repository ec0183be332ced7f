//! `cargo xtask bench`'s command line.

use std::path::PathBuf;
use std::time::Duration;

use super::cgroups::View;
use super::programs::Peer;
use crate::Outcome;

/// What `cargo xtask bench --help` prints.
pub(super) const USAGE: &str = "\
Usage: cargo xtask bench [memory] [OPTIONS]
       cargo xtask bench seccomp

Measures coracle beside runc and crun, as found in $PATH, and beside the kernel's floor;
with `memory`, not times but the smallest memory limit under which each runs a container.

  --runs N           rounds to measure (default 100)
  --pause MS         milliseconds of rest after a container's end (default 20)
  --coracle PATH     measure this coracle instead of building the release profile
  --peer NAME=PATH   measure one more runtime, or NAME elsewhere; may be repeated
  --cgroups v1|v2    give everyone a private view of the cgroups with only that version
  --json FILE        write everything measured to FILE as well
  --check            compare with the project's bars, and fail if one is missed
";

/// The command line, understood.
#[derive(Default)]
pub(super) struct Options {
    pub(super) help: bool,
    /// Whether memory limits are to be searched for, and no times taken.
    pub(super) memory: bool,
    /// Rounds to measure.
    pub(super) runs: usize,
    /// What the kernel gets after a container's end, to clean up behind it.
    pub(super) pause: Duration,
    /// A coracle that is already built.
    pub(super) coracle: Option<PathBuf>,
    /// Names and paths of further runtimes.
    pub(super) peers: Vec<Peer>,
    /// The view of the cgroups to change to first.
    pub(super) view: Option<View>,
    /// Where the report goes as JSON.
    pub(super) json: Option<PathBuf>,
    /// Whether to judge.
    pub(super) check: bool,
}

impl Options {
    /// Understands the arguments behind `bench`, each value in the next argument or behind `=`.
    pub(super) fn parse(arguments: &[String]) -> Outcome<Self> {
        let mut options = Self { runs: 100, pause: Duration::from_millis(20), ..Self::default() };
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            let (name, inline) = match argument.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (argument.as_str(), None),
            };
            let mut value = || {
                inline
                    .or_else(|| rest.next().map(String::as_str))
                    .ok_or_else(|| format!("{name} needs a value"))
            };
            match name {
                "--help" | "-h" => options.help = true,
                "memory" => options.memory = true,
                "--check" => options.check = true,
                "--runs" => options.runs = value()?.parse().map_err(|_| "--runs takes a number")?,
                "--pause" => {
                    let milliseconds = value()?.parse().map_err(|_| "--pause takes a number")?;
                    options.pause = Duration::from_millis(milliseconds);
                }
                "--coracle" => options.coracle = Some(value()?.into()),
                "--json" => options.json = Some(value()?.into()),
                "--cgroups" => options.view = Some(View::parse(value()?)?),
                "--peer" => {
                    let (name, path) = value()?.split_once('=').ok_or("--peer takes NAME=PATH")?;
                    options.peers.push((name.to_owned(), path.into()));
                }
                _ => return Err(format!("unknown option {argument}\n\n{USAGE}").into()),
            }
        }
        if options.runs == 0 {
            return Err("--runs takes a number above 0".into());
        }
        Ok(options)
    }

    /// The arguments for another start of this program, in the view that `--cgroups` asked for.
    pub(super) fn without_view(arguments: &[String]) -> Vec<String> {
        let mut rest = arguments.iter();
        let mut kept = Vec::new();
        while let Some(argument) = rest.next() {
            if argument == "--cgroups" {
                rest.next();
            } else if !argument.starts_with("--cgroups=") {
                kept.push(argument.clone());
            }
        }
        kept
    }
}
