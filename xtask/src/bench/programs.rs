//! The programs of the benchmark: ours are built, the peers are found.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::Outcome;

/// What is built here.
pub(super) struct Programs {
    pub(super) coracle: PathBuf,
    pub(super) floor: PathBuf,
    pub(super) payload: PathBuf,
    pub(super) peak_rss: PathBuf,
}

impl Programs {
    /// Builds the release profile, without coracle if there is one already.
    pub(super) fn build(coracle: Option<&Path>) -> Outcome<Self> {
        let mut packages = vec!["floor", "payload"];
        if coracle.is_none() {
            packages.push("coracle-cli");
        }
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let output = Command::new(cargo)
            .args(["build", "--release", "--message-format", "json-render-diagnostics"])
            .args(packages.iter().flat_map(|package| ["--package", package]))
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .stderr(Stdio::inherit())
            .output()?;
        if !output.status.success() {
            return Err("the build failed".into());
        }
        let executables: Vec<PathBuf> = String::from_utf8_lossy(&output.stdout)
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok())
            .filter_map(|message| message["executable"].as_str().map(PathBuf::from))
            .collect();
        let find = |name: &str| {
            let path = executables.iter().find(|path| path.ends_with(name)).cloned();
            path.ok_or_else(|| format!("the build made no {name}"))
        };
        Ok(Self {
            coracle: match coracle {
                Some(path) => absolute(path)?,
                None => find("coracle")?,
            },
            floor: find("floor")?,
            payload: find("payload")?,
            peak_rss: find("peak-rss")?,
        })
    }
}

/// A runtime's name and where it is.
pub(super) type Peer = (String, PathBuf);

/// The peers: runc and crun from $PATH, and those named on the command line. Then what is missing.
pub(super) fn peers(named: &[Peer]) -> Outcome<(Vec<Peer>, Vec<String>)> {
    let mut peers = Vec::new();
    let mut missing = Vec::new();
    for name in ["runc", "crun"] {
        if named.iter().any(|(other, _)| other == name) {
            continue;
        }
        let path = std::env::var_os("PATH").unwrap_or_default();
        match std::env::split_paths(&path).map(|place| place.join(name)).find(|file| file.is_file())
        {
            Some(file) => peers.push((name.to_owned(), file)),
            None => missing.push(format!("{name}: not in $PATH")),
        }
    }
    for (name, path) in named {
        peers.push((name.clone(), absolute(path)?));
    }
    Ok((peers, missing))
}

fn absolute(path: &Path) -> Outcome<PathBuf> {
    Ok(path.canonicalize().map_err(|error| format!("{}: {error}", path.display()))?)
}
