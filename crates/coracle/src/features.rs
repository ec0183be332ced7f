//! What this runtime can do, as the specification has it told (features.md, features-linux.md).
//!
//! The names come from the tables by which config.json is read, so that what is told is what holds.

use serde_json::{Value, json};

use crate::config::{
    self, Hooks, MemoryPolicyFlag, MemoryPolicyMode, Names, NamespaceKind, OLDEST_VERSION,
    SeccompAction, SeccompArch, SeccompFlag, SeccompOp, VERSION,
};
use crate::criu::service;
use crate::plan;

/// Every mount option that some runtime knows; those are told that this one carries out.
const MOUNT_OPTIONS: &[&str] = &[
    "acl",
    "async",
    "atime",
    "bind",
    "copy-symlink",
    "defaults",
    "dest-nofollow",
    "dev",
    "diratime",
    "dirsync",
    "exec",
    "idmap",
    "iversion",
    "lazytime",
    "loud",
    "mand",
    "noacl",
    "noatime",
    "nodev",
    "nodiratime",
    "noexec",
    "noiversion",
    "nolazytime",
    "nomand",
    "norelatime",
    "nostrictatime",
    "nosuid",
    "nosymfollow",
    "private",
    "ratime",
    "rbind",
    "rdev",
    "rdiratime",
    "relatime",
    "remount",
    "rexec",
    "ridmap",
    "rnoatime",
    "rnodev",
    "rnodiratime",
    "rnoexec",
    "rnorelatime",
    "rnostrictatime",
    "rnosuid",
    "rnosymfollow",
    "ro",
    "rprivate",
    "rrelatime",
    "rro",
    "rrw",
    "rshared",
    "rslave",
    "rstrictatime",
    "rsuid",
    "rsymfollow",
    "runbindable",
    "rw",
    "shared",
    "silent",
    "slave",
    "src-nofollow",
    "strictatime",
    "suid",
    "symfollow",
    "sync",
    "tmpcopyup",
    "unbindable",
];

/// Annotations that change what the runtime does: whoever takes config.json from others has to look
/// at them.
const ANNOTATIONS: &[&str] = &[
    "org.criu.config",
    "org.systemd.property.",
    "run.oci.delegate-cgroup",
    "run.oci.seccomp.receiver",
    "run.oci.seccomp_fail_unknown_syscall",
    "run.oci.systemd.subgroup",
];

/// The features structure.
///
/// ```
/// let features = coracle::features::features();
/// assert_eq!(features["ociVersionMin"], "1.0.0");
/// assert_eq!(features["linux"]["seccomp"]["enabled"], true);
/// ```
pub fn features() -> Value {
    let mount_options: Vec<&str> =
        MOUNT_OPTIONS.iter().copied().filter(|option| plan::knows_mount_option(option)).collect();
    let hooks: Vec<&str> = Hooks::default().lists().iter().map(|(name, _)| *name).collect();
    let criu = service::find().is_ok();
    json!({
        "ociVersionMin": OLDEST_VERSION,
        "ociVersionMax": VERSION,
        "hooks": hooks,
        "mountOptions": mount_options,
        "linux": linux(),
        "annotations": {
            "coracle.version": env!("CARGO_PKG_VERSION"),
            // By runc's name, which engines look for. It takes a program of somebody else's.
            "org.opencontainers.runc.checkpoint.enabled": criu.to_string(),
        },
        "potentiallyUnsafeConfigAnnotations": ANNOTATIONS,
    })
}

fn linux() -> Value {
    let sorted = |names: &[&'static str]| {
        let mut names = names.to_vec();
        names.sort_unstable();
        names
    };
    let flags = sorted(SeccompFlag::names());
    json!({
        "namespaces": sorted(NamespaceKind::names()),
        "capabilities": config::capability_names(),
        "cgroup": {
            "v1": true,
            "v2": true,
            "systemd": true,
            "systemdUser": true,
            "rdma": true,
        },
        "seccomp": {
            "enabled": true,
            "actions": sorted(SeccompAction::names()),
            "operators": sorted(SeccompOp::names()),
            "archs": sorted(SeccompArch::names()),
            "knownFlags": flags,
            "supportedFlags": flags,
        },
        "apparmor": { "enabled": true },
        "selinux": { "enabled": true },
        "memoryPolicy": {
            "modes": MemoryPolicyMode::names(),
            "flags": MemoryPolicyFlag::names(),
        },
        "intelRdt": { "enabled": true, "schemata": true, "monitoring": true },
        "mountExtensions": { "idmap": { "enabled": plan::knows_mount_option("idmap") } },
        "netDevices": { "enabled": true },
    })
}
