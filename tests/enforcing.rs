//! SELinux in force, with Debian's own policy, in which the runtime has the domain that the policy
//! has for runtimes. `cargo xtask test` runs this file in a guest.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use coracle_tests::{Bundle, Call, Coracle, Needs, Outcome, eventually, host, need};

const PROCESS: &str = "system_u:system_r:container_t:s0:c1,c2";
const OTHER: &str = "system_u:system_r:container_t:s0:c3";
const FILES: &str = "system_u:object_r:container_file_t:s0:c1,c2";

/// The policy's switch (selinux(8)).
const ENFORCE: &str = "/sys/fs/selinux/enforce";

/// The policy is in force as long as this lives, for one test after the other.
struct Enforcing {
    coracle: Coracle,
    _alone: MutexGuard<'static, ()>,
}

impl Enforcing {
    fn new() -> Needs<Self> {
        static ALONE: Mutex<()> = Mutex::new(());
        host::selinux()?;
        if !std::env::temp_dir().starts_with("/var/lib/containers") {
            return Err("needs TMPDIR=/var/lib/containers, where a runtime may have files".into());
        }
        let coracle = Coracle::as_root()?;
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        // As the policy has it for runc and crun.
        label(coracle.binary(), &["-t", "container_engine_exec_t"]);
        label(coracle.path(), &["-t", "container_var_lib_t"]);
        Ok(Self { coracle, _alone: alone })
    }

    /// A bundle whose files are the container's, with a script that writes to /told, as the policy
    /// lets it have nothing of what a test holds open.
    fn bundle(&self, script: &str) -> Bundle {
        let bundle = self.coracle.bundle().sh(&format!("exec > /told 2>&1; {script}"));
        let bundle = bundle
            .file("/own", 0o644, "own\n")
            .file("/another", 0o644, "another's\n")
            .file("/host", 0o644, "the host's\n")
            .set("/process/selinuxLabel", PROCESS)
            .set("/linux/mountLabel", FILES)
            .set("/root/readonly", false);
        label(bundle.path(), &["-R", "-t", "container_var_lib_t"]);
        label(&bundle.rootfs(), &["-R", FILES]);
        label(&bundle.rootfs().join("another"), &["-l", "s0:c3"]);
        label(&bundle.rootfs().join("host"), &["-t", "var_lib_t"]);
        bundle
    }

    /// A command of coracle's, with the policy in force. What it says comes through a pipe, which it
    /// may have.
    fn call(&self, words: &[&str]) -> Outcome {
        fs::write(ENFORCE, "1").unwrap();
        let state = self.coracle.state_directory();
        let call =
            Call::new([self.coracle.binary().as_os_str(), "--root".as_ref(), state.as_ref()]);
        let script = "set -o pipefail; \"$@\" 2>&1 | cat >&2";
        let call = call.args(words).through(["bash", "-c", script, "bash"]);
        call.env("CORACLE_TEST", self.coracle.name()).output()
    }

    fn run(&self, bundle: &Bundle) -> Outcome {
        self.call(&["run", "--bundle", bundle.path().to_str().unwrap(), bundle.id()])
    }
}

impl Drop for Enforcing {
    fn drop(&mut self) {
        let _ = fs::write(ENFORCE, "0");
        label(self.coracle.binary(), &["-t", "bin_t"]);
    }
}

#[track_caller]
fn label(path: &Path, options: &[&str]) {
    Call::new(["chcon"]).args(options).args([path]).output().succeeds();
}

fn told(bundle: &Bundle) -> String {
    fs::read_to_string(bundle.rootfs().join("told")).unwrap().replace('\0', "\n")
}

#[test]
fn a_container_has_its_own_files_and_no_others() {
    let enforcing = need!(Enforcing::new());
    let bundle = enforcing.bundle(
        "cat /proc/self/attr/current; cat /own; cat /another; cat /host; \
         echo shared > /dev/shm/x && cat /dev/shm/x; mount -t tmpfs none /home; echo end",
    );
    enforcing.run(&bundle).succeeds();
    assert_eq!(
        told(&bundle),
        format!(
            "{PROCESS}\nown\ncat: can't open '/another': Permission denied\n\
             cat: can't open '/host': Permission denied\nshared\n\
             mount: mounting none on /home failed: Permission denied\nend\n"
        )
    );
    enforcing.coracle.assert_nothing_left();
}

#[test]
fn exec_is_held_like_the_container() {
    let enforcing = need!(Enforcing::new());
    let bundle = enforcing.bundle("sleep 1000");
    let id = bundle.id();
    enforcing
        .call(&["run", "--detach", "--bundle", bundle.path().to_str().unwrap(), id])
        .succeeds();
    let exec = |words: &[&str]| enforcing.call(&[&["exec"], words].concat());
    let script = "cat /proc/self/attr/current > /told";
    exec(&[id, "sh", "-c", script]).succeeds();
    assert_eq!(told(&bundle), format!("{PROCESS}\n"));
    exec(&[id, "cat", "/own"]).succeeds();
    exec(&[id, "cat", "/another"]).fails();
    // A label of other categories turns it round. The way to the files has to be there for both.
    label(&bundle.rootfs(), &["-l", "s0"]);
    label(&bundle.rootfs().join("bin"), &["-R", "-l", "s0"]);
    exec(&["--process-label", OTHER, id, "cat", "/own"]).fails();
    exec(&["--process-label", OTHER, id, "cat", "/another"]).succeeds();
    for words in [&["pause", id][..], &["resume", id], &["kill", id, "KILL"]] {
        enforcing.call(words).succeeds();
    }
    eventually("it ends", || enforcing.call(&["state", id]).stderr.contains("stopped"));
    enforcing.call(&["delete", id]).succeeds();
    enforcing.coracle.assert_nothing_left();
}

#[test]
fn a_label_that_the_policy_forbids_the_runtime_is_told() {
    let enforcing = need!(Enforcing::new());
    let forbidden = "system_u:system_r:sshd_t:s0";
    let bundle = enforcing.bundle("echo inside").set("/process/selinuxLabel", forbidden);
    // The first to be asked for is a key's, and without that the program's.
    enforcing.run(&bundle).fails().says("/process/selinuxLabel").says(forbidden);
    let path = bundle.path().to_str().unwrap();
    let words = ["run", "--no-new-keyring", "--bundle", path, bundle.id()];
    enforcing.call(&words).fails().says("/process/selinuxLabel").says(forbidden).says("avc");
    assert!(!bundle.rootfs().join("told").exists());
    enforcing.coracle.assert_nothing_left();
}

#[test]
fn podman_s_container_is_held_with_its_volumes() {
    let enforcing = need!(Enforcing::new());
    if !Path::new("/usr/bin/podman").exists() {
        return coracle_tests::skipped("needs podman");
    }
    let bundle = enforcing.coracle.bundle();
    let volume = enforcing.coracle.path().join("volume");
    fs::create_dir(&volume).unwrap();
    fs::write(volume.join("file"), "kept\n").unwrap();
    // Another container's.
    label(&volume, &["-R", FILES]);
    fs::write(ENFORCE, "1").unwrap();
    let podman = |script: &str| {
        let run = format!(
            "podman --runtime {} run --rm --network none -v {}",
            enforcing.coracle.binary().display(),
            volume.display()
        );
        let script = format!("{{ {} ; }} 2>&1 | cat", script.replace("RUN", &run));
        Call::new(["bash", "-o", "pipefail", "-c", &script]).within(bundle.rootfs()).output()
    };
    podman("tar -c . | podman import - labelled").succeeds();
    let told = podman("RUN:/v labelled cat /proc/self/attr/current /v/file").fails().stdout;
    assert!(told.contains("system_u:system_r:container_t:s0:c"), "{told}");
    assert!(told.contains("can't open '/v/file': Permission denied"), "{told}");
    // Z gives it the container's own label.
    assert_eq!(podman("RUN:/v:Z labelled cat /v/file").succeeds().stdout, "kept\n");
    podman("podman rmi labelled").succeeds();
}
