//! coracle: an OCI container runtime for Linux that takes runc's place.
//!
//! This file is the whole story of a call: who we are called as, what is asked, who does it, and
//! how it is told when it failed.
#![cfg_attr(not(test), no_main)]

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
#[cfg(feature = "documents")]
mod documents;
mod globals;
mod greeting;
mod log;
mod openmetrics;
mod spelling;
#[cfg(not(test))]
mod start;

use args::Usage;
use globals::{Globals, Name};

/// What the C library's `main` calls; the exit code.
#[cfg_attr(test, expect(dead_code, reason = "tests have a main of their own"))]
fn run() -> i32 {
    i32::from(call())
}

fn call() -> u8 {
    let mut words = std::env::args_os();
    let name = Name::from_path(words.next());
    if name == Name::Greeting {
        return greeting::greet();
    }
    #[cfg(feature = "documents")]
    if let (Some(word), Some(directory)) = (std::env::args_os().nth(1), std::env::args_os().nth(2))
        && word == "documents"
    {
        return u8::from(documents::write(&directory).is_err());
    }
    let matches = match args::parse(name, words.collect()) {
        Ok(matches) => matches,
        Err(Usage { text, code, to_stdout }) => {
            log::say(&text, to_stdout);
            return code;
        }
    };
    let Some((command, options)) = matches.subcommand() else { return 1 };
    let mut log = log::Log::from_options(&matches);
    log.debug(&format!("{}: {command} begins", args::described()));
    let outcome = Globals::from_options(name, &matches, &mut log)
        .and_then(|globals| commands::run(command, options, &globals, &mut log));
    match outcome {
        Ok(code) => code,
        Err(error) => {
            // An engine tells a failure of exec from the program's own code by this number.
            let (during, code) = if command == "exec" { ("exec failed: ", 255) } else { ("", 1) };
            log.failed(during, &error);
            code
        }
    }
}
