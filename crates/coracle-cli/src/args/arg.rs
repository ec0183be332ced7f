//! One argument of a command line: the kinds there are, and those that several commands have.

use std::path::PathBuf;

use clap::{Arg, ArgAction, value_parser};

/// An option with a value.
pub(super) fn option(long: &'static str, value: &'static str, help: &'static str) -> Arg {
    Arg::new(long).long(long).value_name(value).help(help)
}

/// An option whose value is a path.
pub(super) fn path(long: &'static str, value: &'static str, help: &'static str) -> Arg {
    option(long, value, help).value_parser(value_parser!(PathBuf))
}

/// An option without a value; Go's `--option=true` and `--option=false` are taken too.
pub(super) fn flag(long: &'static str, help: &'static str) -> Arg {
    Arg::new(long)
        .long(long)
        .num_args(0..=1)
        .require_equals(true)
        .default_missing_value("true")
        .value_parser(value_parser!(bool))
        .hide_possible_values(true)
        .value_name("BOOL")
        .action(ArgAction::Set)
        .help(help)
}

pub(super) fn id() -> Arg {
    Arg::new("id").value_name("ID").required(true).help("The container's ID")
}

pub(super) fn bundle() -> Arg {
    path("bundle", "DIR", "The bundle's directory; else the working directory").short('b')
}
