//! The command line of `cargo xtask vm`.

use std::path::PathBuf;
use std::time::Duration;

use super::Kernel;
use crate::Outcome;

/// What `--help` prints.
pub(super) const USAGE: &str = "\
usage: cargo xtask vm [--kernel stable|newest|selinux] [--time SECONDS] [--with FILE]… COMMAND [ARGUMENT]…

Runs the command as root in a Debian guest: systemd, cgroup v2 with all controllers, AppArmor, podman,
docker, containerd, runc, crun and criu. There, coracle is this build, and the tests are programs in
/opt/coracle/tests. A command of one word is a shell script. The exit code is the command's.

  --kernel  stable (the default) is Debian's, newest that of its backports, selinux the first with
            SELinux, permissive, in place of AppArmor
  --time    how long the command may take: 600
  --with    a file to have in the working directory there
";

/// What it asks for.
#[derive(Debug, PartialEq)]
pub(super) struct Options {
    pub(super) kernel: Kernel,
    pub(super) limit: Duration,
    pub(super) with: Vec<PathBuf>,
    pub(super) command: Vec<String>,
}

impl Options {
    /// Reads it; nothing for `--help`.
    pub(super) fn parse(arguments: &[String]) -> Outcome<Option<Self>> {
        let mut options = Self {
            kernel: Kernel::Stable,
            limit: Duration::from_mins(10),
            with: Vec::new(),
            command: Vec::new(),
        };
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            let mut value = || rest.next().ok_or_else(|| format!("{argument} needs a value"));
            match argument.as_str() {
                "-h" | "--help" => return Ok(None),
                "--kernel" => {
                    options.kernel = match value()?.as_str() {
                        "stable" => Kernel::Stable,
                        "newest" => Kernel::Newest,
                        "selinux" => Kernel::Selinux,
                        other => return Err(format!("no kernel is called {other}").into()),
                    }
                }
                "--time" => options.limit = Duration::from_secs(value()?.parse()?),
                "--with" => options.with.push(value()?.into()),
                "--" => options.command.extend(rest.by_ref().cloned()),
                option if option.starts_with('-') => {
                    return Err(format!("unknown option {option}\n{USAGE}").into());
                }
                _ => {
                    options.command.push(argument.clone());
                    options.command.extend(rest.by_ref().cloned());
                }
            }
        }
        match &options.command[..] {
            [] => return Err(format!("no command\n{USAGE}").into()),
            [script] => options.command = vec!["sh".into(), "-c".into(), script.clone()],
            _ => {}
        }
        Ok(Some(options))
    }
}
