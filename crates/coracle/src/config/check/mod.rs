//! What serde cannot see: values that are well-formed and still wrong.
//!
//! Whatever can be told from config.json alone is refused here, before anything is made, with the
//! place and the remedy. What the host has a say in (does the path exist, does the kernel know
//! the file system) comes up when it is done.

mod linux;
mod mounts;
mod namespaces;
mod place;
mod process;
mod resources;
mod seccomp;
mod warnings;

use place::{Place, absolute, no_nul, no_nuls};
pub use warnings::{capability_warnings, warnings};

use super::{Hooks, Process, Resources, Root, Spec};
use crate::error::Result;

/// Refuses a config.json that no container can be made of. The first error found is returned.
///
/// Without a process it passes: that is needed by `start` only.
pub fn check(spec: &Spec) -> Result<()> {
    let place = Place::start("");
    version(&place.key("ociVersion"), &spec.oci_version)?;
    root(&place.key("root"), spec.root.as_ref())?;
    if let Some(process) = &spec.process {
        process::check(&place.key("process"), process)?;
    }
    namespaces::check(&place, spec)?;
    mounts::check(&place.key("mounts"), spec)?;
    if let Some(list) = &spec.hooks {
        hooks(&place.key("hooks"), list)?;
    }
    if let Some(value) = spec.annotations.get("") {
        return Err(place
            .key("annotations")
            .key("")
            .refuse(value, "an annotation has no name")
            .help("a name such as com.example.purpose does not collide with others"));
    }
    if let Some(linux) = &spec.linux {
        linux::check(&place.key("linux"), spec, linux)?;
    }
    Ok(())
}

/// Refuses a process that cannot be run, as [`check`] does. `pointer` is where it stands:
/// `/process` in config.json, empty in a file of its own.
pub fn check_process(process: &Process, pointer: &str) -> Result<()> {
    process::check(&Place::start(pointer), process)
}

/// Refuses limits that make no sense, as [`check`] does. `pointer` is where they stand:
/// `/linux/resources` in config.json, empty in a file of their own.
pub fn check_resources(resources: &Resources, pointer: &str) -> Result<()> {
    resources::check(&Place::start(pointer), resources)
}

/// Versions 1.x are compatible with each other: a later one adds what an earlier one ignores.
fn version(place: &Place<'_>, version: &str) -> Result<()> {
    match semver(version) {
        Some((1, _)) => Ok(()),
        Some(_) => Err(place
            .refuse(version, "this version of the specification is not supported")
            .help("supported are 1.0.0 and all later versions 1.x")),
        None => Err(place
            .refuse(version, "not a version of the specification")
            .help("write the version that the file complies with, such as 1.3.0")),
    }
}

/// The major and the minor number of a version, if it is one (`SemVer` 2.0.0).
fn semver(text: &str) -> Option<(u64, u64)> {
    let identifiers = |text: &str| {
        text.split('.').all(|part| {
            !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        })
    };
    let (text, build) = text.split_once('+').unwrap_or((text, "0"));
    let (core, pre_release) = text.split_once('-').unwrap_or((text, "0"));
    if !identifiers(build) || !identifiers(pre_release) {
        return None;
    }
    let mut numbers = core.split('.').map(|part| {
        let plain =
            part.bytes().all(|b| b.is_ascii_digit()) && (part == "0" || !part.starts_with('0'));
        if plain { part.parse::<u64>().ok() } else { None }
    });
    match (numbers.next(), numbers.next(), numbers.next(), numbers.next()) {
        (Some(Some(major)), Some(Some(minor)), Some(Some(_)), None) => Some((major, minor)),
        _ => None,
    }
}

fn root(place: &Place<'_>, root: Option<&Root>) -> Result<()> {
    let help = "name the directory that the container sees as its root, such as rootfs";
    let Some(root) = root else {
        return Err(place.missing("root must be specified").help(help));
    };
    let place = place.key("path");
    if root.path.is_empty() {
        return Err(place.refuse(&root.path, "the root's path is empty").help(help));
    }
    no_nul(&place, &root.path)
}

fn hooks(place: &Place<'_>, hooks: &Hooks) -> Result<()> {
    for (name, hooks) in hooks.lists() {
        let place = place.key(name);
        for (i, hook) in hooks.iter().enumerate() {
            let place = place.index(i);
            absolute(&place.key("path"), &hook.path)?;
            no_nuls(&place.key("args"), &hook.args)?;
            no_nuls(&place.key("env"), &hook.env)?;
            if let Some(timeout) = hook.timeout.filter(|timeout| *timeout <= 0) {
                return Err(place
                    .key("timeout")
                    .refuse(&timeout, "a hook's timeout is not greater than zero")
                    .help("give it in seconds, or leave it out to wait without end"));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::semver;

    #[test]
    fn versions() {
        assert_eq!(semver("1.0.2"), Some((1, 0)));
        assert_eq!(semver("1.0.2-dev"), Some((1, 0)));
        assert_eq!(semver("10.20.30-rc.1+build.5"), Some((10, 20)));
        assert_eq!(semver("1.2.3+build-7"), Some((1, 2)));
        for bad in [
            "", "1", "1.0", "1.0.0.0", "v1.0.0", "1.0.x", "1.0.0-", "1.0.0+", "01.0.0", "1..0",
            " 1.0.0",
        ] {
            assert_eq!(semver(bad), None, "{bad}");
        }
    }
}
