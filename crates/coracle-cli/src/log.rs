//! What is told to whom: errors to people on standard error, the same in one line to an engine's
//! log (cli.md, "Log").

use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use clap::ArgMatches;
use coracle::error::Context;
use coracle::{Error, Result};

/// Where log lines go, and in which form.
pub(crate) struct Log {
    target: Option<Target>,
    json: bool,
    level: Level,
}

/// What is logged: all up to this.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Level {
    Error,
    Warning,
    Debug,
}

impl Level {
    fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Debug => "debug",
        }
    }

    /// As syslog(3) numbers them.
    fn priority(self) -> u8 {
        match self {
            Self::Error => 3,
            Self::Warning => 4,
            Self::Debug => 7,
        }
    }
}

/// Where log lines go.
enum Target {
    File(File),
    /// The system's journal, in its own protocol, under this name.
    Journal(UnixDatagram, String),
    /// The system's log, under this name.
    Syslog(UnixDatagram, String),
    /// Standard error: a form of lines was asked for, and no other place.
    Stderr,
}

impl Target {
    /// Opens `PATH`, `file:PATH`, `journald:NAME` or `syslog:NAME`.
    fn open(target: &Path) -> std::io::Result<Self> {
        let name = |kind: &str| target.to_str().and_then(|text| text.strip_prefix(kind));
        let connect = |path: &str| {
            let socket = UnixDatagram::unbound()?;
            socket.connect(path).map(|()| socket)
        };
        if let Some(name) = name("journald:") {
            return Ok(Self::Journal(connect("/run/systemd/journal/socket")?, name.to_owned()));
        }
        if let Some(name) = name("syslog:") {
            return Ok(Self::Syslog(connect("/dev/log")?, name.to_owned()));
        }
        let path = name("file:").map_or(target, Path::new);
        OpenOptions::new().append(true).create(true).open(path).map(Self::File)
    }
}

/// A message for the journal (systemd's "Native Journal Protocol"): a field with a line break in it
/// is told with its length.
fn entry(name: &str, priority: u8, message: &str) -> Vec<u8> {
    let id = std::process::id();
    let mut text = format!(
        "PRIORITY={priority}\nSYSLOG_IDENTIFIER={name}\nSYSLOG_PID={id}\nID={name}\nMESSAGE"
    )
    .into_bytes();
    if message.contains('\n') {
        text.push(b'\n');
        text.extend((message.len() as u64).to_le_bytes());
    } else {
        text.push(b'=');
    }
    text.extend(message.as_bytes());
    text.push(b'\n');
    text
}

impl Log {
    /// From `--log`, `--log-format`, `--log-level` and `--debug`.
    pub(crate) fn from_options(matches: &ArgMatches) -> Self {
        let format = matches.get_one::<String>("log-format");
        let json = format.is_some_and(|format| format == "json");
        let level = match matches.get_one::<String>("log-level").map(String::as_str) {
            _ if matches.get_one::<bool>("debug").copied().unwrap_or(false) => Level::Debug,
            Some("debug") => Level::Debug,
            Some("error") => Level::Error,
            _ => Level::Warning,
        };
        let mut log = Self { target: format.map(|_| Target::Stderr), json, level };
        if let Some(path) = matches.get_one::<PathBuf>("log").filter(|p| !p.as_os_str().is_empty())
        {
            match Target::open(path) {
                Ok(target) => log.target = Some(target),
                Err(error) => {
                    log.target = None;
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

    /// A command failed: told at length on standard error, and in one line in the log. `during`
    /// is what comes before it in both.
    pub(crate) fn failed(&mut self, during: &str, error: &Error) {
        let mut text = format!("error: {during}{}\n", error.summary());
        if let Some(place) = error.place() {
            let _ = writeln!(text, "  {place}");
        }
        if let Some(help) = error.advice() {
            let _ = writeln!(text, "  help: {help}");
        }
        if !matches!(self.target, Some(Target::Stderr)) {
            say(&printable(&text), false);
        }
        self.line(Level::Error, &format!("{during}{error}"));
    }

    /// Something is not as it should be, and the command goes on. With a log, only that has it:
    /// engines read standard error as a sign of failure.
    pub(crate) fn warn(&mut self, message: &str) {
        if self.level < Level::Warning {
            return;
        }
        if self.target.is_none() {
            say(&printable(&format!("warning: {message}\n")), false);
        }
        self.line(Level::Warning, message);
    }

    /// Something that only whoever looks for a fault wants to know.
    pub(crate) fn debug(&mut self, message: &str) {
        if self.level == Level::Debug {
            if self.target.is_none() {
                say(&format!("debug: {message}\n"), false);
            }
            self.line(Level::Debug, message);
        }
    }

    fn line(&mut self, level: Level, message: &str) {
        // Whatever becomes of it must not hide the error that is being told.
        let mut stderr = std::io::stderr();
        let file: &mut dyn std::io::Write = match &mut self.target {
            None => return,
            Some(Target::File(file)) => file,
            Some(Target::Stderr) => &mut stderr,
            Some(Target::Journal(socket, name)) => {
                let _ = socket.send(&entry(name, level.priority(), message));
                return;
            }
            Some(Target::Syslog(socket, name)) => {
                /// `LOG_USER` of syslog(3).
                const USER: u8 = 1 << 3;
                let (number, id) = (USER | level.priority(), std::process::id());
                let line = format!("<{number}>{name}[{id}]: {}", message.replace('\n', " "));
                let _ = socket.send(line.as_bytes());
                return;
            }
        };
        let level = level.name();
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
        // One write, so that lines of several runtimes do not mix.
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
