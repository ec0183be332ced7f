//! The engines' programs, as Debian installs them.

use std::path::{Path, PathBuf};

use coracle_tests::Needs;

/// How many seconds a command of an engine's gets; then it ends with 124. Engines wait for each
/// other, and this machine may have more to do.
pub(crate) const PATIENCE: &str = "60";

/// Where Debian's packages put programs. Others may be in other places.
pub(crate) const PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin";

/// Finds an engine's program.
pub(crate) fn program(name: &str, package: &str) -> Needs<PathBuf> {
    PATH.split(':')
        .map(|directory| Path::new(directory).join(name))
        .find(|path| path.exists())
        .ok_or_else(|| format!("needs {name} (package {package})"))
}
