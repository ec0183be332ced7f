//! As much of the protobuf encoding as CRIU's protocol takes: a message is a row of fields, each a
//! key (its number and what follows) and a value (protobuf.dev, "Encoding").

/// What follows a key: a number of 7 bits a byte.
const VARINT: u64 = 0;
/// Eight bytes.
const FIXED64: u64 = 1;
/// A length, and as many bytes.
const BYTES: u64 = 2;
/// Four bytes.
const FIXED32: u64 = 5;

/// What a field of a message can be.
pub(super) trait Field {
    /// Appends it as field `number`; nothing where it is not set.
    fn put(&self, number: u32, out: &mut Vec<u8>);
}

/// A message that can be sent.
pub(super) trait Message {
    /// Appends its fields.
    fn encode(&self, out: &mut Vec<u8>);
}

/// Declares a message with the numbers of its fields.
macro_rules! message {
    (
        $(#[$doc:meta])* $name:ident {
            $($(#[$field_doc:meta])* $field:ident: $kind:ty = $number:literal,)*
        }
    ) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        #[allow(clippy::struct_excessive_bools)] // the protocol has them
        pub(crate) struct $name {
            $($(#[$field_doc])* pub(crate) $field: $kind,)*
        }

        impl $crate::criu::protobuf::Message for $name {
            fn encode(&self, out: &mut Vec<u8>) {
                $($crate::criu::protobuf::Field::put(&self.$field, $number, out);)*
            }
        }
    };
}
pub(super) use message;

fn varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        #[allow(clippy::cast_possible_truncation)] // the low seven bits are meant
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    #[allow(clippy::cast_possible_truncation)] // below 128
    out.push(value as u8);
}

fn key(number: u32, kind: u64, out: &mut Vec<u8>) {
    varint(u64::from(number) << 3 | kind, out);
}

fn bytes(number: u32, bytes: &[u8], out: &mut Vec<u8>) {
    key(number, BYTES, out);
    varint(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

/// Not set is as good as false: that is every default here.
impl Field for bool {
    fn put(&self, number: u32, out: &mut Vec<u8>) {
        if *self {
            key(number, VARINT, out);
            varint(1, out);
        }
    }
}

impl Field for Option<i32> {
    fn put(&self, number: u32, out: &mut Vec<u8>) {
        if let Some(value) = self {
            value.put(number, out);
        }
    }
}

impl Field for i32 {
    fn put(&self, number: u32, out: &mut Vec<u8>) {
        key(number, VARINT, out);
        // A negative one goes as 64 bits.
        #[allow(clippy::cast_sign_loss)]
        varint(i64::from(*self) as u64, out);
    }
}

impl Field for String {
    fn put(&self, number: u32, out: &mut Vec<u8>) {
        bytes(number, self.as_bytes(), out);
    }
}

impl Field for Option<String> {
    fn put(&self, number: u32, out: &mut Vec<u8>) {
        if let Some(text) = self {
            text.put(number, out);
        }
    }
}

impl Field for Vec<String> {
    fn put(&self, number: u32, out: &mut Vec<u8>) {
        for text in self {
            text.put(number, out);
        }
    }
}

fn inner<M: Message>(number: u32, message: &M, out: &mut Vec<u8>) {
    let mut inner = Vec::new();
    message.encode(&mut inner);
    bytes(number, &inner, out);
}

impl<M: Message> Field for Option<M> {
    fn put(&self, number: u32, out: &mut Vec<u8>) {
        if let Some(inner) = self {
            self::inner(number, inner, out);
        }
    }
}

impl<M: Message> Field for Vec<M> {
    fn put(&self, number: u32, out: &mut Vec<u8>) {
        for inner in self {
            self::inner(number, inner, out);
        }
    }
}

/// The value of a field that was received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Value<'a> {
    /// A number, of whichever type.
    Number(u64),
    /// A text or a message.
    Bytes(&'a [u8]),
}

impl<'a> Value<'a> {
    /// As an int32.
    pub(super) fn number(self) -> Option<i32> {
        match self {
            // A negative one comes as 64 bits.
            #[allow(clippy::cast_possible_truncation)]
            Self::Number(value) => Some(value as i32),
            Self::Bytes(_) => None,
        }
    }

    /// As a number without a sign.
    pub(super) fn unsigned(self) -> Option<u64> {
        match self {
            Self::Number(value) => Some(value),
            Self::Bytes(_) => None,
        }
    }

    /// As a string; what is no UTF-8 is replaced.
    pub(super) fn text(self) -> Option<String> {
        Some(String::from_utf8_lossy(self.fields()?.0).into_owned())
    }

    /// As a message.
    pub(super) fn fields(self) -> Option<Fields<'a>> {
        match self {
            Self::Number(_) => None,
            Self::Bytes(bytes) => Some(Fields(bytes)),
        }
    }
}

/// The fields of a message that was received; `None` where it ends too early.
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

impl<'a> Iterator for Fields<'a> {
    type Item = Option<(u32, Value<'a>)>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_none() {
            self.0 = &[];
        }
        Some(field)
    }
}

impl<'a> Fields<'a> {
    fn field(&mut self) -> Option<(u32, Value<'a>)> {
        let key = self.varint()?;
        let value = match key & 7 {
            VARINT => Value::Number(self.varint()?),
            BYTES => {
                let length = usize::try_from(self.varint()?).ok()?;
                Value::Bytes(self.take(length)?)
            }
            FIXED64 => Value::Bytes(self.take(8)?),
            FIXED32 => Value::Bytes(self.take(4)?),
            _ => return None,
        };
        Some((u32::try_from(key >> 3).ok()?, value))
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = *self.take(1)?.first()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }

    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_back() {
        for value in [0, 1, 127, 128, 300, i32::MAX, -1, i32::MIN] {
            let mut out = Vec::new();
            value.put(5, &mut out);
            let (number, read) = Fields(&out).next().unwrap().unwrap();
            assert_eq!((number, read.number()), (5, Some(value)));
        }
    }

    #[test]
    fn what_is_cut_off_is_noticed() {
        let mut whole = Vec::new();
        String::from("criu").put(16, &mut whole);
        for length in 1..whole.len() {
            assert_eq!(Fields(&whole[..length]).next(), Some(None), "{length}");
        }
        let text = Fields(&whole).next().unwrap().unwrap().1.text();
        assert_eq!(text.as_deref(), Some("criu"));
        for bad in [&b"\x0b"[..], b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", b"\x0a\xff\x7f"]
        {
            assert_eq!(Fields(bad).next(), Some(None), "{bad:?}");
        }
    }
}
