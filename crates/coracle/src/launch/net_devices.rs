//! Moves network devices into the container's network namespace (config-linux.md, "Network
//! Devices"), and back out of it where the container could not be made: with the namespace, the
//! kernel would destroy those that are virtual.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{CWD, Mode, OFlags, fstat, openat};
use rustix::io::Errno;

use super::netlink::{Address, Link, Socket};
use crate::error::{Context, Error, Result};
use crate::plan::NetDevice;
use crate::sys::process;

/// The devices that were moved, and both ends of the way.
#[derive(Debug)]
pub(crate) struct Moved {
    /// In the runtime's network namespace.
    here: Socket,
    /// That namespace.
    home: OwnedFd,
    /// In the container's.
    there: Socket,
    /// That namespace.
    away: OwnedFd,
    devices: Vec<Was>,
}

/// What a device was before, and what it is in the container.
#[derive(Debug)]
struct Was {
    before: Link,
    addresses: Vec<Address>,
    after: Link,
}

/// Moves the devices into the network namespace of process `pid`. Either all are moved, or none.
pub(crate) fn move_in(devices: &[NetDevice], pid: u32) -> Result<Moved> {
    let mut moved = Moved::new(pid).map_err(|error| {
        let forbidden = matches!(error.errno(), Some(Errno::PERM | Errno::ACCESS));
        let error = error.at("/linux/netDevices", None);
        if !forbidden {
            return error;
        }
        error.help(
            "an ordinary user moves devices only as root of a user namespace that owns both network \
             namespaces (unshare --map-root-user --net); else run as root",
        )
    })?;
    let found = moved.find(devices)?;
    for (device, link) in devices.iter().zip(found) {
        if let Err(error) = moved.take(device, link) {
            moved.back();
            return Err(error);
        }
    }
    Ok(moved)
}

impl Moved {
    fn new(pid: u32) -> Result<Self> {
        let what = || "opening the container's network namespace";
        let open = |path: &str| {
            openat(CWD, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).what(what)
        };
        let (home, away) = (open("/proc/self/ns/net")?, open(&format!("/proc/{pid}/ns/net"))?);
        let (one, other) = (fstat(&home).what(what)?, fstat(&away).what(what)?);
        if (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino) {
            return Err(Error::new("the container's network namespace is the runtime's own")
                .help("leave netDevices out: they are there already"));
        }
        let here = Socket::open().what(|| "reaching the kernel's network")?;
        // A socket is of the namespace in which it is opened, so this process pays it a visit.
        process::setns(away.as_fd(), libc::CLONE_NEWNET)
            .what(|| "entering the container's network namespace")?;
        let there = Socket::open();
        process::setns(home.as_fd(), libc::CLONE_NEWNET)
            .what(|| "leaving the container's network namespace")?;
        let there = there.what(|| "reaching the container's network")?;
        Ok(Self { here, home, there, away, devices: Vec::new() })
    }

    /// Finds all devices, and sees that their names are free, before any is moved.
    fn find(&self, devices: &[NetDevice]) -> Result<Vec<Link>> {
        devices
            .iter()
            .map(|device| {
                let link =
                    self.here.link(&device.name).what(|| finding(device))?.ok_or_else(|| {
                        Error::new(finding(device))
                            .os(Errno::NODEV)
                            .at(device.origin.to_string(), None)
                            .help("see ip link, in the network namespace that the runtime runs in")
                    })?;
                let name = device.wanted();
                if !name.contains("%d") && self.there.link(name).what(|| finding(device))?.is_some()
                {
                    return Err(Error::new(format!(
                        "the container's network has a device {name} already"
                    ))
                    .os(Errno::EXIST)
                    .at(device.pointer(), device.inside.as_ref().map(|name| format!("{name:?}")))
                    .help("give it another name there, or one with %d in it"));
                }
                Ok(link)
            })
            .collect()
    }

    /// Moves one device, gives it its addresses again, and sets it up.
    fn take(&mut self, device: &NetDevice, before: Link) -> Result<()> {
        let failed = |what: &str, errno| {
            let what = format!("moving network device {}: {what}", device.name);
            let error = Error::new(what).os(errno).at(device.origin.to_string(), None);
            match errno {
                Errno::INVAL => error.help("a device such as lo cannot leave its namespace"),
                Errno::PERM => error.help("this takes CAP_NET_ADMIN on both sides"),
                _ => error,
            }
        };
        let addresses =
            self.here.addresses(&before).map_err(|e| failed("reading its addresses", e))?;
        let known = self.there.links().map_err(|e| failed("listing the container's", e))?;
        let moved = self.here.move_to(&before, self.away.as_fd(), device.wanted());
        // Its number there may be another, and its name the kernel's choice; even a move that
        // failed may have failed at the name only.
        let is_new = |link: &Link| known.iter().all(|other| other.index != link.index);
        let after = self.there.links().map(|links| links.into_iter().find(is_new));
        if let Ok(Some(after)) = &after {
            let (addresses, after) = (addresses.clone(), after.clone());
            self.devices.push(Was { before, addresses, after });
        }
        moved.map_err(|e| failed("changing its namespace", e))?;
        let after = after.and_then(|found| found.ok_or(Errno::NODEV));
        let after = after.map_err(|e| failed("finding it again", e))?;
        for address in &addresses {
            self.there
                .add_address(&after, address)
                .map_err(|e| failed("giving it an address", e))?;
        }
        self.there.set_up(&after).map_err(|e| failed("setting it up", e))
    }

    /// Moves all back, and makes them what they were. What cannot be undone is left: the error that
    /// led here is the one to tell.
    pub(crate) fn back(&mut self) {
        for Was { before, addresses, after } in self.devices.drain(..).rev() {
            if self.there.move_to(&after, self.home.as_fd(), &before.name).is_err() {
                continue;
            }
            let Ok(Some(link)) = self.here.link(&before.name) else { continue };
            for address in &addresses {
                let _ = self.here.add_address(&link, address);
            }
            if before.up {
                let _ = self.here.set_up(&link);
            }
        }
    }
}

fn finding(device: &NetDevice) -> String {
    format!("finding network device {}", device.name)
}
