//! What Cargo builds for the guest.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::Outcome;

/// The command, built in seconds.
pub(super) fn coracle() -> Outcome<PathBuf> {
    let built = build(&["build", "--package", "coracle-cli", "--profile", "quick"])?;
    let (_, program) = built.into_iter().next().ok_or("the build made no program")?;
    Ok(program)
}

/// The black-box tests: name and program.
pub(super) fn tests() -> Outcome<Vec<(String, PathBuf)>> {
    build(&["test", "--no-run", "--package", "coracle-tests", "--tests"])
}

/// Runs Cargo; the name and the path of each program.
fn build(arguments: &[&str]) -> Outcome<Vec<(String, PathBuf)>> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(arguments)
        .args(["--quiet", "--message-format", "json-render-diagnostics"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()?;
    if !output.status.success() {
        return Err("the build failed".into());
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let messages = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let programs = messages.filter_map(|message| {
        let program = message["executable"].as_str()?;
        Some((message["target"]["name"].as_str()?.to_owned(), PathBuf::from(program)))
    });
    Ok(programs.collect())
}
