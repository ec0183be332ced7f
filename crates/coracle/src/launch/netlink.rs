//! The little of rtnetlink(7) that moving a network device takes: find links and addresses, and
//! change them. One socket speaks to the network namespace in which it was opened.

use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socket_with,
};

/// Types of messages, flags and attributes, of linux/netlink.h, rtnetlink.h, if_link.h, if_addr.h.
mod number {
    pub(super) const ERROR: u16 = 2;
    pub(super) const DONE: u16 = 3;
    pub(super) const NEW_LINK: u16 = 16;
    pub(super) const GET_LINK: u16 = 18;
    pub(super) const NEW_ADDRESS: u16 = 20;
    pub(super) const GET_ADDRESS: u16 = 22;

    pub(super) const REQUEST: u16 = 0x1;
    pub(super) const ACK: u16 = 0x4;
    pub(super) const DUMP: u16 = 0x300;
    pub(super) const CREATE: u16 = 0x400;

    pub(super) const LINK_NAME: u16 = 3;
    pub(super) const LINK_NAMESPACE: u16 = 28;

    pub(super) const ADDRESS: u16 = 1;
    pub(super) const ADDRESS_LOCAL: u16 = 2;
    pub(super) const ADDRESS_LABEL: u16 = 3;
    pub(super) const ADDRESS_BROADCAST: u16 = 4;
    pub(super) const ADDRESS_FLAGS: u16 = 8;
    pub(super) const ADDRESS_PRIORITY: u16 = 9;

    pub(super) const UP: u32 = 0x1;
    pub(super) const NO_DETECTION: u32 = 0x02;
    pub(super) const PERMANENT: u32 = 0x80;
    /// Of an address's flags, those that somebody chose.
    pub(super) const CHOSEN: u32 = 0x02 | 0x10 | 0x100 | 0x200 | 0x400;
}

/// A network device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Link {
    /// Its number in its namespace.
    pub(super) index: u32,
    /// Its name.
    pub(super) name: String,
    /// Whether it is set to be up.
    pub(super) up: bool,
}

/// An address of a network device, as it can be given to it again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Address {
    family: u8,
    prefix: u8,
    flags: u32,
    /// What follows the device's name in the label of an IPv4 address.
    label: Option<Vec<u8>>,
    /// Type and value of those that stay as they are.
    attributes: Vec<(u16, Vec<u8>)>,
}

/// A connection to the kernel.
#[derive(Debug)]
pub(super) struct Socket(OwnedFd);

impl Socket {
    /// Opens one in this process's network namespace.
    pub(super) fn open() -> Result<Self, Errno> {
        socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None).map(Self)
    }

    /// The device of this name, if there is one.
    pub(super) fn link(&self, name: &str) -> Result<Option<Link>, Errno> {
        let body = Body::link(0, 0).text(number::LINK_NAME, name);
        match self.ask(number::GET_LINK, 0, &body) {
            Err(Errno::NODEV) => Ok(None),
            result => Ok(result?.iter().find_map(|message| as_link(message))),
        }
    }

    /// All devices.
    pub(super) fn links(&self) -> Result<Vec<Link>, Errno> {
        let messages = self.ask(number::GET_LINK, number::DUMP, &Body::link(0, 0))?;
        Ok(messages.iter().filter_map(|message| as_link(message)).collect())
    }

    /// The permanent addresses of global scope that a device has.
    pub(super) fn addresses(&self, link: &Link) -> Result<Vec<Address>, Errno> {
        let messages = self.ask(number::GET_ADDRESS, number::DUMP, &Body(vec![0; 8]))?;
        Ok(messages.iter().filter_map(|message| as_address(message, link)).collect())
    }

    /// Gives a device an address.
    pub(super) fn add_address(&self, link: &Link, address: &Address) -> Result<(), Errno> {
        #[allow(clippy::cast_possible_truncation)] // the first eight of the flags
        let mut body = Body(vec![address.family, address.prefix, address.flags as u8, 0]);
        body.0.extend(link.index.to_ne_bytes());
        body = body.attribute(number::ADDRESS_FLAGS, &address.flags.to_ne_bytes());
        if let Some(rest) = &address.label {
            let label = [link.name.as_bytes(), rest, b"\0"].concat();
            // IFNAMSIZ.
            if label.len() <= 16 {
                body = body.attribute(number::ADDRESS_LABEL, &label);
            }
        }
        for (kind, value) in &address.attributes {
            body = body.attribute(*kind, value);
        }
        match self.ask(number::NEW_ADDRESS, number::CREATE, &body) {
            Ok(_) | Err(Errno::EXIST) => Ok(()),
            Err(errno) => Err(errno),
        }
    }

    /// Sets a device up.
    pub(super) fn set_up(&self, link: &Link) -> Result<(), Errno> {
        self.ask(number::NEW_LINK, 0, &Body::link(link.index, number::UP)).map(drop)
    }

    /// Moves a device to another network namespace, in which it gets this name, or one after this
    /// template.
    pub(super) fn move_to(
        &self,
        link: &Link,
        namespace: BorrowedFd<'_>,
        name: &str,
    ) -> Result<(), Errno> {
        let body = Body::link(link.index, 0)
            .attribute(number::LINK_NAMESPACE, &namespace.as_raw_fd().to_ne_bytes())
            .text(number::LINK_NAME, name);
        self.ask(number::NEW_LINK, 0, &body).map(drop)
    }

    /// Sends a request, and gathers the bodies of what is answered.
    fn ask(&self, kind: u16, flags: u16, body: &Body) -> Result<Vec<Vec<u8>>, Errno> {
        let flags = flags | number::REQUEST | number::ACK;
        send(&self.0, &message(kind, flags, &body.0)?, SendFlags::empty())?;
        let mut answers = Vec::new();
        // More than the kernel puts into one message, and any link's description.
        let mut buffer = vec![0; 64 << 10];
        loop {
            let (_, length) = match recv(&self.0, buffer.as_mut_slice(), RecvFlags::TRUNC) {
                Err(Errno::INTR) => continue,
                result => result?,
            };
            let mut rest = buffer.get(..length).ok_or(Errno::MSGSIZE)?;
            while let Some((kind, body, next)) = first_message(rest) {
                match kind {
                    number::ERROR | number::DONE => {
                        let code = body.first_chunk().map_or(0, |code| i32::from_ne_bytes(*code));
                        if code != 0 {
                            return Err(Errno::from_raw_os_error(-code));
                        }
                        // An answer of several parts ends with DONE, and is not acknowledged.
                        return Ok(answers);
                    }
                    _ => answers.push(body.to_vec()),
                }
                rest = next;
            }
        }
    }
}

/// A message's body on its way to the kernel.
struct Body(Vec<u8>);

impl Body {
    /// `struct ifinfomsg`, of a device of this number, to which `set` is set.
    fn link(index: u32, set: u32) -> Self {
        let mut body = vec![0; 4];
        for field in [index, set, set] {
            body.extend(field.to_ne_bytes());
        }
        Self(body)
    }

    /// Appends an attribute.
    #[allow(clippy::cast_possible_truncation)] // names, addresses and numbers are short
    fn attribute(mut self, kind: u16, value: &[u8]) -> Self {
        self.0.extend((value.len() as u16 + 4).to_ne_bytes());
        self.0.extend(kind.to_ne_bytes());
        self.0.extend(value);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }

    /// Appends an attribute that is a text.
    fn text(self, kind: u16, value: &str) -> Self {
        self.attribute(kind, &[value.as_bytes(), b"\0"].concat())
    }
}

/// `struct nlmsghdr` and a body.
fn message(kind: u16, flags: u16, body: &[u8]) -> Result<Vec<u8>, Errno> {
    let length = u32::try_from(body.len() + 16).map_err(|_| Errno::MSGSIZE)?;
    let mut message = length.to_ne_bytes().to_vec();
    message.extend(kind.to_ne_bytes());
    message.extend(flags.to_ne_bytes());
    // One request at a time needs no sequence number.
    message.extend([0; 8]);
    message.extend(body);
    Ok(message)
}

/// The first of some messages: its type and body, and the rest.
fn first_message(bytes: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let length = u32::from_ne_bytes(*bytes.first_chunk()?) as usize;
    let body = bytes.get(16..length)?;
    let rest = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    Some((half(bytes, 4)?, body, rest))
}

/// The attributes behind a header of this length.
fn attributes(body: &[u8], header: usize) -> impl Iterator<Item = (u16, &[u8])> {
    let mut rest = body.get(header..).unwrap_or_default();
    std::iter::from_fn(move || {
        let length = half(rest, 0)? as usize;
        // Without NLA_F_NESTED and NLA_F_NET_BYTEORDER.
        let kind = half(rest, 2)? & 0x3fff;
        let value = rest.get(4..length)?;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|bytes| u16::from_ne_bytes(*bytes))
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|bytes| u32::from_ne_bytes(*bytes))
}

/// `struct ifinfomsg` and its attributes.
fn as_link(body: &[u8]) -> Option<Link> {
    let (_, name) = attributes(body, 16).find(|(kind, _)| *kind == number::LINK_NAME)?;
    Some(Link {
        index: word(body, 4)?,
        name: String::from_utf8_lossy(name.strip_suffix(b"\0")?).into_owned(),
        up: word(body, 8)? & number::UP != 0,
    })
}

/// `struct ifaddrmsg` and its attributes, if it is one to keep.
fn as_address(body: &[u8], link: &Link) -> Option<Address> {
    let [family, prefix, short_flags, scope] = *body.first_chunk()?;
    if word(body, 4)? != link.index || scope != 0 {
        return None;
    }
    let mut address =
        Address { family, prefix, flags: short_flags.into(), label: None, attributes: Vec::new() };
    for (kind, value) in attributes(body, 8) {
        match kind {
            number::ADDRESS_FLAGS => address.flags = word(value, 0)?,
            number::ADDRESS_LABEL => {
                let rest = value.strip_suffix(b"\0")?.strip_prefix(link.name.as_bytes());
                address.label = rest.map(<[u8]>::to_vec);
            }
            number::ADDRESS
            | number::ADDRESS_LOCAL
            | number::ADDRESS_BROADCAST
            | number::ADDRESS_PRIORITY => address.attributes.push((kind, value.to_vec())),
            _ => {}
        }
    }
    if address.flags & number::PERMANENT == 0 {
        return None;
    }
    // It is on the same wire as before: nobody else has it, and it can be used at once.
    address.flags = address.flags & number::CHOSEN | number::NO_DETECTION;
    Some(address)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let body = Body::link(7, number::UP).text(number::LINK_NAME, "veth0");
        let bytes = message(number::NEW_LINK, 0, &body.0).unwrap();
        let (kind, read, rest) = first_message(&bytes).unwrap();
        assert_eq!((kind, rest.len()), (number::NEW_LINK, 0));
        let link = Link { index: 7, name: "veth0".into(), up: true };
        assert_eq!(as_link(read), Some(link));
    }

    #[test]
    fn addresses_are_kept_that_are_permanent_and_global() {
        let link = Link { index: 7, name: "eth0".into(), up: true };
        let body = |index: u32, scope: u8, flags: u32| {
            let mut body = vec![2, 24, 0x80, scope];
            body.extend(index.to_ne_bytes());
            Body(body)
                .attribute(number::ADDRESS, &[10, 0, 0, 1])
                .attribute(number::ADDRESS_LOCAL, &[10, 0, 0, 1])
                .text(number::ADDRESS_LABEL, "eth0:a")
                .attribute(6, &[0; 16])
                .attribute(number::ADDRESS_FLAGS, &flags.to_ne_bytes())
                .0
        };
        let address = as_address(&body(7, 0, 0x280), &link).unwrap();
        assert_eq!((address.family, address.prefix), (2, 24));
        assert_eq!(address.flags, 0x202);
        assert_eq!(address.label.as_deref(), Some(&b":a"[..]));
        assert_eq!(address.attributes.len(), 2, "not how long it lives");
        assert_eq!(as_address(&body(8, 0, 0x80), &link), None, "another device's");
        assert_eq!(as_address(&body(7, 253, 0x80), &link), None, "of the link");
        assert_eq!(as_address(&body(7, 0, 0), &link), None, "not permanent");
    }

    #[test]
    fn nonsense_is_no_message() {
        assert!(first_message(&[]).is_none());
        assert!(first_message(&[4, 0, 0, 0, 1, 1, 1, 1]).is_none());
        assert!(first_message(&[255; 16]).is_none());
        assert_eq!(attributes(&[0; 8], 4).count(), 0);
        assert_eq!(attributes(&[9, 0, 1, 0, 1], 0).count(), 0);
        assert_eq!(as_link(&[0; 3]), None);
    }

    #[test]
    fn this_namespace_has_devices() {
        let socket = Socket::open().unwrap();
        let links = socket.links().unwrap();
        for link in &links {
            assert_eq!(socket.link(&link.name).unwrap().as_ref(), Some(link));
            socket.addresses(link).unwrap();
        }
        assert_eq!(socket.link("not-there").unwrap(), None);
    }
}
