//! `hello`: the walk-through, done for real, each step shown as the command a person would type.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use coracle::error::Context;
use coracle::{Error, Result};
use rustix::process::geteuid;

use super::{code, spec};
use crate::log::say;

/// The bundle's directory.
const BUNDLE: &str = "hello";

/// The container's ID.
const ID: &str = "container1";

pub(super) fn main() -> Result<u8> {
    let this = std::env::current_exe().what(|| "finding this program")?;
    let rootless = !geteuid().is_root();
    let bundle = Path::new(BUNDLE);
    let step = |command: &str| say(&format!("$ {command}\n"), true);
    if bundle.join("config.json").exists() {
        say(&format!("# {BUNDLE}/ is there from before; remove it to begin anew.\n"), true);
        step(&format!("cd {BUNDLE}"));
    } else {
        step(&format!("mkdir -p {BUNDLE}/rootfs"));
        std::fs::create_dir_all(bundle.join("rootfs")).what(|| "making hello/rootfs")?;
        step(&format!("cp {} {BUNDLE}/rootfs/hello", this.display()));
        let program = bundle.join("rootfs/hello");
        std::fs::copy(&this, &program).what(|| "copying the program into hello/rootfs")?;
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755))
            .what(|| "making hello/rootfs/hello executable")?;
        step(&format!("cd {BUNDLE}"));
        step(&format!("coracle spec{}", if rootless { " --rootless" } else { "" }));
        spec::write(bundle, rootless)?;
        step("sed -i 's;\"sh\";\"/hello\";' config.json");
        let config = bundle.join("config.json");
        let text = std::fs::read_to_string(&config).what(|| "reading hello/config.json")?;
        std::fs::write(&config, text.replace("\"sh\"", "\"/hello\""))
            .what(|| "writing hello/config.json")?;
    }
    step(&format!("coracle run {ID}"));
    let status = Command::new(&this)
        .args(["run", ID])
        .current_dir(bundle)
        .stdin(Stdio::inherit())
        .status()
        .what(|| "running the container")?;
    match status.code() {
        Some(exit) => Ok(code(exit)),
        None => Err(Error::new("the container's runtime was killed")),
    }
}
