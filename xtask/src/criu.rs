//! CRIU for the tests: that of a Debian that is newer than many machines, whose own fails on new
//! kernels. It is unpacked, not installed, and runs with the libraries that came with it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::Outcome;
use crate::packages::{self, Package};

/// Debian's packages that it takes to get it.
const PACKAGES: [Package; 2] = [
    ("debian-archive-keyring", "/usr/share/keyrings/debian-archive-keyring.gpg"),
    ("mmdebstrap", "/usr/bin/mmdebstrap"),
];

/// The release that it is from.
const SUITE: &str = "trixie";

/// For some ten packages to come.
const SECONDS: &str = "300";

/// The directory of the program `criu`, below `cache`. It is made if it is not there, which needs root
/// on a Debian system.
pub(crate) fn directory(cache: &Path) -> Outcome<PathBuf> {
    let directory = cache.join(SUITE);
    if !directory.exists() {
        println!("unpacking criu of Debian {SUITE}");
        packages::install(&PACKAGES)?;
        let unfinished = cache.join(format!("{SUITE}-{}", std::process::id()));
        let made = make(&unfinished).and_then(|()| Ok(fs::rename(&unfinished, &directory)?));
        if made.is_err() {
            let _ = fs::remove_dir_all(&unfinished);
        }
        made?;
    }
    Ok(directory)
}

fn make(directory: &Path) -> Outcome<()> {
    fs::create_dir_all(directory)?;
    let keys = PACKAGES[0].1;
    let mut unpack = Command::new("timeout");
    unpack
        .args(["--kill-after=10", SECONDS, "mmdebstrap", "--quiet", "--mode=root"])
        .args(["--variant=extract", "--aptopt=APT::Install-Recommends \"false\""])
        .args(["--include=criu", SUITE])
        .arg(directory.join("root"))
        .arg(format!("deb [signed-by={keys}] {} {SUITE} main", packages::mirror()?));
    let output = unpack.stdin(Stdio::null()).output()?;
    if !output.status.success() {
        let words = String::from_utf8_lossy(&output.stderr);
        let last = words.trim_end().lines().last().unwrap_or_default();
        return Err(format!("mmdebstrap: {}: {last}", output.status).into());
    }
    let program = directory.join("criu");
    fs::write(&program, wrapper(directory)?)?;
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
    Ok(())
}

/// Runs the program beside it: its own loader, whose name has the architecture in it, with its own
/// libraries.
fn wrapper(directory: &Path) -> Outcome<String> {
    let mut libraries = fs::read_dir(directory.join("root/usr/lib"))?.flatten().map(|d| d.path());
    let loader = libraries
        .find_map(|place| {
            let mut files = fs::read_dir(&place).ok()?.flatten();
            files.find(|file| file.file_name().to_string_lossy().starts_with("ld-linux"))
        })
        .ok_or("the loader is not among the libraries")?
        .path();
    let loader = loader.strip_prefix(directory)?;
    let place = loader.parent().ok_or("a loader without a directory")?;
    Ok(format!(
        "#!/bin/sh\nhere=${{0%/*}}\nexec \"$here/{}\" --library-path \"$here/{}\" \
         \"$here/root/usr/sbin/criu\" \"$@\"\n",
        loader.display(),
        place.display()
    ))
}
