//! The Debian package: what is in it, and that it comes and goes cleanly. `cargo xtask dist` makes
//! one, and a whole run of the tests names it in `$CORACLE_DIST`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod documents;
mod system;

use std::fs;
use std::path::{Path, PathBuf};

use coracle_tests::{Call, Scratch, Value, need, skipped};

/// For dpkg on a system that leaves out documentation.
const DOCUMENTED: &str = "--path-include=/usr/share/*";

/// The directory with what is handed out.
fn dist() -> Result<PathBuf, String> {
    let Some(directory) = std::env::var_os("CORACLE_DIST").map(PathBuf::from) else {
        return Err("needs what cargo xtask dist makes, in $CORACLE_DIST".into());
    };
    if !directory.exists() {
        return Err(format!("needs what cargo xtask dist makes, in {}", directory.display()));
    }
    for tool in ["dpkg", "dpkg-deb", "update-alternatives"] {
        if !fs::exists(format!("/usr/bin/{tool}")).unwrap() {
            return Err(format!("needs {tool}"));
        }
    }
    Ok(directory)
}

fn package(dist: &Path) -> PathBuf {
    let mut files = fs::read_dir(dist).unwrap().map(|file| file.unwrap().path());
    files.find(|file| file.extension().is_some_and(|end| end == "deb")).expect("a package")
}

fn output<S: AsRef<std::ffi::OsStr>>(words: impl IntoIterator<Item = S>) -> String {
    Call::new(words).output().succeeds().stdout
}

#[test]
fn checksums_are_right() {
    let dist = need!(dist());
    let sums = Call::new(["sha256sum", "--check", "--strict", "SHA256SUMS"]).within(&dist);
    let told = sums.output().succeeds().stdout;
    assert_eq!(told.lines().count(), 3, "{told}");
}

#[test]
fn the_list_of_parts_is_whole() {
    let dist = need!(dist());
    let mut files = fs::read_dir(&dist).unwrap().map(|file| file.unwrap().path());
    let bom = files.find(|file| file.to_str().unwrap().ends_with(".cdx.json")).unwrap();
    let bom: Value = fs::read_to_string(bom).unwrap().parse().unwrap();
    assert_eq!(bom["bomFormat"], "CycloneDX");
    assert_eq!(bom["metadata"]["component"]["name"], "coracle-cli");
    let parts = bom["components"].as_array().unwrap();
    let part = |name: &str| parts.iter().find(|part| part["name"] == name);
    for name in ["coracle", "clap", "rustix", "serde_json", "libc"] {
        let part = part(name).unwrap_or_else(|| panic!("{name}"));
        assert!(part["licenses"][0]["expression"].as_str().is_some_and(|text| !text.is_empty()));
        assert_eq!(part["hashes"].is_array(), name != "coracle", "{name}");
    }
    // What only tests, builds and documents need is in no binary.
    for name in ["coracle-tests", "clap_mangen", "clap_complete"] {
        assert!(part(name).is_none(), "{name}");
    }
    let known: Vec<&Value> = parts.iter().map(|part| &part["bom-ref"]).collect();
    for entry in bom["dependencies"].as_array().unwrap() {
        for on in entry["dependsOn"].as_array().unwrap() {
            assert!(known.contains(&on), "{on}");
        }
    }
}

#[test]
fn the_package_has_its_parts() {
    let package = package(&need!(dist()));
    let package = package.to_str().unwrap();
    let field = |name: &str| output(["dpkg-deb", "--field", package, name]).trim().to_owned();
    assert_eq!(field("Package"), "coracle");
    assert_eq!(field("Version"), env!("CARGO_PKG_VERSION"));
    // A static binary needs nothing.
    assert_eq!(field("Depends"), "");
    let contents = output(["dpkg-deb", "--contents", package]);
    for line in contents.lines() {
        assert!(line.contains(" root/root "), "{line}");
    }
    for (path, mode) in [
        ("./usr/bin/coracle", "-rwxr-xr-x"),
        ("./usr/share/man/man8/coracle.8.gz", "-rw-r--r--"),
        ("./usr/share/man/man8/coracle-run.8.gz", "-rw-r--r--"),
        ("./usr/share/bash-completion/completions/coracle", "-rw-r--r--"),
        ("./usr/share/zsh/vendor-completions/_coracle", "-rw-r--r--"),
        ("./usr/share/fish/vendor_completions.d/coracle.fish", "-rw-r--r--"),
        ("./usr/share/doc/coracle/copyright", "-rw-r--r--"),
        ("./usr/share/doc/coracle/changelog.gz", "-rw-r--r--"),
    ] {
        let line = contents.lines().find(|line| line.ends_with(&format!(" {path}")));
        assert!(line.is_some_and(|line| line.starts_with(mode)), "{path}\n{contents}");
    }
}

#[test]
fn it_comes_and_goes_cleanly() {
    let package = package(&need!(dist()));
    if !rustix::process::geteuid().is_root() {
        return skipped("needs root");
    }
    let scratch = Scratch::new();
    let root = scratch.path().join("root");
    for directory in [
        "var/lib/dpkg/info",
        "var/lib/dpkg/updates",
        "var/lib/dpkg/alternatives",
        "etc/alternatives",
        "var/log",
        "usr/bin",
        "tmp",
    ] {
        fs::create_dir_all(root.join(directory)).unwrap();
    }
    fs::write(root.join("var/lib/dpkg/status"), "").unwrap();
    let files = || {
        let find = "find . ! -type d ! -path './var/*' | sort";
        Call::new(["sh", "-c", find]).within(&root).output().succeeds().stdout
    };
    let dpkg = |args: &[&str]| {
        let root = format!("--root={}", root.display());
        // The scripts run outside of that directory, which has nothing to run them with.
        let call =
            Call::new(["dpkg", &root, DOCUMENTED, "--force-script-chrootless", "--log=/dev/null"]);
        call.args(args).output()
    };
    let before = files();
    dpkg(&["--install", package.to_str().unwrap()]).succeeds();
    let told = output([root.join("usr/bin/coracle").to_str().unwrap(), "--version"]);
    assert!(told.starts_with("coracle version "), "{told}");
    let link = |path: &str| fs::read_link(root.join(path)).unwrap();
    assert_eq!(link("usr/bin/oci-runtime"), Path::new("/etc/alternatives/oci-runtime"));
    assert_eq!(link("etc/alternatives/oci-runtime"), Path::new("/usr/bin/coracle"));
    assert_eq!(dpkg(&["--verify", "coracle"]).succeeds().stdout, "");
    let listed = dpkg(&["--listfiles", "coracle"]).succeeds().stdout;
    assert!(listed.contains("/usr/share/man/man8/coracle-exec.8.gz"), "{listed}");

    // Every page can be read.
    for page in fs::read_dir(root.join("usr/share/man/man8")).unwrap() {
        let page = page.unwrap().path();
        // The alternative's link leads out of this directory.
        if page.is_symlink() {
            continue;
        }
        let text = output(["gzip", "-dc", page.to_str().unwrap()]);
        assert!(text.contains(".SH NAME") && text.contains("EXIT STATUS"), "{page:?}");
        assert!(!text.contains("[=") && !text.contains("]=\\fI<BOOL"), "{page:?}");
    }
    dpkg(&["--purge", "coracle"]).succeeds();
    assert_eq!(files(), before);
    let status = fs::read_to_string(root.join("var/lib/dpkg/status")).unwrap();
    assert!(!status.contains("Package: coracle"), "{status}");
}
