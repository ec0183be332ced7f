//! The project's chores, each a subcommand of `cargo xtask`.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "its reader is a person")]

mod bench;
mod test;

use std::error::Error;
use std::process::ExitCode;

/// What a measurement returns, or why it could not be taken.
type Outcome<T> = Result<T, Box<dyn Error>>;

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let chore = args.next().unwrap_or_default();
    let args: Vec<String> = args.collect();
    match chore.as_str() {
        "test" => test::main(&args),
        "bench" => bench::run(&args).unwrap_or_else(|error| {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }),
        _ => {
            eprintln!("usage: cargo xtask test | bench");
            ExitCode::from(2)
        }
    }
}
