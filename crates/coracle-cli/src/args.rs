//! What can be typed: every command and option, declared once. Help, and later man pages and
//! completions, come from here.
//!
//! A command's options are built only when it is the one that was asked for (`defer`), which is
//! most of what parsing costs.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};

use crate::globals::Name;
use crate::spelling;

/// A call that is not carried out: text to print, and the exit code.
pub(crate) struct Usage {
    /// What to print.
    pub(crate) text: String,
    /// The exit code.
    pub(crate) code: u8,
    /// Help and version go to standard output, all else to standard error.
    pub(crate) to_stdout: bool,
}

/// Every long option, for those who spell it with one dash.
const LONG: &[&str] = &[
    "additional-gids",
    "apparmor",
    "bundle",
    "cap",
    "cgroup",
    "cgroup-manager",
    "console-socket",
    "cwd",
    "debug",
    "detach",
    "env",
    "force",
    "format",
    "help",
    "ignore-paused",
    "keep",
    "log",
    "log-format",
    "log-level",
    "no-new-keyring",
    "no-new-privs",
    "no-pivot",
    "no-subreaper",
    "pid-file",
    "pidfd-socket",
    "preserve-fds",
    "process",
    "process-label",
    "quiet",
    "root",
    "rootless",
    "systemd-cgroup",
    "tty",
    "user",
    "version",
    "all",
];

/// Parses the words behind the command's name.
pub(crate) fn parse(name: Name, words: Vec<OsString>) -> Result<ArgMatches, Usage> {
    let words = spelling::normalize(words, |word| LONG.contains(&word));
    let command = command(name);
    let words = std::iter::once(OsString::from(name.text())).chain(words);
    command.try_get_matches_from(words).map_err(|error| {
        let code = match (error.kind(), name) {
            (ErrorKind::DisplayHelp | ErrorKind::DisplayVersion, _) => 0,
            (ErrorKind::InvalidSubcommand, Name::Coracle | Name::Runc) => 3,
            (_, Name::Crun) => 64,
            _ => 1,
        };
        Usage { text: error.to_string(), code, to_stdout: code == 0 }
    })
}

/// An option with a value.
fn option(long: &'static str, value: &'static str, help: &'static str) -> Arg {
    Arg::new(long).long(long).value_name(value).help(help)
}

/// An option whose value is a path.
fn path(long: &'static str, value: &'static str, help: &'static str) -> Arg {
    option(long, value, help).value_parser(value_parser!(PathBuf))
}

/// An option without a value; Go's `--option=true` and `--option=false` are taken too.
fn flag(long: &'static str, help: &'static str) -> Arg {
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

fn id() -> Arg {
    Arg::new("id").value_name("ID").required(true).help("The container's ID")
}

/// The whole command line.
pub(crate) fn command(name: Name) -> Command {
    Command::new(name.text())
        .about("An OCI container runtime")
        .version(concat!("version ", env!("CARGO_PKG_VERSION"), "\nspec: 1.3.0"))
        .help_template("{about}\n\n{usage-heading} {usage}\n\n{all-args}\n")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .disable_help_subcommand(true)
        .disable_version_flag(true)
        .arg(
            Arg::new("version")
                .long("version")
                .short(if name == Name::Crun { 'V' } else { 'v' })
                .action(ArgAction::Version)
                .help("Print the version"),
        )
        .infer_long_args(name == Name::Crun)
        .arg(flag("debug", "Log what helps to find a fault"))
        .arg(path("log", "FILE", "Append log lines to a file"))
        .arg(
            option("log-format", "FORMAT", "The form of log lines: text or json")
                .value_parser(["text", "json"]),
        )
        .arg(option("log-level", "LEVEL", "What is logged: error, warning or debug").hide(true))
        .arg(path("root", "DIR", "Where the state of containers is kept"))
        .arg(flag("systemd-cgroup", "Have systemd make the cgroups"))
        .arg(option("cgroup-manager", "MANAGER", "cgroupfs, systemd or disabled").hide(true))
        .arg(option("rootless", "BOOL", "Ignored: an ordinary user is recognised"))
        .subcommands(commands())
}

fn commands() -> [Command; 11] {
    [
        Command::new("create").about("Make a container").defer(create),
        Command::new("delete")
            .about("Remove a container")
            .defer(|c| c.arg(id()).arg(flag("force", "Kill it first if it runs").short('f'))),
        Command::new("exec").about("Run one more program in a container").defer(exec),
        Command::new("hello").about("Make and run a first container, and show each step"),
        Command::new("kill").about("Send a signal to a container").defer(|c| {
            c.arg(id())
                .arg(
                    Arg::new("signal")
                        .value_name("SIGNAL")
                        .default_value("TERM")
                        .help("Name or number"),
                )
                .arg(flag("all", "Send it to all processes of the container").short('a'))
        }),
        Command::new("list").about("List containers").visible_alias("ls").defer(|c| {
            c.arg(option("format", "FORMAT", "table or json").short('f').default_value("table"))
                .arg(flag("quiet", "Print IDs only").short('q'))
        }),
        Command::new("plan").about("Print what would be done for a bundle, and why").defer(|c| {
            c.arg(bundle())
                .arg(flag("no-pivot", "Plan for create --no-pivot"))
                .arg(flag("no-new-keyring", "Plan for create --no-new-keyring"))
        }),
        Command::new("run").about("Make and start a container").defer(|c| {
            create(c)
                .arg(flag("detach", "Do not wait for its end").short('d'))
                .arg(flag("keep", "Do not remove it at its end"))
                .arg(flag("no-subreaper", "Do not adopt the container's orphans"))
        }),
        Command::new("spec")
            .about("Write a config.json to begin with")
            .defer(|c| c.arg(bundle()).arg(flag("rootless", "For an ordinary user"))),
        Command::new("start").about("Start a created container").defer(|c| c.arg(id())),
        Command::new("state").about("Print the state of a container").defer(|c| c.arg(id())),
    ]
}

fn bundle() -> Arg {
    path("bundle", "DIR", "The bundle's directory; else the working directory").short('b')
}

fn create(command: Command) -> Command {
    command
        .arg(id())
        .arg(bundle())
        .arg(path("console-socket", "SOCKET", "Send the terminal there"))
        .arg(path("pidfd-socket", "SOCKET", "Send a descriptor of the process there"))
        .arg(path("pid-file", "FILE", "Write the process's id there"))
        .arg(flag("no-pivot", "Enter the root by chroot; for a root in a ramfs"))
        .arg(flag("no-new-keyring", "Keep the caller's session keyring"))
        .arg(
            option("preserve-fds", "N", "Pass N more descriptors, from 3 on")
                .value_parser(value_parser!(u32).range(0..=1 << 20)),
        )
}

fn exec(command: Command) -> Command {
    command
        .arg(id())
        .arg(
            Arg::new("command")
                .value_name("COMMAND")
                .num_args(0..)
                .trailing_var_arg(true)
                .allow_hyphen_values(true)
                .help("The program and its arguments"),
        )
        .arg(path("console-socket", "SOCKET", "Send the terminal there"))
        .arg(path("pidfd-socket", "SOCKET", "Send a descriptor of the process there"))
        .arg(path("pid-file", "FILE", "Write the process's id there"))
        .arg(option("cwd", "DIR", "The working directory"))
        .arg(option("env", "NAME=VALUE", "Set a variable").short('e').action(ArgAction::Append))
        .arg(flag("tty", "Give it a terminal").short('t'))
        .arg(option("user", "UID[:GID]", "Whom it runs as").short('u'))
        .arg(
            option("additional-gids", "GID", "Another group")
                .short('g')
                .action(ArgAction::Append)
                .value_parser(value_parser!(u32)),
        )
        .arg(path("process", "FILE", "Take it all from a process object in JSON").short('p'))
        .arg(flag("detach", "Do not wait for its end").short('d'))
        .arg(flag("no-new-privs", "Forbid gaining privileges"))
        .arg(option("cap", "CAP", "Add a capability").short('c').action(ArgAction::Append))
        .arg(
            option("preserve-fds", "N", "Pass N more descriptors, from 3 on")
                .value_parser(value_parser!(u32).range(0..=1 << 20)),
        )
        .arg(flag("ignore-paused", "Also in a paused container"))
        .arg(flag("no-subreaper", "Do not adopt orphans").hide(true))
}
