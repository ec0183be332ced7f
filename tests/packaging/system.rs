//! The package on a whole system: the guest's, which forgets it afterwards.

use std::fs;
use std::path::Path;

use coracle_tests::{Call, Needs, Scratch, need};

use crate::{DOCUMENTED, dist, output, package};

/// What there is outside of logs, caches and other files that are always changing.
const FILES: &str = "find /etc /usr /var/lib /opt /run/coracle -xdev ! -type d \
    ! -path '/var/lib/dpkg/*' ! -path '/var/lib/systemd/*' ! -path '/var/lib/containers/*' 2>/dev/null | sort";

/// The bundle of a container that says something.
const BUNDLE: &str = r#"
    mkdir -p rootfs/bin && cp /bin/busybox rootfs/bin/
    oci-runtime spec
    sed -i -e 's/"terminal": true/"terminal": false/' -e 's/"sh"/"busybox", "sh", "-c", "WHAT"/' config.json
"#;

fn a_system() -> Needs<()> {
    match std::env::var_os("CORACLE_GUEST") {
        Some(_) => Ok(()),
        None => Err("needs a system to install it in: cargo xtask test has a guest".into()),
    }
}

/// A line for a shell, in a directory of its own.
fn sh(scratch: &Scratch, script: &str) -> String {
    Call::new(["sh", "-ec", script]).within(scratch.path()).output().succeeds().stdout
}

#[test]
fn a_system_has_it_and_is_rid_of_it() {
    need!(a_system());
    let package = package(&need!(dist()));
    let package = package.to_str().unwrap();
    let before = output(["sh", "-c", FILES]);
    let install = ["dpkg", DOCUMENTED, "--install", package];
    output(install);
    assert_eq!(output(["dpkg", "--verify", "coracle"]), "");
    for page in ["coracle.8.gz", "coracle-run.8.gz", "oci-runtime.8.gz"] {
        assert!(fs::metadata(Path::new("/usr/share/man/man8").join(page)).is_ok(), "{page}");
    }
    let alternatives = output(["update-alternatives", "--query", "oci-runtime"]);
    assert!(alternatives.contains("Value: /usr/bin/coracle"), "{alternatives}");

    let scratch = Scratch::new();
    sh(&scratch, &BUNDLE.replace("WHAT", "echo hello"));
    assert_eq!(sh(&scratch, "oci-runtime run packaged"), "hello\n");

    // The same once more, as an upgrade, under a container that runs.
    sh(
        &scratch,
        &BUNDLE
            .replace("WHAT", "sleep 1000")
            .replace("    oci-runtime spec", "rm config.json; oci-runtime spec"),
    );
    sh(&scratch, "oci-runtime run --detach packaged >/dev/null 2>&1");
    output(install);
    assert_eq!(sh(&scratch, "oci-runtime exec packaged /bin/busybox echo still"), "still\n");
    sh(&scratch, "oci-runtime delete --force packaged");

    output(["dpkg", "--purge", "coracle"]);
    assert_eq!(output(["sh", "-c", FILES]), before);
    let known = Call::new(["dpkg", "--status", "coracle"]).output();
    assert!(known.fails().stderr.contains("not installed"));
}
