//! The specification's JSON schema, and a checker for the part of draft 4 that it uses. A keyword
//! that it does not know fails the test, and so does a property that the schema does not name:
//! the schema itself would let a misspelt one pass.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde_json::Value;

/// The schema's files by name.
pub(crate) struct Schema(BTreeMap<String, Value>);

/// The runtime specification, beside the checkout or above it. Where it is absent, says so: a test
/// that needs it ends.
#[allow(clippy::print_stdout)]
pub(crate) fn specification() -> Option<PathBuf> {
    let found = Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .map(|directory| directory.join("shared/reference/runtime-spec"))
        .find(|path| path.is_dir());
    if found.is_none() {
        println!("skipped: the runtime specification is not beside the checkout");
    }
    found
}

impl Schema {
    /// Reads the schema's files.
    pub(crate) fn read(specification: &Path) -> Self {
        let files = std::fs::read_dir(specification.join("schema")).unwrap();
        let files = files.map(|entry| entry.unwrap().path());
        let files = files.filter(|path| path.extension().is_some_and(|ext| ext == "json"));
        Self(
            files
                .map(|path| {
                    let name = path.file_name().unwrap().to_str().unwrap().to_owned();
                    (name, serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap())
                })
                .collect(),
        )
    }

    /// What the schema has against a config.json.
    pub(crate) fn faults(&self, config: &Value) -> Vec<String> {
        self.faults_of("config", config)
    }

    /// What the schema of a kind has against a value: `config`, `features` or `state`.
    pub(crate) fn faults_of(&self, kind: &str, value: &Value) -> Vec<String> {
        let (name, mut faults) = (format!("{kind}-schema.json"), Vec::new());
        self.check(&name, &self.0[&name], value, "", &mut faults);
        faults
    }

    /// The pointers of all properties that the schema of config.json names.
    pub(crate) fn properties(&self) -> BTreeSet<String> {
        self.properties_of("config")
    }

    /// The pointers of all properties that the schema of a kind names, `*` standing for any
    /// element or key.
    pub(crate) fn properties_of(&self, kind: &str) -> BTreeSet<String> {
        let (name, mut all) = (format!("{kind}-schema.json"), BTreeSet::new());
        self.collect(&name, &self.0[&name], "", &mut all);
        all
    }

    fn collect(&self, file: &str, schema: &Value, at: &str, all: &mut BTreeSet<String>) {
        if let Some((file, schema)) = self.target(file, schema) {
            self.collect(file, schema, at, all);
        }
        for part in ["allOf", "anyOf"].iter().filter_map(|key| schema[key].as_array()).flatten() {
            self.collect(file, part, at, all);
        }
        for (name, schema) in schema["properties"].as_object().into_iter().flatten() {
            let at = format!("{at}/{name}");
            self.collect(file, schema, &at, all);
            all.insert(at);
        }
        for below in ["items", "additionalProperties"].iter().filter_map(|key| schema.get(key)) {
            self.collect(file, below, &format!("{at}/*"), all);
        }
    }

    fn check(&self, file: &str, schema: &Value, value: &Value, at: &str, faults: &mut Vec<String>) {
        if let Some((file, schema)) = self.target(file, schema) {
            self.check(file, schema, value, at, faults);
        }
        let mut fault = |text: String| faults.push(format!("{at}: {text}: {value}"));
        for (keyword, rule) in schema.as_object().unwrap() {
            let good = match keyword.as_str() {
                "type" => match rule.as_str().unwrap() {
                    "object" => value.is_object(),
                    "array" => value.is_array(),
                    "string" => value.is_string(),
                    "boolean" => value.is_boolean(),
                    "integer" => value.is_i64() || value.is_u64(),
                    other => panic!("unknown type {other}"),
                },
                "enum" => rule.as_array().unwrap().contains(value),
                "pattern" => {
                    value.as_str().is_none_or(|text| matches(rule.as_str().unwrap(), text))
                }
                "minimum" => number(value).is_none_or(|n| n >= number(rule).unwrap()),
                "maximum" => number(value).is_none_or(|n| n <= number(rule).unwrap()),
                "minItems" => {
                    let least = rule.as_u64().unwrap();
                    value.as_array().is_none_or(|list| list.len() as u64 >= least)
                }
                "required" => rule.as_array().unwrap().iter().all(|name| {
                    value
                        .as_object()
                        .is_none_or(|object| object.contains_key(name.as_str().unwrap()))
                }),
                "$ref"
                | "$schema"
                | "description"
                | "definitions"
                | "properties"
                | "items"
                | "allOf"
                | "anyOf"
                | "additionalProperties"
                | "patternProperties" => true,
                other => panic!("unknown keyword {other}"),
            };
            if !good {
                fault(format!("against {keyword} {rule}"));
            }
        }
        // The one anyOf has a single alternative.
        for part in ["allOf", "anyOf"].iter().filter_map(|key| schema[key].as_array()).flatten() {
            self.check(file, part, value, at, faults);
        }
        if let (Some(list), Some(rule)) = (value.as_array(), schema.get("items")) {
            for (i, value) in list.iter().enumerate() {
                self.check(file, rule, value, &format!("{at}/{i}"), faults);
            }
        }
        let Some(object) = value.as_object() else { return };
        for (name, value) in object {
            let at = format!("{at}/{name}");
            // The one pattern is that of any key.
            let pattern = schema["patternProperties"].get(".{1,}");
            let rule = schema["properties"].get(name).or(schema.get("additionalProperties"));
            if let Some(rule) = rule.or(pattern) {
                self.check(file, rule, value, &at, faults);
            }
        }
    }

    /// The properties of a config.json that the schema does not name.
    pub(crate) fn unknown(&self, config: &Value) -> Vec<String> {
        let known = self.properties();
        // What these hold is free.
        let free = ["/annotations", "/linux/sysctl", "/linux/resources/unified"];
        let mut found = BTreeSet::new();
        pointers(config, "", &mut found);
        found
            .into_iter()
            .filter(|at| !known.contains(at) && !free.iter().any(|free| at.starts_with(free)))
            .filter(|at| !at.ends_with("/*"))
            .collect()
    }

    /// Follows a reference.
    fn target<'a>(&'a self, file: &'a str, schema: &Value) -> Option<(&'a str, &'a Value)> {
        let (target, pointer) = schema.get("$ref")?.as_str().unwrap().split_once('#').unwrap();
        let target = if target.is_empty() { file } else { target };
        let (name, root) = self.0.get_key_value(target).unwrap();
        Some((name, root.pointer(pointer).unwrap()))
    }
}

/// The pointers of everything in a value, `*` standing for elements, and for the keys of the
/// objects whose keys are names.
pub(crate) fn pointers(value: &Value, at: &str, all: &mut BTreeSet<String>) {
    let maps = ["/linux/netDevices", "/linux/resources/rdma"];
    match value {
        Value::Object(object) => {
            for (name, value) in object {
                let at =
                    if maps.contains(&at) { format!("{at}/*") } else { format!("{at}/{name}") };
                pointers(value, &at, all);
                all.insert(at);
            }
        }
        Value::Array(list) => {
            for value in list {
                let at = format!("{at}/*");
                pointers(value, &at, all);
                all.insert(at);
            }
        }
        _ => {}
    }
}

fn number(value: &Value) -> Option<i128> {
    value.as_i64().map(i128::from).or(value.as_u64().map(i128::from))
}

/// The patterns that the schema has.
fn matches(pattern: &str, text: &str) -> bool {
    match pattern {
        "^RLIMIT_[A-Z]+$" => text
            .strip_prefix("RLIMIT_")
            .is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_uppercase())),
        "^CAP_[A-Z_]+$" => text
            .strip_prefix("CAP_")
            .is_some_and(|rest| rest.bytes().all(|b| b.is_ascii_uppercase() || b == b'_')),
        "^[cbup]$" => ["c", "b", "u", "p"].contains(&text),
        "^[1-9][0-9]*[KMG]B$" => {
            let digits = ["KB", "MB", "GB"].iter().find_map(|unit| text.strip_suffix(unit));
            digits.is_some_and(|digits| {
                !digits.is_empty()
                    && !digits.starts_with('0')
                    && digits.bytes().all(|b| b.is_ascii_digit())
            })
        }
        "^[0-9, -]*$" => text.bytes().all(|b| b.is_ascii_digit() || b", -".contains(&b)),
        "^MB:[^\\n]*$" => text.starts_with("MB:") && !text.contains('\n'),
        other => panic!("unknown pattern {other}"),
    }
}
