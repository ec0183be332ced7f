//! Cgroups that root hands over to an ordinary user, as systemd does to a session (cgroups(7),
//! "Cgroups delegation").

use std::fmt::Write;
use std::fs;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};

use crate::cgroups;
use crate::skip::Needs;
use crate::user::User;

/// A cgroup of the user's in each hierarchy. They are removed when this is dropped.
pub(crate) struct Delegation {
    cgroups: Vec<PathBuf>,
}

impl Delegation {
    /// Makes the cgroups.
    pub(crate) fn new(name: &str, user: &User) -> Needs<Self> {
        if !user.switch {
            return Err("needs root, to delegate cgroups".into());
        }
        let mut cgroups = Vec::new();
        let mine = |point: &String| point.starts_with("/sys/fs/cgroup");
        for tree in cgroups::trees().into_iter().map(|tree| tree.point).filter(mine) {
            let cgroup = Path::new(&tree).join(name);
            fs::create_dir(&cgroup).map_err(|error| format!("{}: {error}", cgroup.display()))?;
            cgroups.push(cgroup.clone());
            // Where the user's own processes are: a cgroup with some hands no controllers on.
            let session = cgroup.join("session");
            fs::create_dir(&session).unwrap();
            for directory in [&cgroup, &session] {
                // A new cpuset of version 1 is empty, and nothing can run in it.
                for file in ["cpuset.cpus", "cpuset.mems"] {
                    if let Ok(all) = fs::read_to_string(Path::new(&tree).join(file)) {
                        let _ = fs::write(directory.join(file), all);
                    }
                }
                let files = ["cgroup.procs", "tasks", "cgroup.subtree_control", "cgroup.threads"];
                for file in files.iter().chain(&[""]) {
                    let _ = chown(directory.join(file), Some(user.uid), Some(user.gid));
                }
            }
        }
        Ok(Self { cgroups })
    }

    /// The directories in which the user's containers have theirs.
    pub(crate) fn cgroups(&self) -> &[PathBuf] {
        &self.cgroups
    }

    /// The start of a command that moves itself into them before the rest.
    pub(crate) fn enter(&self) -> Vec<String> {
        let mut script = String::new();
        for cgroup in &self.cgroups {
            let _ = write!(script, "echo $$ > {}/session/cgroup.procs && ", cgroup.display());
        }
        script += "exec \"$@\"";
        ["sh", "-c", &script, "sh"].map(str::to_owned).into()
    }
}

impl Drop for Delegation {
    fn drop(&mut self) {
        for cgroup in &self.cgroups {
            cgroups::remove(cgroup);
        }
    }
}
