//! Server addresses (D-Bus Specification, "Server Addresses").

use rustix::io::Errno;
use rustix::net::SocketAddrUnix;

/// The Unix sockets of an address, in the order in which they are to be tried. Other transports are
/// passed over.
pub(super) fn sockets(address: &str) -> impl Iterator<Item = Result<SocketAddrUnix, Errno>> {
    address.split(';').filter_map(|one| one.strip_prefix("unix:")).filter_map(|options| {
        options.split(',').find_map(|option| match option.split_once('=')? {
            ("path", path) => Some(SocketAddrUnix::new(unescape(path))),
            ("abstract", name) => Some(SocketAddrUnix::new_abstract_name(&unescape(name))),
            _ => None,
        })
    })
}

/// Undoes `%20`.
fn unescape(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let digits = after.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(escaped) if byte == b'%' => {
                bytes.push(escaped);
                rest = &after[2..];
            }
            _ => {
                bytes.push(byte);
                rest = after;
            }
        }
    }
    bytes
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn an_address_lists_sockets() {
        let address = "tcp:host=x;unix:path=/run/a%20b,guid=00;unix:abstract=/tmp/c;unix:tmpdir=/";
        let found: Vec<_> = sockets(address).map(Result::unwrap).collect();
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].path_bytes(), Some(&b"/run/a b"[..]));
        assert_eq!(found[1].abstract_name(), Some(&b"/tmp/c"[..]));
        assert_eq!(unescape("100%"), b"100%");
    }
}
