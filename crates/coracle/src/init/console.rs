//! The container's terminal: a pair from the devpts just mounted, opened and bound by descriptor
//! (CVE-2025-52565), so that no path of the image decides what /dev/console is.

use std::ffi::CStr;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{CWD, FileType, Gid, Mode, OFlags, Uid, fchown, fstat, openat};
use rustix::io::Errno;
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use super::failure::{Failed, Outcome, Part};
use super::mounts;
use super::root::Root;
use crate::wire::{Message, Operation, Wire};

/// Opens the pair, sends its master to the parent, and makes the other side this session's
/// terminal. `owner` is who will run in it.
pub(super) fn open(
    root: &Root,
    size: Option<(u16, u16)>,
    bind: bool,
    owner: Option<u32>,
    wire: &Wire,
) -> Outcome {
    let master = multiplexer(root)?;
    unlockpt(&master).part(Operation::OpenPeer)?;
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let peer = ioctl_tiocgptpeer(&master, flags).part(Operation::OpenPeer)?;
    if let Some((rows, columns)) = size {
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&peer, size).part(Operation::SetSize)?;
    }
    if let Some(uid) = owner.filter(|uid| *uid != 0) {
        fchown(&peer, Some(Uid::from_raw(uid)), None::<Gid>).part(Operation::SetOwner)?;
    }
    if bind {
        mounts::attach_file(root, &mounts::clone_file(&peer)?, c"dev/console")?;
    }
    wire.send(&Message::Console(master)).part(Operation::SendConsole)?;
    rustix::process::ioctl_tiocsctty(&peer).part(Operation::ControlTerminal)?;
    rustix::stdio::dup2_stdin(peer.as_fd()).part(Operation::Standard)?;
    rustix::stdio::dup2_stdout(peer.as_fd()).part(Operation::Standard)?;
    rustix::stdio::dup2_stderr(peer.as_fd()).part(Operation::Standard)
}

/// The multiplexer of the container's devpts, or the host's if the container has none.
fn multiplexer(root: &Root) -> Result<OwnedFd, Failed> {
    const PATH: &CStr = c"dev/pts/ptmx";
    let flags = OFlags::RDWR | OFlags::NOCTTY;
    // Looked at before it is opened: the image may have another device there, and opening it may
    // do something.
    let master = match root.open(PATH, OFlags::PATH) {
        Err(Errno::NOENT | Errno::NOTDIR) => {
            openat(CWD, c"/dev/ptmx", flags | OFlags::CLOEXEC, Mode::empty())
        }
        Ok(found) => {
            check_multiplexer(&found)?;
            root.open(PATH, flags)
        }
        Err(errno) => Err(errno),
    }
    .part(Operation::OpenPtmx)?;
    check_multiplexer(&master)?;
    Ok(master)
}

fn check_multiplexer(file: &OwnedFd) -> Outcome {
    let stat = fstat(file).part(Operation::OpenPtmx)?;
    let is_ptmx = FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice
        && stat.st_rdev == rustix::fs::makedev(5, 2);
    if is_ptmx { Ok(()) } else { Err(Failed::new(Operation::NotPtmx, Errno::NODEV)) }
}
