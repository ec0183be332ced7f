//! The project's chores, each a subcommand of `cargo xtask`.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "its reader is a person")]

mod bench;
mod criu;
mod dist;
mod packages;
mod recipe;
mod test;
mod validation;
mod vm;

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
        "bench" => tell(bench::run(&args)),
        "dist" => dist::main(&args),
        "vm" => tell(vm::run(&args)),
        _ => {
            eprintln!("usage: cargo xtask test | bench | vm | dist");
            ExitCode::from(2)
        }
    }
}

fn tell(outcome: Outcome<ExitCode>) -> ExitCode {
    outcome.unwrap_or_else(|error| {
        eprintln!("error: {error}");
        ExitCode::FAILURE
    })
}
