//! `org.systemd.property.NAME`: annotations that set properties of the unit.

use std::collections::BTreeMap;

use crate::dbus::{Value, parse};
use crate::{Error, Result};

const PREFIX: &str = "org.systemd.property.";

/// The properties that annotations ask for. A time in seconds, `TimeoutStopSec`, becomes one in
/// microseconds, `TimeoutStopUSec`, as it is called on the bus.
pub(super) fn properties(annotations: &BTreeMap<String, String>) -> Result<Vec<(String, Value)>> {
    let named =
        annotations.iter().filter_map(|(key, value)| Some((key.strip_prefix(PREFIX)?, value)));
    named.map(|(name, text)| property(name, text)).collect()
}

/// The JSON pointer to the annotation of a property.
pub(super) fn pointer(name: &str) -> String {
    format!("/annotations/{PREFIX}{}", name.replace('~', "~0").replace('/', "~1"))
}

fn property(name: &str, text: &str) -> Result<(String, Value)> {
    let wrong = |what: String| {
        Error::new("this annotation is no property of a systemd unit")
            .because(what)
            .at(pointer(name), Some(format!("{text:?}")))
    };
    if name.len() < 3 || !name.bytes().all(|byte| byte.is_ascii_alphabetic()) {
        return Err(wrong("a property's name has letters only, three or more".to_owned()));
    }
    let value = parse(text).map_err(|what| {
        wrong(what).help("values are written as in uint64 5, true, 'text', or ['a', 'b']")
    })?;
    let Some(stem) = name
        .strip_suffix("Sec")
        .filter(|stem| stem.as_bytes().last().is_some_and(u8::is_ascii_lowercase))
    else {
        return Ok((name.to_owned(), value));
    };
    match microseconds(&value) {
        Some(time) => Ok((format!("{stem}USec"), Value::Uint64(time))),
        None => Err(wrong("a time in seconds is a number, 0 or more".to_owned())),
    }
}

fn microseconds(value: &Value) -> Option<u64> {
    const SECOND: u64 = 1_000_000;
    let seconds = match *value {
        Value::Byte(number) => u64::from(number),
        Value::Int16(number) => number.try_into().ok()?,
        Value::Uint16(number) => number.into(),
        Value::Int32(number) => number.try_into().ok()?,
        Value::Uint32(number) => number.into(),
        Value::Int64(number) => number.try_into().ok()?,
        Value::Uint64(number) => number,
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // as far as it goes
        Value::Double(number) if number >= 0.0 => return Some((number * 1e6) as u64),
        _ => return None,
    };
    seconds.checked_mul(SECOND)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn read(name: &str, text: &str) -> Result<Vec<(String, Value)>> {
        let annotations = [(format!("{PREFIX}{name}"), text.to_owned()), ("x".into(), "y".into())];
        properties(&annotations.into())
    }

    #[test]
    fn annotations_become_properties() {
        for (name, text, property, value) in [
            ("CollectMode", "'inactive'", "CollectMode", Value::text("inactive")),
            ("TimeoutStopUSec", "uint64 5", "TimeoutStopUSec", Value::Uint64(5)),
            ("TimeoutStopSec", "uint64 5", "TimeoutStopUSec", Value::Uint64(5_000_000)),
            ("TimeoutStopSec", "5", "TimeoutStopUSec", Value::Uint64(5_000_000)),
            ("TimeoutStopSec", "0.5", "TimeoutStopUSec", Value::Uint64(500_000)),
            ("SendSIGHUP", "true", "SendSIGHUP", Value::Bool(true)),
            ("After", "['a.service']", "After", Value::texts(["a.service".into()])),
        ] {
            let expected = vec![(property.to_owned(), value)];
            assert_eq!(read(name, text).unwrap(), expected, "{name} {text}");
        }
    }

    #[test]
    fn wrong_ones_are_refused_with_their_place() {
        for (name, text) in [
            ("CollectMode", "inactive"),
            ("", "1"),
            ("XY", "1"),
            ("a/b", "1"),
            ("A1b", "1"),
            ("TimeoutStopSec", "'5s'"),
            ("TimeoutStopSec", "-5"),
            ("TimeoutStopSec", "uint64 18446744073709551615"),
        ] {
            let error = read(name, text).unwrap_err();
            assert_eq!(error.pointer(), Some(&*pointer(name)), "{name} {text}");
        }
    }
}
