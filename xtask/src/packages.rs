//! Debian's packages that a chore needs.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::Outcome;

/// A package, and a file that tells that it is there.
pub(crate) type Package = (&'static str, &'static str);

/// Those that are not installed.
pub(crate) fn missing(packages: &[Package]) -> Vec<&'static str> {
    let missing = packages.iter().filter(|(_, file)| !Path::new(file).exists());
    missing.map(|(package, _)| *package).collect()
}

/// Installs what is missing. That needs root on a Debian system.
pub(crate) fn install(packages: &[Package]) -> Outcome<()> {
    let missing = missing(packages);
    let install = ["install", "-y", "-q", "--no-install-recommends"];
    if missing.is_empty() || apt_get(&[&install, &missing[..]].concat()) {
        return Ok(());
    }
    // The machine's lists may be old, or never fetched.
    apt_get(&["update", "-q"]);
    if apt_get(&[&install, &missing[..]].concat()) {
        return Ok(());
    }
    Err(format!("these packages are needed: {}", missing.join(", ")).into())
}

/// Where this machine gets Debian's packages from.
pub(crate) fn mirror() -> Outcome<String> {
    let mut list = Command::new("apt-get");
    list.args(["indextargets", "--format", "$(ORIGIN) $(REPO_URI)", "Created-By: Packages"]);
    let output = list.output().map_err(|error| format!("apt-get: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let mirror = text.lines().find_map(|line| line.strip_prefix("Debian "));
    Ok(mirror.ok_or("apt knows no mirror of Debian's")?.to_owned())
}

/// Whether it succeeds.
fn apt_get(arguments: &[&str]) -> bool {
    println!("$ apt-get {}", arguments.join(" "));
    let mut command = Command::new("timeout");
    command.args(["--kill-after=10", "600", "apt-get"]).args(arguments);
    command.env("DEBIAN_FRONTEND", "noninteractive").stdin(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}
