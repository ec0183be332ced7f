//! Messages: a header and a body (D-Bus Specification, "Message Format").

use super::value::{Reader, Value, length, pad};

/// The length of the part of a header that every message has.
const FIXED: usize = 16;

/// No message is longer.
const LONGEST: usize = 128 << 20;

/// A method to call.
#[derive(Clone, Debug)]
pub(crate) struct Call<'a> {
    /// The name on the bus of who is to do it.
    pub(crate) destination: &'a str,
    /// The object's path.
    pub(crate) path: &'a str,
    /// The interface that the method belongs to.
    pub(crate) interface: &'a str,
    /// The method.
    pub(crate) member: &'a str,
    /// Its arguments.
    pub(crate) arguments: Vec<Value>,
}

impl Call<'_> {
    /// The message. Without a bus in between there is nobody to name.
    pub(super) fn encode(&self, serial: u32, names_destination: bool) -> Vec<u8> {
        let mut body = Vec::new();
        self.arguments.iter().for_each(|value| value.write(&mut body));
        let field =
            |code: u8, value: Value| Value::Struct(vec![Value::Byte(code), value.variant()]);
        let mut fields = vec![
            field(1, Value::Path(self.path.to_owned())),
            field(2, Value::text(self.interface)),
            field(3, Value::text(self.member)),
        ];
        if names_destination {
            fields.push(field(6, Value::text(self.destination)));
        }
        if !self.arguments.is_empty() {
            let signature = self.arguments.iter().map(Value::signature).collect();
            fields.push(field(8, Value::Signature(signature)));
        }
        // Little-endian, a call, no flags, version 1.
        let mut message = vec![b'l', 1, 0, 1];
        Value::Uint32(length(body.len())).write(&mut message);
        Value::Uint32(serial).write(&mut message);
        Value::Array("(yv)".into(), fields).write(&mut message);
        pad(&mut message, 8);
        message.append(&mut body);
        message
    }
}

/// What kind of message came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A call, or what later versions may have.
    Other,
    /// The answer to a call.
    Return,
    /// The refusal of a call.
    Error,
    /// A signal.
    Signal,
}

/// A message that came.
#[derive(Debug)]
pub(crate) struct Message {
    /// Its kind.
    pub(crate) kind: Kind,
    /// Which call it answers.
    pub(crate) reply_to: u32,
    /// The name of a signal or of an error.
    pub(crate) name: String,
    /// Who sent it, by the name that the bus has given; empty without a bus.
    pub(crate) sender: String,
    /// The body.
    pub(crate) body: Vec<Value>,
}

impl Message {
    /// The length of the message that begins here, once its beginning is there; an error if it is
    /// none that we can read.
    pub(super) fn length(bytes: &[u8]) -> Option<Result<usize, ()>> {
        let fixed = bytes.get(..FIXED)?;
        let number = |at: usize| {
            let bytes: [u8; 4] = fixed[at..at + 4].try_into().unwrap_or_default();
            usize::try_from(u32::from_le_bytes(bytes)).unwrap_or(usize::MAX)
        };
        let (body, fields) = (number(4), number(12));
        if fixed[0] != b'l' || fixed[3] != 1 || body > LONGEST || fields > LONGEST {
            return Some(Err(()));
        }
        Some(Ok((FIXED + fields).next_multiple_of(8) + body))
    }

    /// Reads a whole message.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let kind = match bytes.get(1)? {
            2 => Kind::Return,
            3 => Kind::Error,
            4 => Kind::Signal,
            _ => Kind::Other,
        };
        let mut reader = Reader::new(bytes);
        let header = reader.values("yyyyuua(yv)")?;
        let mut message = Self {
            kind,
            reply_to: 0,
            name: String::new(),
            sender: String::new(),
            body: Vec::new(),
        };
        let mut signature = "";
        let Some(Value::Array(_, fields)) = header.last() else { return None };
        for field in fields {
            let Value::Struct(field) = field else { return None };
            let [Value::Byte(code), Value::Variant(value)] = field.as_slice() else { return None };
            match (code, &**value) {
                (3 | 4, Value::Text(name)) => message.name.clone_from(name),
                (7, Value::Text(name)) => message.sender.clone_from(name),
                (5, Value::Uint32(serial)) => message.reply_to = *serial,
                (8, Value::Signature(of_body)) => signature = of_body,
                _ => {}
            }
        }
        reader.align(8);
        message.body = reader.values(signature)?;
        Some(message)
    }

    /// The texts of the body, in order; other values are left out.
    pub(crate) fn texts(&self) -> Vec<&str> {
        self.body.iter().filter_map(Value::as_text).collect()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_what_the_specification_says() {
        let call = Call {
            destination: "org.freedesktop.DBus",
            path: "/org/freedesktop/DBus",
            interface: "org.freedesktop.DBus",
            member: "AddMatch",
            arguments: vec![Value::text("type='signal'")],
        };
        let bytes = call.encode(9, true);
        assert_eq!(Message::length(&bytes), Some(Ok(bytes.len())));
        assert_eq!(Message::length(&bytes[..15]), None);
        assert_eq!(bytes[..4], [b'l', 1, 0, 1]);
        assert_eq!(bytes[8..12], [9, 0, 0, 0]);
        let message = Message::decode(&bytes).unwrap();
        assert_eq!((message.kind, message.name.as_str()), (Kind::Other, "AddMatch"));
        assert_eq!(message.texts(), ["type='signal'"]);
        // Nothing of it may be missing.
        for end in 0..bytes.len() {
            assert!(Message::decode(&bytes[..end]).is_none(), "{end}");
        }
    }

    #[test]
    fn what_is_no_message_is_told_by_its_beginning() {
        let mut bytes = [0; 16];
        assert_eq!(Message::length(&bytes), Some(Err(())));
        bytes[0] = b'l';
        bytes[3] = 1;
        assert_eq!(Message::length(&bytes), Some(Ok(16)));
        bytes[7] = 0x7f;
        assert_eq!(Message::length(&bytes), Some(Err(())));
    }
}
