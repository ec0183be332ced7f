//! config.json: reading, checking, writing.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod check;
mod examples;
mod features;
mod load;
mod mutate;
mod parse;
mod schema;
mod template;

use coracle::Error;
use coracle::config::Spec;

/// A config.json with every field that the specification has, as a Go program would write it.
const FULL: &str = include_str!("../golden/full.json");

/// The configuration of [`FULL`].
fn full() -> Spec {
    Spec::parse(FULL.as_bytes()).unwrap()
}

/// The lines of a golden file of errors that are inputs: each is followed by what is said about
/// it, indented, and an empty line.
fn inputs(golden: &str) -> impl Iterator<Item = &str> {
    golden.lines().filter(|line| !line.is_empty() && !line.starts_with("  "))
}

/// An input and what is said about it, as golden files have it.
fn told(input: &str, error: &Error) -> String {
    let mut text = format!("{input}\n  {}\n", error.summary());
    for line in [error.place(), error.advice().map(|help| format!("help: {help}"))] {
        text.extend(line.map(|line| format!("  {line}\n")));
    }
    text
}
