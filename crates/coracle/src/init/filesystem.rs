//! New file systems: fsopen(2), and mount(2) for what that cannot take.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, OwnedFd};

use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, FsPickFlags, MountAttrFlags, MountFlags, fsconfig_create,
    fsconfig_reconfigure, fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, fspick, mount,
};

use super::attributes::{by_descriptor, legacy_flags};
use super::failure::{Failed, Outcome, Part};
use crate::plan::{Filesystem, FsOption};
use crate::sys::mount::attr;
use crate::wire::Operation;

/// fsconfig(2) takes values of 255 bytes at most.
const LONGEST_VALUE: usize = 255;

/// mount(2) takes a page of options, with the zero at its end.
const LONGEST_OPTIONS: usize = 4095;

/// A new file system, mounted nowhere yet, with these `MOUNT_ATTR_*`. `mode` is the one of the
/// directory that it goes on.
pub(super) fn make(
    new: &Filesystem,
    mode: Option<u32>,
    attributes: u64,
) -> Result<OwnedFd, Failed> {
    let context =
        fsopen(new.kind.as_c_str(), FsOpenFlags::FSOPEN_CLOEXEC).part(Operation::OpenFilesystem)?;
    if let Some(source) = new.source.as_deref().filter(|source| !source.is_empty()) {
        fsconfig_set_string(context.as_fd(), c"source", source)
            .map_err(|errno| failed(&context, Operation::SetSource, 0, errno))?;
    }
    if let Some(mode) = mode.and_then(|mode| CString::new(format!("{mode:o}")).ok()) {
        fsconfig_set_string(context.as_fd(), c"mode", mode.as_c_str())
            .map_err(|errno| failed(&context, Operation::SetOption, 0, errno))?;
    }
    set_options(&context, &new.options)?;
    fsconfig_create(context.as_fd())
        .map_err(|errno| failed(&context, Operation::CreateFilesystem, 0, errno))?;
    #[allow(clippy::cast_possible_truncation)] // every MOUNT_ATTR_* is below bit 22
    let attributes = MountAttrFlags::from_bits_retain(attributes as u32);
    fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes)
        .map_err(|errno| failed(&context, Operation::MakeMount, 0, errno))
}

/// An empty directory that nothing can be written to, with this SELinux context.
pub(super) fn empty(label: Option<&CStr>) -> Result<OwnedFd, Failed> {
    let tmpfs = Filesystem {
        kind: CString::from(c"tmpfs"),
        source: Some(CString::from(c"tmpfs")),
        options: label.map(FsOption::context).into_iter().collect(),
        ..Filesystem::default()
    };
    make(&tmpfs, None, attr::RDONLY)
}

/// Changes options of the file system that a mount shows.
pub(super) fn reconfigure(mount: &OwnedFd, options: &[FsOption]) -> Outcome {
    let flags = FsPickFlags::FSPICK_CLOEXEC | FsPickFlags::FSPICK_EMPTY_PATH;
    let context = fspick(mount, c"", flags).part(Operation::OpenFilesystem)?;
    set_options(&context, options)?;
    fsconfig_reconfigure(context.as_fd())
        .map_err(|errno| failed(&context, Operation::Reconfigure, 0, errno))
}

/// Sets options in order.
fn set_options(context: &OwnedFd, options: &[FsOption]) -> Outcome {
    for option in options {
        let key = option.key.as_c_str();
        match &option.value {
            Some(value) => fsconfig_set_string(context.as_fd(), key, value.as_c_str()),
            None => fsconfig_set_flag(context.as_fd(), key),
        }
        .map_err(|errno| failed(context, Operation::SetOption, number(option), errno))?;
    }
    Ok(())
}

/// An option's index in config.json and 1 more; 0 for one that is not there.
fn number(option: &FsOption) -> u32 {
    option.index.and_then(|index| u32::try_from(index).ok()).map_or(0, |index| index + 1)
}

/// A failure with what the kernel says about it: a line such as `e tmpfs: Bad value for 'mode'`.
fn failed(context: &OwnedFd, operation: Operation, detail: u32, errno: Errno) -> Failed {
    let mut line = [0; 512];
    let words = match rustix::io::read(context, &mut line) {
        Ok(length) => {
            let line = &line[..length];
            line.strip_prefix(b"e ").unwrap_or(line).trim_ascii().to_vec()
        }
        Err(_) => Vec::new(),
    };
    Failed::new(operation, errno).detail(detail).words(words)
}

/// Whether only mount(2) can make a file system.
pub(super) fn needs_legacy(new: &Filesystem) -> bool {
    let long = |text: &CString| text.as_bytes().len() > LONGEST_VALUE;
    new.legacy != 0
        || new.source.as_ref().is_some_and(long)
        || new.options.iter().any(|option| option.value.as_ref().is_some_and(long))
}

/// Makes a new file system by mount(2) on the directory that a checked descriptor refers to.
pub(super) fn make_legacy(
    new: &Filesystem,
    mode: Option<u32>,
    attributes: u64,
    target: &OwnedFd,
) -> Outcome {
    let mut flags = legacy_flags(attributes);
    #[allow(clippy::cast_possible_truncation)] // MS_* flags are 32 bits
    flags.insert(MountFlags::from_bits_retain(new.legacy as u32));
    let mut data = mode.map(|mode| format!("mode={mode:o}").into_bytes()).unwrap_or_default();
    for option in &new.options {
        // These are flags of mount(2), and only the mount API knows them by name.
        flags.insert(match option.key.to_bytes() {
            b"ro" => MountFlags::RDONLY,
            b"sync" => MountFlags::SYNCHRONOUS,
            b"dirsync" => MountFlags::DIRSYNC,
            b"lazytime" => MountFlags::from_bits_retain(1 << 25),
            b"mand" => MountFlags::PERMIT_MANDATORY_FILE_LOCKING,
            key => {
                if !data.is_empty() {
                    data.push(b',');
                }
                data.extend_from_slice(key);
                if let Some(value) = &option.value {
                    data.push(b'=');
                    data.extend_from_slice(value.to_bytes());
                }
                MountFlags::empty()
            }
        });
    }
    if data.len() > LONGEST_OPTIONS {
        return Err(Failed::new(Operation::LongOptions, Errno::TOOBIG));
    }
    let data = CString::new(data).map_err(|_| Errno::INVAL).part(Operation::MakeMount)?;
    let source: &CStr = new.source.as_deref().unwrap_or(c"none");
    mount(source, by_descriptor(target).as_c_str(), new.kind.as_c_str(), flags, data.as_c_str())
        .part(Operation::MakeMount)
}
