//! The Debian package.
//!
//! It offers itself as the alternative `oci-runtime` (update-alternatives(1)), the link
//! `/usr/bin/oci-runtime`, which an engine can be told to use. It takes no other runtime's name:
//! where coracle is to be `runc`, a link of that name in /usr/local/bin makes it so.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Dist, output, run};
use crate::Outcome;

/// How strongly coracle wants to be `oci-runtime`.
const PRIORITY: u32 = 50;

/// Makes the package; `None` where this machine cannot.
pub(super) fn package(
    dist: &Dist,
    binary: &Path,
    documents: &Path,
    bom: &Path,
) -> Outcome<Option<PathBuf>> {
    if Command::new("dpkg-deb").arg("--version").output().is_err() {
        return Ok(None);
    }
    let tree = Tree { root: dist.workspace.join("target/dist-package") };
    let _ = fs::remove_dir_all(&tree.root);
    tree.put("usr/bin/coracle", 0o755, &fs::read(binary)?)?;
    for file in fs::read_dir(documents)? {
        let file = file?;
        let name = file.file_name().to_string_lossy().into_owned();
        let content = fs::read(file.path())?;
        let place = match name.as_str() {
            "coracle.bash" => "usr/share/bash-completion/completions/coracle",
            "coracle.fish" => "usr/share/fish/vendor_completions.d/coracle.fish",
            "_coracle" => "usr/share/zsh/vendor-completions/_coracle",
            page => {
                tree.put_compressed(&format!("usr/share/man/man8/{page}"), &content)?;
                continue;
            }
        };
        tree.put(place, 0o644, &content)?;
    }
    let doc = "usr/share/doc/coracle";
    tree.put_compressed(
        &format!("{doc}/changelog"),
        &fs::read(dist.workspace.join("CHANGELOG.md"))?,
    )?;
    tree.put(&format!("{doc}/coracle.cdx.json"), 0o644, &fs::read(bom)?)?;
    tree.put(&format!("{doc}/copyright"), 0o644, copyright().as_bytes())?;

    let sums = |program: &str| {
        let files = tree.files()?;
        output(Command::new(program).args(files).current_dir(&tree.root))
    };
    let (md5, sha256, size) = (sums("md5sum")?, sums("sha256sum")?, tree.kibibytes()?);
    let architecture = architecture(&dist.triple);
    tree.put("DEBIAN/control", 0o644, control(&dist.version, architecture, size).as_bytes())?;
    tree.put("DEBIAN/md5sums", 0o644, md5.as_bytes())?;
    tree.put("DEBIAN/sha256sums", 0o644, sha256.as_bytes())?;
    tree.put(
        "DEBIAN/postinst",
        0o755,
        POSTINST.replace("PRIORITY", &PRIORITY.to_string()).as_bytes(),
    )?;
    tree.put("DEBIAN/prerm", 0o755, PRERM.as_bytes())?;
    let package = dist.output.join(format!("coracle_{}_{architecture}.deb", dist.version));
    // With this variable no file has a later time; `--root-owner-group` makes all of them root's.
    run(Command::new("dpkg-deb")
        .args(["--root-owner-group", "-Zxz", "--build"])
        .args([&tree.root, &package])
        .env("SOURCE_DATE_EPOCH", &dist.epoch)
        .stdout(std::process::Stdio::null()))?;
    Ok(Some(package))
}

const POSTINST: &str = "#!/bin/sh
set -e
if [ \"$1\" = configure ]; then
    update-alternatives --install /usr/bin/oci-runtime oci-runtime /usr/bin/coracle PRIORITY \\
        --slave /usr/share/man/man8/oci-runtime.8.gz oci-runtime.8.gz /usr/share/man/man8/coracle.8.gz
fi
";

const PRERM: &str = "#!/bin/sh
set -e
if [ \"$1\" = remove ] || [ \"$1\" = deconfigure ]; then
    update-alternatives --remove oci-runtime /usr/bin/coracle
fi
";

fn control(version: &str, architecture: &str, kibibytes: u64) -> String {
    format!(
        "Package: coracle
Version: {version}
Architecture: {architecture}
Maintainer: The coracle project <coracle@coracle.invalid>
Installed-Size: {kibibytes}
Section: admin
Priority: optional
Recommends: uidmap
Suggests: criu
Enhances: containerd, docker.io, podman
Description: OCI container runtime
 coracle makes and runs containers from OCI bundles. It takes the place of
 runc under containers engines such as podman, docker and containerd, with the
 same commands, options and messages, and runs as an ordinary user too.
"
    )
}

fn copyright() -> &'static str {
    "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: coracle

Files: *
Copyright: the coracle authors
License: Apache-2.0
Comment: What it is made of, with the licence of each part, is in coracle.cdx.json.

License: Apache-2.0
 On Debian systems, the text of the Apache License, version 2.0, is in
 /usr/share/common-licenses/Apache-2.0.
"
}

/// Debian's name for a machine.
fn architecture(triple: &str) -> &str {
    match triple.split('-').next().unwrap_or_default() {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "riscv64gc" => "riscv64",
        other => other,
    }
}

/// The files of the package, as they will be on the machine.
struct Tree {
    root: PathBuf,
}

impl Tree {
    fn put(&self, path: &str, mode: u32, content: &[u8]) -> Outcome<()> {
        let path = self.root.join(path);
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory)?;
        }
        fs::write(&path, content)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(mode))?;
        Ok(())
    }

    /// Without name and time, as Debian wants it.
    fn put_compressed(&self, path: &str, content: &[u8]) -> Outcome<()> {
        self.put(path, 0o644, content)?;
        run(Command::new("gzip").args(["-9n", "--force"]).arg(self.root.join(path)))
    }

    /// All but the package's own, in order.
    fn files(&self) -> Outcome<Vec<String>> {
        let find = "find usr -type f | LC_ALL=C sort";
        let files = output(Command::new("sh").args(["-c", find]).current_dir(&self.root))?;
        Ok(files.lines().map(str::to_owned).collect())
    }

    fn kibibytes(&self) -> Outcome<u64> {
        let mut bytes = 0;
        for file in self.files()? {
            bytes += fs::metadata(self.root.join(file))?.len().next_multiple_of(4096);
        }
        Ok(bytes / 1024)
    }
}
