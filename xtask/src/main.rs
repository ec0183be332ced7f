//! The project's own tasks: `cargo xtask bench`.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "its reader is a person")]

mod bench;

use std::error::Error;
use std::process::ExitCode;

/// What a task returns: whether it found what it looked for, or why it could not look.
type Outcome<T> = Result<T, Box<dyn Error>>;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let outcome = match arguments.next().as_deref() {
        Some("bench") => bench::run(&arguments.collect::<Vec<_>>()),
        _ => Err("the tasks are: bench".into()),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("error: {error}");
        ExitCode::FAILURE
    })
}
