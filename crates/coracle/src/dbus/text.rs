//! Values as people write them: GVariant's text format (GLib, "GVariant Text Format"), as far as
//! D-Bus's types and annotations need it: no tuples.
//!
//! A number without a type is an `int32`, or a `double` with a point or an exponent; a text is a
//! `string`. A type may stand before a value, as a word (`uint64 5`) or as a signature (`@t 5`).

use super::signature::{first, is_single};
use super::value::Value;

/// What GLib calls the basic types.
const WORDS: [(&str, &str); 12] = [
    ("boolean", "b"),
    ("byte", "y"),
    ("int16", "n"),
    ("uint16", "q"),
    ("int32", "i"),
    ("uint32", "u"),
    ("int64", "x"),
    ("uint64", "t"),
    ("double", "d"),
    ("string", "s"),
    ("objectpath", "o"),
    ("signature", "g"),
];

/// Reads one value; what is wrong with it, else.
pub(crate) fn parse(text: &str) -> Result<Value, String> {
    let mut parser = Parser { rest: text, depth: 0 };
    let node = parser.node()?;
    parser.blank();
    if !parser.rest.is_empty() {
        return Err(format!("unexpected {:?}", parser.rest));
    }
    node.value(None)
}

/// What was read, before its type is known.
enum Node {
    Bool(bool),
    Number(String),
    Text(String),
    Bytes(Vec<u8>),
    Array(Vec<Node>),
    Dict(Vec<(Node, Node)>),
    Variant(Box<Node>),
    /// With a type before it.
    Typed(String, Box<Node>),
}

struct Parser<'a> {
    rest: &'a str,
    depth: usize,
}

impl Parser<'_> {
    fn blank(&mut self) {
        self.rest = self.rest.trim_start();
    }

    /// Takes this character, if it comes next.
    fn has(&mut self, wanted: char) -> bool {
        self.blank();
        let after = self.rest.strip_prefix(wanted);
        self.rest = after.unwrap_or(self.rest);
        after.is_some()
    }

    fn expect(&mut self, wanted: char) -> Result<(), String> {
        if self.has(wanted) {
            return Ok(());
        }
        match self.rest.chars().next() {
            Some(found) => Err(format!("{found:?} where {wanted:?} was expected")),
            None => Err(format!("{wanted:?} is missing at the end")),
        }
    }

    /// A run of characters.
    fn word(&mut self, belongs: fn(char) -> bool) -> String {
        let end = self.rest.find(|c| !belongs(c)).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        word.to_owned()
    }

    fn node(&mut self) -> Result<Node, String> {
        self.depth += 1;
        if self.depth > 32 {
            return Err("nested too deep".to_owned());
        }
        let node = self.any();
        self.depth -= 1;
        node
    }

    fn any(&mut self) -> Result<Node, String> {
        self.blank();
        match self.rest.chars().next() {
            None => Err("a value is missing".to_owned()),
            Some('[') => {
                self.has('[');
                self.list(']', Self::node).map(Node::Array)
            }
            Some('{') => {
                self.has('{');
                let pair = |parser: &mut Self| {
                    let key = parser.node()?;
                    parser.expect(':')?;
                    Ok((key, parser.node()?))
                };
                self.list('}', pair).map(Node::Dict)
            }
            Some('<') => {
                self.has('<');
                let node = self.node()?;
                self.expect('>')?;
                Ok(Node::Variant(Box::new(node)))
            }
            Some(quote @ ('\'' | '"')) => {
                self.has(quote);
                self.text(quote).map(Node::Text)
            }
            Some('@') => {
                self.has('@');
                let signature = self.word(|c| !c.is_whitespace());
                if !is_single(&signature) {
                    return Err(format!("{signature:?} is no type"));
                }
                self.typed(signature)
            }
            Some('0'..='9' | '+' | '-' | '.') => {
                Ok(Node::Number(self.word(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))))
            }
            Some('b') if self.rest.starts_with("b'") || self.rest.starts_with("b\"") => {
                self.has('b');
                let quote = if self.has('\'') { '\'' } else { '"' };
                self.has(quote);
                self.bytes(quote).map(Node::Bytes)
            }
            Some(_) => match self.word(|c| c.is_ascii_alphanumeric()).as_str() {
                "true" => Ok(Node::Bool(true)),
                "false" => Ok(Node::Bool(false)),
                word => match WORDS.iter().find(|(name, _)| *name == word) {
                    Some((_, signature)) => self.typed((*signature).to_owned()),
                    None => Err(format!(
                        "unexpected {:?}: a string stands in quotes",
                        if word.is_empty() { self.rest } else { word }
                    )),
                },
            },
        }
    }

    fn typed(&mut self, signature: String) -> Result<Node, String> {
        match self.node()? {
            Node::Typed(..) => Err("two types before one value".to_owned()),
            node => Ok(Node::Typed(signature, Box::new(node))),
        }
    }

    /// Items between commas, up to the end.
    fn list<T>(
        &mut self,
        end: char,
        item: impl Fn(&mut Self) -> Result<T, String>,
    ) -> Result<Vec<T>, String> {
        let mut items = Vec::new();
        if self.has(end) {
            return Ok(items);
        }
        loop {
            items.push(item(self)?);
            if !self.has(',') {
                self.expect(end)?;
                return Ok(items);
            }
        }
    }

    /// The rest of a text in quotes.
    fn text(&mut self, quote: char) -> Result<String, String> {
        let mut text = String::new();
        loop {
            match self.char()? {
                c if c == quote => return Ok(text),
                '\\' => match self.char()? {
                    'u' => text.push(self.code(4, 16)?),
                    'U' => text.push(self.code(8, 16)?),
                    '\n' => {}
                    c => text.push(control(c)),
                },
                c => text.push(c),
            }
        }
    }

    /// The rest of a byte string in quotes, with the zero that ends it.
    fn bytes(&mut self, quote: char) -> Result<Vec<u8>, String> {
        let mut bytes = Vec::new();
        let mut encoded = [0; 4];
        loop {
            let c = match self.char()? {
                c if c == quote => break,
                '\\' => match self.char()? {
                    digit @ '0'..='3' => {
                        let rest = self.code(2, 8)? as u32;
                        char::from_u32(digit.to_digit(8).unwrap_or(0) * 64 + rest).unwrap_or('\0')
                    }
                    'x' => self.code(2, 16)?,
                    c => control(c),
                },
                c => {
                    bytes.extend_from_slice(c.encode_utf8(&mut encoded).as_bytes());
                    continue;
                }
            };
            // Escapes are of one byte.
            bytes.push(u8::try_from(u32::from(c)).unwrap_or(b'?'));
        }
        bytes.push(0);
        Ok(bytes)
    }

    fn char(&mut self) -> Result<char, String> {
        let mut rest = self.rest.chars();
        let next = rest.next().ok_or("the closing quote is missing")?;
        self.rest = rest.as_str();
        Ok(next)
    }

    /// A character by its number, in so many digits.
    fn code(&mut self, digits: usize, radix: u32) -> Result<char, String> {
        let number = self.rest.get(..digits).and_then(|text| u32::from_str_radix(text, radix).ok());
        let code = number.and_then(char::from_u32).ok_or("an escape is broken")?;
        self.rest = &self.rest[digits..];
        Ok(code)
    }
}

/// What a letter behind a backslash stands for.
fn control(letter: char) -> char {
    match letter {
        'a' => '\x07',
        'b' => '\x08',
        'f' => '\x0c',
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        'v' => '\x0b',
        other => other,
    }
}

impl Node {
    /// The type that it has or takes for itself; `None` where nothing tells.
    fn signature(&self) -> Option<String> {
        Some(match self {
            Self::Bool(_) => "b".to_owned(),
            Self::Number(number) if is_fraction(number) => "d".to_owned(),
            Self::Number(_) => "i".to_owned(),
            Self::Text(_) => "s".to_owned(),
            Self::Bytes(_) => "ay".to_owned(),
            Self::Variant(_) => "v".to_owned(),
            Self::Typed(signature, _) => signature.clone(),
            // One that is told goes for all.
            Self::Array(items) => format!("a{}", common(items.iter())?),
            Self::Dict(pairs) => {
                let keys = common(pairs.iter().map(|(key, _)| key))?;
                format!("a{{{keys}{}}}", common(pairs.iter().map(|(_, value)| value))?)
            }
        })
    }

    /// The value, of the type that is asked for from outside, or its own.
    fn value(&self, wanted: Option<&str>) -> Result<Value, String> {
        let own;
        let signature = match (wanted, self) {
            (Some(wanted), _) => wanted,
            (None, Self::Typed(signature, _)) => signature,
            (None, _) => {
                own =
                    self.signature().ok_or("nothing tells the type: put @as or the like before")?;
                &own
            }
        };
        let wrong = |what: &str| Err(format!("{what} is not of the type {signature:?}"));
        let basic = signature.as_bytes().first().copied().unwrap_or(b'?');
        match self {
            Self::Typed(typed, node) if typed == signature => node.value(Some(typed)),
            Self::Typed(typed, _) => wrong(typed),
            Self::Bool(value) if signature == "b" => Ok(Value::Bool(*value)),
            Self::Number(text) => number(text, basic).map_or_else(|| wrong(text), Ok),
            Self::Text(text) => match signature {
                "s" => Ok(Value::Text(text.clone())),
                "o" => Ok(Value::Path(text.clone())),
                "g" => Ok(Value::Signature(text.clone())),
                _ => wrong(&format!("{text:?}")),
            },
            Self::Bytes(bytes) if signature == "ay" => Ok(Value::bytes(bytes.iter().copied())),
            Self::Variant(node) if signature == "v" => Ok(node.value(None)?.variant()),
            Self::Array(items) if basic == b'a' && !signature.starts_with("a{") => {
                let item = &signature[1..];
                let items = items.iter().map(|node| node.value(Some(item)));
                Ok(Value::Array(item.to_owned(), items.collect::<Result<_, _>>()?))
            }
            Self::Dict(pairs) if signature.starts_with("a{") => {
                let entry = &signature[1..];
                let (key, value) = entry[1..entry.len() - 1].split_at(1);
                let pairs = pairs.iter().map(|(first, second)| {
                    let pair = (first.value(Some(key))?, second.value(Some(value))?);
                    Ok(Value::Entry(Box::new(pair)))
                });
                Ok(Value::Array(entry.to_owned(), pairs.collect::<Result<_, String>>()?))
            }
            _ => wrong("a value"),
        }
    }
}

/// The type of all these: that of the one that states it, else of the first that has any.
fn common<'a>(nodes: impl Iterator<Item = &'a Node> + Clone) -> Option<String> {
    let fraction = |node: &&Node| matches!(node, Node::Number(text) if is_fraction(text));
    let stated = nodes.clone().find(|node| matches!(node, Node::Typed(..)) || fraction(node));
    let signature = match stated {
        Some(node) => node.signature(),
        None => nodes.into_iter().find_map(Node::signature),
    }?;
    (first(&signature) == Some(signature.len())).then_some(signature)
}

/// Whether a number has a point or an exponent.
fn is_fraction(number: &str) -> bool {
    !number.trim_start_matches(['+', '-']).starts_with("0x") && number.contains(['.', 'e', 'E'])
}

/// A number of a type: decimal, octal with a 0 before it, or hexadecimal with 0x.
fn number(text: &str, kind: u8) -> Option<Value> {
    if kind == b'd' {
        return text.parse().ok().map(Value::Double);
    }
    let unsigned = text.trim_start_matches(['+', '-']);
    let (digits, radix) = match unsigned.strip_prefix("0x").or(unsigned.strip_prefix("0X")) {
        Some(digits) => (digits, 16),
        None if unsigned.len() > 1 && unsigned.starts_with('0') => (&unsigned[1..], 8),
        None => (unsigned, 10),
    };
    let signs = text.len() - unsigned.len();
    if signs > 1 || digits.starts_with(['+', '-']) {
        return None;
    }
    let number = i128::from_str_radix(digits, radix).ok()?;
    let number = if text.starts_with('-') { -number } else { number };
    Some(match kind {
        b'y' => Value::Byte(number.try_into().ok()?),
        b'n' => Value::Int16(number.try_into().ok()?),
        b'q' => Value::Uint16(number.try_into().ok()?),
        b'i' => Value::Int32(number.try_into().ok()?),
        b'u' => Value::Uint32(number.try_into().ok()?),
        b'x' => Value::Int64(number.try_into().ok()?),
        b't' => Value::Uint64(number.try_into().ok()?),
        _ => return None,
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_with_their_types() {
        let text = |text: &str| Value::text(text);
        for (written, value) in [
            ("true", Value::Bool(true)),
            (" false ", Value::Bool(false)),
            ("5", Value::Int32(5)),
            ("-0x10", Value::Int32(-16)),
            ("017", Value::Int32(15)),
            ("0", Value::Int32(0)),
            ("uint64 5", Value::Uint64(5)),
            ("@t 18446744073709551615", Value::Uint64(u64::MAX)),
            ("byte 0xff", Value::Byte(255)),
            ("int16 -1", Value::Int16(-1)),
            ("1.5", Value::Double(1.5)),
            ("1e3", Value::Double(1000.0)),
            ("double 2", Value::Double(2.0)),
            ("'inactive-or-failed'", text("inactive-or-failed")),
            (r#""a\"b\n\u00e9""#, text("a\"b\né")),
            ("objectpath '/a'", Value::Path("/a".into())),
            ("['a', 'b']", Value::texts(["a".into(), "b".into()])),
            ("@as []", Value::texts([])),
            ("[uint32 1, 2]", Value::Array("u".into(), vec![Value::Uint32(1), Value::Uint32(2)])),
            ("[1, 2.5]", Value::Array("d".into(), vec![Value::Double(1.0), Value::Double(2.5)])),
            ("b'ab'", Value::bytes(*b"ab\0")),
            (r"b'\x41\101'", Value::bytes(*b"AA\0")),
            ("<'x'>", text("x").variant()),
            (
                "{'k': <1>}",
                Value::Array(
                    "{sv}".into(),
                    vec![Value::Entry(Box::new((text("k"), Value::Int32(1).variant())))],
                ),
            ),
            ("@a(ss) []", Value::Array("(ss)".into(), Vec::new())),
        ] {
            assert_eq!(parse(written), Ok(value), "{written}");
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (written, words) in [
            ("", "a value is missing"),
            ("bare", "a string stands in quotes"),
            ("'open", "closing quote"),
            ("[1, 'a']", "not of the type \"i\""),
            ("[]", "nothing tells the type"),
            ("5000000000", "not of the type \"i\""),
            ("uint32 -1", "not of the type \"u\""),
            ("byte 256", "not of the type \"y\""),
            ("@zz 5", "is no type"),
            ("1 2", "unexpected \"2\""),
            ("[1", "missing at the end"),
            ("(1, 2)", "unexpected"),
            ("uint32 uint32 1", "two types"),
            ("--1", "not of the type"),
            ("'\\u12'", "escape is broken"),
            ("boolean 1", "not of the type \"b\""),
        ] {
            let error = parse(written).unwrap_err();
            assert!(error.contains(words), "{written}: {error}");
        }
        assert!(parse(&"[".repeat(1000)).is_err());
    }
}
