//! Values of D-Bus's types, and how they lie in a message (D-Bus Specification, "Marshaling").

use super::signature::{alignment, first};

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    /// `y`
    Byte(u8),
    /// `b`
    Bool(bool),
    /// `n`
    Int16(i16),
    /// `q`
    Uint16(u16),
    /// `i`
    Int32(i32),
    /// `u`
    Uint32(u32),
    /// `x`
    Int64(i64),
    /// `t`
    Uint64(u64),
    /// `d`
    Double(f64),
    /// `s`
    Text(String),
    /// `o`: an object's path.
    Path(String),
    /// `g`
    Signature(String),
    /// `a…`: the type of an item, and the items.
    Array(String, Vec<Value>),
    /// `(…)`
    Struct(Vec<Value>),
    /// `{…}`, in an array: a key with its value.
    Entry(Box<(Value, Value)>),
    /// `v`
    Variant(Box<Value>),
}

impl Value {
    /// A text.
    pub(crate) fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    /// A value with its type.
    pub(crate) fn variant(self) -> Self {
        Self::Variant(Box::new(self))
    }

    /// An array of texts.
    pub(crate) fn texts(texts: impl IntoIterator<Item = String>) -> Self {
        Self::Array("s".into(), texts.into_iter().map(Self::Text).collect())
    }

    /// An array of bytes.
    pub(crate) fn bytes(bytes: impl IntoIterator<Item = u8>) -> Self {
        Self::Array("y".into(), bytes.into_iter().map(Self::Byte).collect())
    }

    /// What a text, a path or a signature says.
    pub(crate) fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) | Self::Path(text) | Self::Signature(text) => Some(text),
            Self::Variant(inner) => inner.as_text(),
            _ => None,
        }
    }

    /// Its type.
    pub(crate) fn signature(&self) -> String {
        let basic = match self {
            Self::Byte(_) => "y",
            Self::Bool(_) => "b",
            Self::Int16(_) => "n",
            Self::Uint16(_) => "q",
            Self::Int32(_) => "i",
            Self::Uint32(_) => "u",
            Self::Int64(_) => "x",
            Self::Uint64(_) => "t",
            Self::Double(_) => "d",
            Self::Text(_) => "s",
            Self::Path(_) => "o",
            Self::Signature(_) => "g",
            Self::Variant(_) => "v",
            Self::Array(item, _) => return format!("a{item}"),
            Self::Struct(fields) => {
                let fields: String = fields.iter().map(Self::signature).collect();
                return format!("({fields})");
            }
            Self::Entry(entry) => {
                return format!("{{{}{}}}", entry.0.signature(), entry.1.signature());
            }
        };
        basic.to_owned()
    }

    /// Appends it. The message begins where `out` does, or at a multiple of 8 before.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        let mut put = |bytes: &[u8]| {
            pad(out, bytes.len());
            out.extend_from_slice(bytes);
        };
        match self {
            Self::Byte(number) => put(&[*number]),
            Self::Bool(value) => put(&u32::from(*value).to_le_bytes()),
            Self::Int16(number) => put(&number.to_le_bytes()),
            Self::Uint16(number) => put(&number.to_le_bytes()),
            Self::Int32(number) => put(&number.to_le_bytes()),
            Self::Uint32(number) => put(&number.to_le_bytes()),
            Self::Int64(number) => put(&number.to_le_bytes()),
            Self::Uint64(number) => put(&number.to_le_bytes()),
            Self::Double(number) => put(&number.to_le_bytes()),
            Self::Text(text) | Self::Path(text) => {
                put(&length(text.len()).to_le_bytes());
                out.extend_from_slice(text.as_bytes());
                out.push(0);
            }
            Self::Signature(text) => {
                out.push(u8::try_from(text.len()).unwrap_or(u8::MAX));
                out.extend_from_slice(text.as_bytes());
                out.push(0);
            }
            Self::Array(item, items) => {
                put(&[0; 4]);
                let place = out.len() - 4;
                pad(out, alignment(item));
                let begin = out.len();
                for item in items {
                    item.write(out);
                }
                let size = length(out.len() - begin);
                out[place..place + 4].copy_from_slice(&size.to_le_bytes());
            }
            Self::Struct(fields) => {
                pad(out, 8);
                for field in fields {
                    field.write(out);
                }
            }
            Self::Entry(entry) => {
                pad(out, 8);
                entry.0.write(out);
                entry.1.write(out);
            }
            Self::Variant(value) => {
                Self::Signature(value.signature()).write(out);
                value.write(out);
            }
        }
    }
}

/// Fills up with zeros to a multiple of `alignment`.
pub(super) fn pad(out: &mut Vec<u8>, alignment: usize) {
    out.resize(out.len().next_multiple_of(alignment.max(1)), 0);
}

/// A length; messages are limited to 128 MiB, and ours are nowhere near.
pub(super) fn length(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

/// Takes values out of a message. `None` from any of it: that is none.
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    pub(super) fn align(&mut self, to: usize) {
        self.at = self.at.next_multiple_of(to);
    }

    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let taken = self.bytes.get(self.at..self.at.checked_add(length)?)?;
        self.at += length;
        Some(taken)
    }

    fn number<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.align(N);
        self.take(N)?.try_into().ok()
    }

    pub(super) fn uint32(&mut self) -> Option<u32> {
        self.number().map(u32::from_le_bytes)
    }

    /// A text with its zero behind it.
    fn text(&mut self, length: usize) -> Option<String> {
        let bytes = self.take(length.checked_add(1)?)?;
        let (zero, text) = bytes.split_last()?;
        (*zero == 0).then(|| String::from_utf8(text.to_vec()).ok())?
    }

    /// The values of a signature.
    pub(super) fn values(&mut self, mut signature: &str) -> Option<Vec<Value>> {
        let mut values = Vec::new();
        while !signature.is_empty() {
            let (one, rest) = signature.split_at(first(signature)?);
            values.push(self.value(one, 0)?);
            signature = rest;
        }
        Some(values)
    }

    /// One value of a type; variants nest without the signature's limit, hence `depth`.
    fn value(&mut self, signature: &str, depth: usize) -> Option<Value> {
        if depth > 64 {
            return None;
        }
        Some(match signature.as_bytes().first()? {
            b'y' => Value::Byte(self.take(1)?[0]),
            b'b' => Value::Bool(self.uint32()? != 0),
            b'n' => Value::Int16(i16::from_le_bytes(self.number()?)),
            b'q' => Value::Uint16(u16::from_le_bytes(self.number()?)),
            b'i' => Value::Int32(i32::from_le_bytes(self.number()?)),
            b'u' => Value::Uint32(self.uint32()?),
            b'x' => Value::Int64(i64::from_le_bytes(self.number()?)),
            b't' => Value::Uint64(u64::from_le_bytes(self.number()?)),
            b'd' => Value::Double(f64::from_le_bytes(self.number()?)),
            kind @ (b's' | b'o') => {
                let length = usize::try_from(self.uint32()?).ok()?;
                let text = self.text(length)?;
                if *kind == b's' { Value::Text(text) } else { Value::Path(text) }
            }
            b'g' => Value::Signature(self.signature()?),
            b'v' => {
                let inner = self.signature()?;
                if first(&inner)? != inner.len() {
                    return None;
                }
                Value::Variant(Box::new(self.value(&inner, depth + 1)?))
            }
            b'a' => {
                let item = &signature[1..];
                let size = usize::try_from(self.uint32()?).ok()?;
                self.align(alignment(item));
                let end = self.at.checked_add(size)?;
                let mut items = Vec::new();
                while self.at < end {
                    items.push(self.value(item, depth + 1)?);
                }
                (self.at == end).then(|| Value::Array(item.to_owned(), items))?
            }
            b'(' => {
                self.align(8);
                let mut inner = &signature[1..signature.len() - 1];
                let mut fields = Vec::new();
                while !inner.is_empty() {
                    let (one, rest) = inner.split_at(first(inner)?);
                    fields.push(self.value(one, depth + 1)?);
                    inner = rest;
                }
                Value::Struct(fields)
            }
            b'{' => {
                self.align(8);
                let (key, value) = signature[1..signature.len() - 1].split_at(1);
                let key = self.value(key, depth + 1)?;
                Value::Entry(Box::new((key, self.value(value, depth + 1)?)))
            }
            _ => return None,
        })
    }

    fn signature(&mut self) -> Option<String> {
        let length = usize::from(self.take(1)?[0]);
        self.text(length)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn sample() -> Vec<Value> {
        let pair = |a: &str, b: &str| Value::Struct(vec![Value::text(a), Value::text(b)]);
        vec![
            Value::Byte(7),
            Value::Bool(true),
            Value::Int16(-2),
            Value::Uint16(3),
            Value::Int32(-4),
            Value::Uint32(5),
            Value::Int64(-6),
            Value::Uint64(u64::MAX),
            Value::Double(1.5),
            Value::text("unit-é.scope"),
            Value::Path("/a/b".into()),
            Value::Signature("a{sv}".into()),
            Value::Array("(ss)".into(), vec![pair("x", "rw"), pair("", "")]),
            Value::Array("(ss)".into(), Vec::new()),
            Value::bytes([3, 0, 1]),
            Value::Array(
                "{sv}".into(),
                vec![Value::Entry(Box::new((
                    Value::text("k"),
                    Value::Array("x".into(), vec![Value::Int64(1)]).variant(),
                )))],
            ),
        ]
    }

    #[test]
    fn what_is_written_is_read() {
        let values = sample();
        let signature: String = values.iter().map(Value::signature).collect();
        assert_eq!(signature, "ybnqiuxtdsoga(ss)a(ss)aya{sv}");
        let mut bytes = Vec::new();
        for value in &values {
            value.write(&mut bytes);
        }
        assert_eq!(Reader::new(&bytes).values(&signature).unwrap(), values);
        // Cut short anywhere, it is none.
        for end in 0..bytes.len() {
            assert_eq!(Reader::new(&bytes[..end]).values(&signature), None, "{end}");
        }
    }

    #[test]
    fn values_lie_as_the_specification_draws_them() {
        // "Marshaling", examples of arrays: the padding to the first item does not count.
        let mut bytes = vec![0xff; 4];
        Value::Array("x".into(), vec![Value::Int64(5)]).write(&mut bytes);
        assert_eq!(bytes[4..], [8, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0]);
        let mut bytes = Vec::new();
        Value::text("foo").variant().write(&mut bytes);
        assert_eq!(bytes, [1, b's', 0, 0, 3, 0, 0, 0, b'f', b'o', b'o', 0]);
    }

    #[test]
    fn garbage_is_none() {
        let mut random = 1_u32;
        let bytes: Vec<u8> = std::iter::repeat_with(|| {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            random.to_le_bytes()[3]
        })
        .take(4000)
        .collect();
        for start in 0..bytes.len() {
            for signature in ["v", "a{sv}", "as", "(av)", "aav"] {
                _ = Reader::new(&bytes[start..]).values(signature);
            }
        }
    }
}
