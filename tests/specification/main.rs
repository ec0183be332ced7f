//! The runtime specification 1.3: what the table in docs/specification-1.3.md says is complete and
//! has its tests, and no field of config.json is ignored in silence.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod ignored;
mod limits;
mod sentences;
mod table;

/// The fields that the specification's schemas name, a line each: the schema and the field's
/// JSON pointer, `*` standing for any element or key.
const FIELDS: &str = include_str!("../data/fields.txt");

/// The fields of one schema: `config`, `features` or `state`.
fn fields(schema: &str) -> impl Iterator<Item = &'static str> {
    FIELDS.lines().filter_map(move |line| line.strip_prefix(schema)?.strip_prefix(' '))
}
