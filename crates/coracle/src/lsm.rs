//! Labels of Linux security modules: the AppArmor profile and the SELinux context that a process
//! gets with the program that it executes next (apparmor(7), selinux(8); proc(5), /proc/PID/attr).

use rustix::io::Errno;

use crate::config::{Linux, Process};
use crate::error::{Error, Result};
use crate::procfs;

/// Where a label goes. A process can only label itself; a new process inherits what is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attribute {
    /// The AppArmor profile that the next execve(2) enters.
    AppArmorExec,
    /// The SELinux context that the next execve(2) enters.
    SelinuxExec,
    /// The SELinux context of keys made until then.
    SelinuxKey,
}

impl Attribute {
    /// Sets it for this process, and looks whether it has landed.
    pub(crate) fn set(self, label: &str) -> Result<(), Errno> {
        match self {
            Self::AppArmorExec if label == UNCONFINED && !has_apparmor() => Ok(()),
            Self::AppArmorExec => {
                let text = format!("exec {label}");
                // The module's own directory since Linux 5.8; the shared file is that of the first
                // module only.
                let path = match procfs::write_file(APPARMOR, text.as_bytes()) {
                    Err(Errno::NOENT) if procfs::read_file(APPARMOR) == Err(Errno::NOENT) => {
                        procfs::write_file(SHARED, text.as_bytes())?;
                        SHARED
                    }
                    result => {
                        result?;
                        APPARMOR
                    }
                };
                // Reads as the profile's name and its mode: `docker-default (enforce)`.
                landed(&procfs::read_file(path)?, label)
            }
            Self::SelinuxExec => {
                procfs::write_file(SHARED, label.as_bytes())?;
                landed(&procfs::read_file(SHARED)?, label)
            }
            Self::SelinuxKey => procfs::write_file("self/attr/keycreate", label.as_bytes()),
        }
    }
}

const APPARMOR: &str = "self/attr/apparmor/exec";
const SHARED: &str = "self/attr/exec";

/// Whether what is read back begins with the label, alone or before a space.
fn landed(read: &[u8], label: &str) -> Result<(), Errno> {
    let rest = read.strip_prefix(label.as_bytes());
    match rest.map(|rest| rest.first()) {
        Some(None | Some(b' ' | b'\n' | 0)) => Ok(()),
        _ => Err(Errno::IO),
    }
}

/// Refuses labels that this kernel has no module for: the container would run without what it asks
/// for. `linux` is given where its mounts are made.
pub(crate) fn check(process: Option<&Process>, linux: Option<&Linux>) -> Result<()> {
    let given = |label: Option<&String>| label.filter(|label| !label.is_empty()).cloned();
    let refuse = |module: &str, pointer: &str, label: &str| {
        Err(Error::new(format!("{module} is not enabled on this host"))
            .at(pointer, Some(format!("{label:?}")))
            .help("take the label out, or boot a kernel with it enabled (the parameter lsm=)"))
    };
    if let Some(profile) = given(process.and_then(|process| process.apparmor_profile.as_ref()))
        && profile != UNCONFINED
        && !has_apparmor()
    {
        return refuse("AppArmor", "/process/apparmorProfile", &profile);
    }
    let labels = [
        ("/process/selinuxLabel", given(process.and_then(|it| it.selinux_label.as_ref()))),
        ("/linux/mountLabel", given(linux.and_then(|it| it.mount_label.as_ref()))),
    ];
    for (pointer, label) in labels {
        if let Some(label) = label
            && !has_selinux()
        {
            return refuse("SELinux", pointer, &label);
        }
    }
    Ok(())
}

/// The name that stands for no profile; without AppArmor that is what everybody has.
const UNCONFINED: &str = "unconfined";

/// Whether the kernel has AppArmor, enabled.
fn has_apparmor() -> bool {
    std::fs::read("/sys/module/apparmor/parameters/enabled")
        .is_ok_and(|text| text.first() == Some(&b'Y'))
}

/// Whether the kernel has SELinux, enabled: only then is its file system known.
fn has_selinux() -> bool {
    std::fs::read_to_string("/proc/filesystems")
        .is_ok_and(|table| table.lines().any(|line| line.ends_with("\tselinuxfs")))
}

#[cfg(test)]
mod tests {
    use super::landed;

    #[test]
    fn a_label_has_landed_where_it_is_read_back() {
        let holds = |read: &[u8], label| landed(read, label).is_ok();
        assert!(holds(b"docker-default (enforce)\n", "docker-default"));
        assert!(holds(b"u:r:t:s0\0", "u:r:t:s0") && holds(b"u:r:t:s0", "u:r:t:s0"));
        assert!(!holds(b"docker-default-2 (enforce)\n", "docker-default"));
        assert!(!holds(b"", "docker-default"));
    }
}
