//! netdevice(7): the loopback device.

use std::mem::MaybeUninit;
use std::os::fd::AsRawFd;

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};

use super::check;

/// Brings the loopback device of this network namespace up: in a new one it is down.
pub(crate) fn loopback_up() -> Result<(), Errno> {
    let socket = |family| socket_with(family, SocketType::DGRAM, SocketFlags::CLOEXEC, None);
    let socket = match socket(AddressFamily::INET) {
        // A kernel without IPv4.
        Err(Errno::AFNOSUPPORT) => socket(AddressFamily::INET6),
        result => result,
    }?;
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
