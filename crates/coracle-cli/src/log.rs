//! What is told to whom: errors to people on standard error, the same in one line to an engine's
//! log (cli.md, "Log").

use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::path::PathBuf;
use std::time::SystemTime;

use clap::ArgMatches;
use coracle::error::Context;
use coracle::{Error, Result};

/// Where log lines go, and in which form.
pub(crate) struct Log {
    file: Option<File>,
    json: bool,
    debug: bool,
}

impl Log {
    /// From `--log`, `--log-format`, `--log-level` and `--debug`.
    pub(crate) fn from_options(matches: &ArgMatches) -> Self {
        let json = matches.get_one::<String>("log-format").is_some_and(|format| format == "json");
        let level = matches.get_one::<String>("log-level").is_some_and(|level| level == "debug");
        let debug = matches.get_one::<bool>("debug").copied().unwrap_or(false) || level;
        let mut log = Self { file: None, json, debug };
        if let Some(path) = matches.get_one::<PathBuf>("log").filter(|p| !p.as_os_str().is_empty())
        {
            let path = path.strip_prefix("file:").unwrap_or(path);
            match OpenOptions::new().append(true).create(true).open(path) {
                Ok(file) => log.file = Some(file),
                Err(error) => {
                    // The call itself may still succeed; an engine without its log is told here.
                    say(
                        &format!("warning: cannot write the log {}: {error}\n", path.display()),
                        false,
                    );
                }
            }
        }
        log
    }

    /// A command failed: told at length on standard error, and in one line in the log.
    pub(crate) fn failed(&mut self, error: &Error) {
        let mut text = format!("error: {}\n", error.summary());
        if let Some(place) = error.place() {
            let _ = writeln!(text, "  {place}");
        }
        if let Some(help) = error.advice() {
            let _ = writeln!(text, "  help: {help}");
        }
        say(&printable(&text), false);
        self.line("error", &error.to_string());
    }

    /// Something is not as it should be, and the command goes on. With a log, only that has it:
    /// engines read standard error as a sign of failure.
    pub(crate) fn warn(&mut self, message: &str) {
        if self.file.is_none() {
            say(&printable(&format!("warning: {message}\n")), false);
        }
        self.line("warning", message);
    }

    /// Something that only whoever looks for a fault wants to know.
    pub(crate) fn debug(&mut self, message: &str) {
        if self.debug {
            if self.file.is_none() {
                say(&format!("debug: {message}\n"), false);
            }
            self.line("debug", message);
        }
    }

    fn line(&mut self, level: &str, message: &str) {
        let Some(file) = &mut self.file else { return };
        let time = humantime::format_rfc3339_seconds(SystemTime::now());
        let line = if self.json {
            let fields = serde_json::json!({
                "level": level,
                "msg": message,
                "time": time.to_string(),
            });
            format!("{fields}\n")
        } else {
            format!("time=\"{time}\" level={level} msg={message:?}\n")
        };
        // One write, so that lines of several runtimes do not mix. A full disk must not hide the
        // error that is being told.
        let _ = file.write_all(line.as_bytes());
    }
}

/// Text for a terminal: what a container said may be in it, and must not move the cursor.
fn printable(text: &str) -> String {
    let harmless = |letter: char| !letter.is_control() || matches!(letter, '\n' | '\t');
    text.chars().map(|letter| if harmless(letter) { letter } else { '\u{fffd}' }).collect()
}

/// Prints what a command was asked for. A reader that went away has read enough.
pub(crate) fn answer(text: &str) -> Result<()> {
    let mut out = std::io::stdout();
    // Flushed, or what is left of the last line fails when nobody looks any more.
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        result => result.what(|| "writing to standard output"),
    }
}

/// Prints text as it is, as far as anybody listens.
pub(crate) fn say(text: &str, to_stdout: bool) {
    let _ = if to_stdout {
        std::io::stdout().write_all(text.as_bytes())
    } else {
        std::io::stderr().write_all(text.as_bytes())
    };
}
