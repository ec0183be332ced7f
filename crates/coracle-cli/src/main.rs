//! coracle: an OCI container runtime for Linux that takes runc's place.
//!
//! This file is the whole story of a call: who we are called as, what is asked, who does it, and
//! how it is told when it failed.

#[cfg(not(any(target_feature = "crt-static", feature = "dynamic")))]
compile_error!(
    "coracle must be a static binary: a dynamic loader could be replaced by a container. Build it \
     in its own directory with plain `cargo build`, which sets `-C target-feature=+crt-static` \
     (RUSTFLAGS in the environment and `cargo install --git` lose it), or ask for the feature \
     `dynamic` if you trust every container"
);

use coracle_entry as _;

mod args;
mod commands;
mod globals;
mod greeting;
mod log;
mod spelling;

use std::process::ExitCode;

use args::Usage;
use globals::{Globals, Name};

fn main() -> ExitCode {
    let mut words = std::env::args_os();
    let name = Name::from_path(words.next());
    if name == Name::Greeting {
        return greeting::greet();
    }
    let matches = match args::parse(name, words.collect()) {
        Ok(matches) => matches,
        Err(Usage { text, code, to_stdout }) => {
            log::say(&text, to_stdout);
            return ExitCode::from(code);
        }
    };
    let Some((command, options)) = matches.subcommand() else {
        return ExitCode::from(1);
    };
    let mut log = log::Log::from_options(&matches);
    let outcome = Globals::from_options(name, &matches, &mut log)
        .and_then(|globals| commands::run(command, options, &globals, &mut log));
    match outcome {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            log.failed(&error);
            // An engine tells a failure of exec from the program's own code by this number.
            ExitCode::from(if command == "exec" { 255 } else { 1 })
        }
    }
}
