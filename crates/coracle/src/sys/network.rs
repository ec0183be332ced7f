//! netdevice(7): the loopback device.

use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::io::Errno;

use super::check;

/// Brings the loopback device of this network namespace up; `socket` is any IP socket of it.
pub(crate) fn loopback_up(socket: BorrowedFd<'_>) -> Result<(), Errno> {
    // SAFETY: all zeroes are a valid ifreq; the name fits and ends in NUL; both requests read and
    // write one ifreq; the union's flags are what SIOCGIFFLAGS has just filled in.
    unsafe {
        let mut request = MaybeUninit::<libc::ifreq>::zeroed().assume_init();
        for (to, from) in request.ifr_name.iter_mut().zip(c"lo".to_bytes_with_nul()) {
            *to = from.cast_signed();
        }
        let fd = socket.as_raw_fd();
        check(libc::c_long::from(libc::ioctl(fd, libc::SIOCGIFFLAGS, &mut request)))?;
        #[allow(clippy::cast_possible_truncation)] // IFF_UP is 1
        let up = libc::IFF_UP as libc::c_short;
        request.ifr_ifru.ifru_flags |= up;
        check(libc::c_long::from(libc::ioctl(fd, libc::SIOCSIFFLAGS, &request)))?;
    }
    Ok(())
}
