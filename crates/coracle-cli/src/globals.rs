//! Who we are called as, and what goes for every command.

use std::ffi::OsString;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use clap::ArgMatches;
use coracle::cgroup::Manager;
use coracle::error::Context;
use coracle::store::Store;
use coracle::{Error, Result};
use rustix::process::geteuid;

use crate::log::Log;

/// The name of the command that was called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Name {
    /// Ourselves.
    Coracle,
    /// As runc.
    Runc,
    /// As crun.
    Crun,
    /// As the program of the walk-through's container, which is a copy of this one.
    Greeting,
}

impl Name {
    /// By the last part of the path that we were called by.
    pub(crate) fn from_path(path: Option<OsString>) -> Self {
        let path = PathBuf::from(path.unwrap_or_default());
        match path.file_name().and_then(|name| name.to_str()) {
            Some("runc") => Self::Runc,
            Some("crun") => Self::Crun,
            Some("hello") => Self::Greeting,
            _ => Self::Coracle,
        }
    }

    /// As it is typed, and as the state root is called.
    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::Coracle | Self::Greeting => "coracle",
            Self::Runc => "runc",
            Self::Crun => "crun",
        }
    }
}

/// What goes for every command.
pub(crate) struct Globals {
    /// Who we are called as.
    pub(crate) name: Name,
    /// Where the containers are.
    pub(crate) store: Store,
    /// Who makes the cgroups.
    pub(crate) manager: Manager,
}

impl Globals {
    /// From the options before the command.
    pub(crate) fn from_options(name: Name, matches: &ArgMatches, log: &mut Log) -> Result<Self> {
        let root = match matches.get_one::<PathBuf>("root") {
            Some(root) if root == Path::new("/") => {
                return Err(Error::new("the state root cannot be /")
                    .help("give --root a directory of its own"));
            }
            Some(root) => std::path::absolute(root).what(|| "finding the state root")?,
            None => default_root(name, log)?,
        };
        let manager = cgroup_manager(matches)?;
        Ok(Self { name, store: Store::new(root), manager })
    }
}

/// Who makes the cgroups: runc's `--systemd-cgroup`, crun's `--cgroup-manager`.
fn cgroup_manager(matches: &ArgMatches) -> Result<Manager> {
    let manager = matches.get_one::<String>("cgroup-manager").map(String::as_str);
    let systemd = matches.get_one::<bool>("systemd-cgroup").copied().unwrap_or(false);
    match manager {
        Some("disabled") => Ok(Manager::Disabled),
        None | Some("cgroupfs") if !systemd => Ok(Manager::Files),
        None | Some("cgroupfs" | "systemd") => Ok(Manager::Systemd),
        Some(other) => Err(Error::new(format!("unknown cgroup manager {other:?}"))
            .help("the managers are cgroupfs, systemd and disabled")),
    }
}

/// `/run/NAME` for root; below the user's runtime directory for anybody else, and for root of a
/// user namespace that is not known to be root outside: podman's monitor gives no `USER`.
fn default_root(name: Name, log: &mut Log) -> Result<PathBuf> {
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").filter(|directory| !directory.is_empty());
    let root = geteuid().is_root();
    let mapped = root
        && std::env::var_os("USER").is_none_or(|user| user != "root")
        && coracle::container::in_user_namespace();
    match runtime {
        Some(directory) if !root || mapped || name == Name::Crun => {
            let directory = PathBuf::from(directory).join(name.text());
            // The sticky bit keeps it from being tidied away (XDG Base Directory Specification).
            if std::fs::DirBuilder::new().mode(0o700).create(&directory).is_ok() {
                let _ =
                    std::fs::set_permissions(&directory, std::fs::Permissions::from_mode(0o1700));
            }
            Ok(directory)
        }
        _ if root => Ok(Path::new("/run").join(name.text())),
        _ => own_directory(name, log),
    }
}

/// Where the state of containers usually is, without making sure that it can be.
pub(crate) fn usual_root(name: Name) -> PathBuf {
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").filter(|directory| !directory.is_empty());
    let base = runtime.filter(|_| !geteuid().is_root() || name == Name::Crun);
    base.map_or_else(|| PathBuf::from("/run"), PathBuf::from).join(name.text())
}

/// For a user without a session: a directory below /tmp that is surely theirs.
fn own_directory(name: Name, log: &mut Log) -> Result<PathBuf> {
    let uid = geteuid().as_raw();
    let directory = PathBuf::from(format!("/tmp/{}-{uid}", name.text()));
    let _ = std::fs::DirBuilder::new().mode(0o700).create(&directory);
    let what = || format!("looking at {}", directory.display());
    let found = std::fs::symlink_metadata(&directory).what(what)?;
    if !found.is_dir() || found.uid() != uid || found.mode() & 0o077 != 0 {
        return Err(Error::new(format!("{} is not yours alone", directory.display()))
            .help("set XDG_RUNTIME_DIR, or give --root"));
    }
    log.debug(&format!("XDG_RUNTIME_DIR is not set; the state is in {}", directory.display()));
    Ok(directory)
}
