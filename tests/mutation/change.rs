//! Changes of a configuration, each at one place: every one is named by the place and a word, by
//! which it can be made again.

use std::fmt;

use coracle_tests::Value;

/// What a value is replaced by, as JSON text.
const VALUES: &[(&str, &str)] = &[
    ("null", "null"),
    ("true", "true"),
    ("zero", "0"),
    ("minus-one", "-1"),
    ("fraction", "1.5"),
    ("least-i64", "-9223372036854775808"),
    ("greatest-u32", "4294967295"),
    ("over-u32", "4294967296"),
    ("over-i64", "9223372036854775808"),
    ("over-u64", "18446744073709551616"),
    ("huge", "1e400"),
    ("empty", "\"\""),
    ("nonsense", "\"nonsense\""),
    ("quoted-number", "\"1\""),
    ("dot", "\".\""),
    ("up", "\"../../../../../../etc\""),
    ("from-root", "\"/../../../../../../etc\""),
    ("root", "\"/\""),
    ("array", "[]"),
    ("array-of-null", "[null]"),
    ("array-of-nonsense", "[\"nonsense\"]"),
    ("array-of-arrays", "[[]]"),
    ("object", "{}"),
    ("object-of-null", "{\"nonsense\":null}"),
];

/// What a string is followed by.
const ENDINGS: &[(&str, &str)] =
    &[("nul-within", "\\u0000b"), ("line-within", "\\nb"), ("up-behind", "/../../../../../etc")];

/// Longer than any name and any path that the kernel takes.
const LONG: usize = 5000;

/// Stands where the text of a change goes.
const MARK: &str = "\"@@HERE@@\"";

/// A change at one place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    /// The place, a JSON pointer (RFC 6901).
    pub(crate) pointer: String,
    /// What is done there.
    pub(crate) name: &'static str,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.pointer, self.name)
    }
}

impl Change {
    /// The place with `*` for each index.
    pub(crate) fn pattern(&self) -> String {
        pattern(&self.pointer)
    }
}

/// A pointer with `*` for each index.
pub(crate) fn pattern(pointer: &str) -> String {
    let numeric = |step: &str| !step.is_empty() && step.bytes().all(|byte| byte.is_ascii_digit());
    let steps = pointer.split('/').map(|step| if numeric(step) { "*" } else { step });
    steps.collect::<Vec<_>>().join("/")
}

/// Every change of a configuration: of arrays, the first, the last and one more element are
/// changed, which `seed` chooses.
pub(crate) fn all(config: &Value, seed: u64) -> Vec<Change> {
    let mut changes = Vec::new();
    below(config, "", seed, &mut changes);
    changes
}

fn below(value: &Value, pointer: &str, seed: u64, changes: &mut Vec<Change>) {
    let mut add = |name| changes.push(Change { pointer: pointer.to_owned(), name });
    for (name, _) in VALUES {
        add(name);
    }
    if value.is_string() {
        for (name, _) in ENDINGS {
            add(name);
        }
        add("long");
    }
    if !pointer.is_empty() {
        add("removed");
        add("doubled");
    }
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                let key = key.replace('~', "~0").replace('/', "~1");
                below(value, &format!("{pointer}/{key}"), seed, changes);
            }
        }
        Value::Array(items) => {
            let last = items.len().saturating_sub(1);
            let chosen = usize::try_from(seed).unwrap() % items.len().max(1);
            let mut indices = vec![0, chosen, last];
            indices.sort_unstable();
            indices.dedup();
            for index in indices.into_iter().filter(|index| *index < items.len()) {
                below(&items[index], &format!("{pointer}/{index}"), seed, changes);
            }
        }
        _ => {}
    }
}

/// The configuration with the change, as text.
pub(crate) fn apply(config: &Value, change: &Change) -> String {
    let Some((parent, key)) = change.pointer.rsplit_once('/') else {
        return replacement(change.name, config).expect("the whole is only replaced");
    };
    let key = key.replace("~1", "/").replace("~0", "~");
    let mut changed = config.clone();
    let parent = changed.pointer_mut(parent).expect("a place of the file");
    let at = match parent {
        Value::Object(fields) => &mut fields[&key],
        Value::Array(items) => &mut items[key.parse::<usize>().unwrap()],
        other => panic!("{other} has no parts"),
    };
    let original = std::mem::replace(at, MARK.trim_matches('"').into());
    let text = match change.name {
        "removed" => {
            match parent {
                Value::Object(fields) => drop(fields.shift_remove(&key)),
                Value::Array(items) => drop(items.remove(key.parse().unwrap())),
                _ => {}
            }
            return changed.to_string();
        }
        "doubled" if parent.is_object() => {
            format!("{original},{}:{original}", Value::from(key.as_str()))
        }
        "doubled" => format!("{original},{original}"),
        name => replacement(name, &original).unwrap_or_else(|| panic!("no such change: {name}")),
    };
    changed.to_string().replacen(MARK, &text, 1)
}

/// The text that stands for `original` after a change.
fn replacement(name: &str, original: &Value) -> Option<String> {
    if let Some((_, text)) = VALUES.iter().find(|(known, _)| *known == name) {
        return Some((*text).to_owned());
    }
    let quoted = original.to_string();
    let within = quoted.strip_suffix('"')?;
    if name == "long" {
        return Some(format!("{within}{}\"", "x".repeat(LONG)));
    }
    let (_, ending) = ENDINGS.iter().find(|(known, _)| *known == name)?;
    Some(format!("{within}{ending}\""))
}
