//! From bytes to types, and errors that say where and why.
//!
//! A good file is read once, straight into its types. Only a bad one is read again: once more to
//! learn which part of it is wrong, and once more to show what stands there.

use std::borrow::Cow;

use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_path_to_error::{Path, Segment};

use super::Spec;
use crate::error::{Error, Kind, Result, plain};

impl Spec {
    /// Reads a config.json. Nothing is checked but its form: see [`check`](super::check).
    pub fn parse(json: &[u8]) -> Result<Self> {
        parse(json, "config.json")
    }
}

/// Reads any of the types of config.json by itself, as `exec --process` and `update --resources`
/// are given one. Errors name `file`.
pub fn parse<T: DeserializeOwned>(json: &[u8], file: impl Into<Cow<'static, str>>) -> Result<T> {
    serde_json::from_slice(json).map_err(|error| explain::<T>(json, file.into(), &error))
}

/// Finds out what is wrong with a file that could not be read.
fn explain<T: DeserializeOwned>(
    json: &[u8],
    file: Cow<'static, str>,
    error: &serde_json::Error,
) -> Error {
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    let failure = match serde_path_to_error::deserialize::<_, T>(&mut deserializer) {
        Err(located) if located.inner().is_data() => mismatch(json, &located),
        Err(located) if without_position(&located.inner().to_string()) == OUT_OF_RANGE => {
            out_of_range(json, &located)
        }
        _ => malformed(json, error),
    };
    let reading = Error::new(format!("reading {file}")).kind(Kind::Config).in_file(file);
    let error = reading.because(failure.because);
    let error = match failure.place {
        Some((pointer, value)) => error.at(pointer, value),
        None => error,
    };
    match failure.help {
        Some(help) => error.help(help),
        None => error,
    }
}

/// What an error is made of.
struct Failure {
    because: Cow<'static, str>,
    place: Option<(String, Option<String>)>,
    help: Option<String>,
}

/// The file is no JSON.
fn malformed(json: &[u8], error: &serde_json::Error) -> Failure {
    let plain =
        |because: Cow<'static, str>, help: Option<String>| Failure { because, place: None, help };
    if json.trim_ascii().is_empty() {
        return plain("the file is empty".into(), None);
    }
    if json.starts_with("\u{feff}".as_bytes()) {
        let help = "save it as plain UTF-8, without a byte order mark";
        return plain("it begins with a byte order mark".into(), Some(help.into()));
    }
    // One that ends within a character ends too early.
    if let Err(error) = std::str::from_utf8(json)
        && error.error_len().is_some()
    {
        let because = format!("not UTF-8: byte {} is no text", error.valid_up_to());
        return plain(because.into(), Some("save it as plain UTF-8".into()));
    }
    let (line, column) = (error.line(), error.column());
    let words = error.to_string();
    let words = without_position(&words);
    let reason = match words {
        "recursion limit exceeded" => "nested more than 128 levels deep".into(),
        "trailing characters" => "something follows the end of the object".into(),
        "expected ident" => "expected value".into(),
        _ if words.starts_with("control character") => {
            "a line break or another control character in a string".into()
        }
        _ => match words.strip_prefix("EOF while parsing ") {
            Some(inside) => format!("the file ends inside {inside}").into(),
            None => Cow::Borrowed(words),
        },
    };
    plain(
        format!("not valid JSON at line {line}, column {column}: {reason}").into(),
        excerpt(json, line, column).map(|text| format!("look near {text}")),
    )
}

/// The text around a place in the file; lines and columns count from 1, columns in bytes.
fn excerpt(json: &[u8], line: usize, column: usize) -> Option<String> {
    const BEFORE: usize = 30;
    const AFTER: usize = 10;
    let text = json.split(|&byte| byte == b'\n').nth(line.checked_sub(1)?)?;
    let start = column.saturating_sub(BEFORE).min(text.len());
    let end = column.saturating_add(AFTER).min(text.len());
    let near = String::from_utf8_lossy(&text[start..end]);
    let near = near.trim();
    (!near.is_empty()).then(|| format!("`{near}`"))
}

/// `serde_json`'s words for a number such as 1e400: to it, that is no JSON.
const OUT_OF_RANGE: &str = "number out of range";

/// A number is larger than any that a computer reckons with.
fn out_of_range(json: &[u8], error: &serde_path_to_error::Error<serde_json::Error>) -> Failure {
    let line = json.split(|&byte| byte == b'\n').nth(error.inner().line().saturating_sub(1));
    let line = line.unwrap_or_default();
    let (before, after) = line.split_at(error.inner().column().min(line.len()));
    let of_number = |byte: &&u8| byte.is_ascii_digit() || b"+-.eE".contains(byte);
    let start = before.len() - before.iter().rev().take_while(of_number).count();
    let end = before.len() + after.iter().take_while(of_number).count();
    let number = String::from_utf8_lossy(&line[start..end]).into_owned();
    Failure {
        because: "the number is out of range".into(),
        place: Some((pointer(error.path()), Some(number))),
        help: Some("no field takes a number of more than 20 digits".into()),
    }
}

/// The file is JSON, but not what the specification wants.
fn mismatch(json: &[u8], error: &serde_path_to_error::Error<serde_json::Error>) -> Failure {
    let words = error.inner().to_string();
    let words = without_position(&words);
    let mut pointer = pointer(error.path());
    let root = serde_json::from_slice::<Value>(json).ok();
    let found = root.as_ref().and_then(|root| root.pointer(&pointer));

    if let Some((name, _)) = quoted(words, "missing field `") {
        push(&mut pointer, name);
        return Failure {
            because: format!("{name} is missing").into(),
            place: Some((pointer, None)),
            help: Some(format!("the specification requires `{name}` here")),
        };
    }
    if let Some((name, _)) = quoted(words, "duplicate field `") {
        push(&mut pointer, name);
        return Failure {
            because: format!("the key {} appears twice", plain(name)).into(),
            place: Some((pointer, None)),
            help: Some("keep one of the two".into()),
        };
    }
    if let Some((name, expected)) = quoted(words, "unknown variant `") {
        let is_value = found.and_then(Value::as_str) == Some(name);
        let expected = expected.trim_start_matches(", expected ").replace('`', "");
        return Failure {
            because: if is_value { "no such value" } else { "no such key" }.into(),
            place: Some((pointer, found.map(Value::to_string))),
            help: Some(format!("known: {}", expected.trim_start_matches("one of "))),
        };
    }
    let Some(wanted) = words.split_once(", expected ").map(|(_, wanted)| spoken(wanted)) else {
        return Failure {
            because: words.to_owned().into(),
            place: Some((pointer, found.map(Value::to_string))),
            help: None,
        };
    };
    let because = match found {
        // Out of range, or not whole: both are numbers.
        Some(Value::Number(_)) if wanted.contains("number") => format!("{wanted} is expected"),
        Some(found) => format!("{wanted} is expected, not {}", kind(found)),
        None => format!("{wanted} is expected"),
    };
    Failure {
        because: because.into(),
        help: found.and_then(|found| hint(&wanted, found)),
        place: Some((pointer, found.map(Value::to_string))),
    }
}

/// `serde_json`'s words without the position at their end.
fn without_position(words: &str) -> &str {
    words.rsplit_once(" at line ").map_or(words, |(words, _)| words)
}

/// What stands between `before` and the next backtick, and what follows it.
fn quoted<'a>(words: &'a str, before: &str) -> Option<(&'a str, &'a str)> {
    words.strip_prefix(before)?.split_once('`')
}

/// What serde expects, in words for people.
fn spoken(wanted: &str) -> Cow<'_, str> {
    let (least, greatest) = match wanted {
        "u16" => (0, u64::from(u16::MAX)),
        "u32" => (0, u64::from(u32::MAX)),
        "u64" => (0, u64::MAX),
        "i32" => (i64::from(i32::MIN), i32::MAX.unsigned_abs().into()),
        "i64" => (i64::MIN, i64::MAX.unsigned_abs()),
        "a boolean" => return "true or false".into(),
        "a sequence" => return "an array".into(),
        other => return other.into(),
    };
    format!("a whole number from {least} to {greatest}").into()
}

/// What a value is, in words for people.
fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

/// How to write it rightly.
fn hint(wanted: &str, found: &Value) -> Option<String> {
    let in_quotes = found.as_str().unwrap_or_default();
    Some(match (wanted, found) {
        ("a string", Value::Number(_) | Value::Bool(_)) => {
            format!("put it in quotes: \"{found}\"")
        }
        ("a string", _) => "a string is written in quotes".into(),
        ("true or false", _) if matches!(in_quotes, "true" | "false") => {
            format!("leave out the quotes: {in_quotes}")
        }
        ("true or false", _) => "write true or false, without quotes".into(),
        ("an array", Value::String(_) | Value::Number(_)) => {
            format!("put it in brackets: [{}]", plain(&found.to_string()))
        }
        ("an array", _) => "an array is written in brackets".into(),
        ("an object", _) => "an object is written in braces: {\"key\": value}".into(),
        (_, Value::Number(_)) => return None,
        _ if in_quotes.parse::<i64>().is_ok() => format!("leave out the quotes: {in_quotes}"),
        _ => "write plain digits, without quotes".into(),
    })
}

/// The path as a JSON pointer (RFC 6901).
fn pointer(path: &Path) -> String {
    let mut pointer = String::new();
    for segment in path {
        match segment {
            Segment::Seq { index } => push(&mut pointer, &index.to_string()),
            Segment::Map { key } => push(&mut pointer, key),
            Segment::Enum { .. } | Segment::Unknown => {}
        }
    }
    pointer
}

/// Adds a step to a JSON pointer.
fn push(pointer: &mut String, step: &str) {
    pointer.push('/');
    for letter in step.chars() {
        match letter {
            '~' => pointer.push_str("~0"),
            '/' => pointer.push_str("~1"),
            _ => pointer.push(letter),
        }
    }
}
