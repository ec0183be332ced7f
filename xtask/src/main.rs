//! The project's chores, each a subcommand of `cargo xtask`.

mod test;

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let chore = args.next().unwrap_or_default();
    let args: Vec<String> = args.collect();
    match chore.as_str() {
        "test" => test::main(&args),
        _ => test::usage(),
    }
}
