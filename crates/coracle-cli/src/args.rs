//! What can be typed: every command and option, declared once. Help, and later man pages and
//! completions, come from here.
//!
//! A command is built only when its name is among the words, and its options only when it is the one
//! that was asked for (`defer`): that is most of what parsing costs.

mod arg;
mod criu;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};

use self::arg::{bundle, flag, id, option, path};
use self::criu::{checkpoint, restore};
use crate::globals::{self, Name};
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
    "all",
    "apparmor",
    "auto-dedup",
    "blkio-weight",
    "bundle",
    "cap",
    "cgroup",
    "cgroup-manager",
    "config",
    "console-socket",
    "criu",
    "cpu-burst",
    "cpu-idle",
    "cpu-period",
    "cpu-quota",
    "cpu-rt-period",
    "cpu-rt-runtime",
    "cpu-share",
    "cpuset-cpus",
    "cpuset-mems",
    "cwd",
    "debug",
    "detach",
    "empty-ns",
    "env",
    "ext-unix-sk",
    "file",
    "file-locks",
    "force",
    "format",
    "help",
    "ignore-paused",
    "image-path",
    "interval",
    "keep",
    "kernel-memory",
    "kernel-memory-tcp",
    "l3-cache-schema",
    "lazy-pages",
    "leave-running",
    "link-remap",
    "log",
    "log-format",
    "log-level",
    "lsm-mount-context",
    "lsm-profile",
    "manage-cgroups-mode",
    "mem-bw-schema",
    "memory",
    "memory-reservation",
    "memory-swap",
    "network-lock",
    "no-new-keyring",
    "no-new-privs",
    "no-pivot",
    "no-subreaper",
    "page-server",
    "parent-path",
    "pid-file",
    "pidfd-socket",
    "pids-limit",
    "pre-dump",
    "preserve-fds",
    "process",
    "process-label",
    "quiet",
    "regex",
    "resources",
    "root",
    "rootless",
    "shell-job",
    "stats",
    "status-fd",
    "systemd-cgroup",
    "tcp-close",
    "tcp-established",
    "tcp-skip-in-flight",
    "tty",
    "user",
    "version",
    "work-path",
];

/// Parses the words behind the command's name.
pub(crate) fn parse(name: Name, words: Vec<OsString>) -> Result<ArgMatches, Usage> {
    let mut words = spelling::normalize(words, |word| LONG.contains(&word));
    if name != Name::Crun {
        help_as_an_option(&mut words);
    }
    let command = command(name, &words);
    let words = std::iter::once(OsString::from(name.text())).chain(words);
    command.try_get_matches_from(words).map_err(|error| {
        let code = match (error.kind(), name) {
            (ErrorKind::DisplayHelp | ErrorKind::DisplayVersion, _) => 0,
            (ErrorKind::InvalidSubcommand, Name::Coracle | Name::Runc) => 3,
            // What its parser of options finds out; the rest it finds out later.
            (ErrorKind::UnknownArgument | ErrorKind::InvalidValue, Name::Crun) => 64,
            _ => 1,
        };
        let mut text = error.to_string();
        if code == 0 {
            // That flags take a value helps those who wrote one in Go, and nobody to read.
            text = text.replace(FLAG_VALUE, &" ".repeat(FLAG_VALUE.len()));
        }
        if let Some(option) = lacks_value(&error) {
            // In the words by which engines find out which options there are.
            text = format!("flag needs an argument: {option}\n{text}");
        }
        Usage { text, code, to_stdout: code == 0 }
    })
}

/// runc's `help` and `help COMMAND`, and its help for a call of nothing, as options.
fn help_as_an_option(words: &mut Vec<OsString>) {
    let asked = words.first().is_none_or(|word| word == "help" || word == "h");
    if asked {
        words.truncate(2);
        words.drain(..words.len().min(1));
        words.push("--help".into());
    }
}

/// How help shows that a flag can have a value.
const FLAG_VALUE: &str = "[=<BOOL>]";

/// The parts of help, under runc's headings.
fn help(called: &str) -> String {
    format!("NAME:\n   {called} - {{about}}\n\nUSAGE:\n   {{usage}}\n\n{{all-args}}\n")
}

/// The option that stands at the end without the value that it takes.
fn lacks_value(error: &clap::Error) -> Option<&str> {
    match (error.get(ContextKind::InvalidArg), error.get(ContextKind::InvalidValue)) {
        (Some(ContextValue::String(option)), Some(ContextValue::String(value)))
            if error.kind() == ErrorKind::InvalidValue && value.is_empty() =>
        {
            option.split(' ').next()
        }
        _ => None,
    }
}

/// The command line, as far as these words need it.
fn command(name: Name, words: &[OsString]) -> Command {
    Command::new(name.text())
        .about("An OCI container runtime")
        .version(version(name))
        .help_template(help(name.text()))
        .subcommand_required(true)
        // As runc has it, the last one counts. podman saves with --leave-running twice.
        .args_override_self(true)
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
        .args((name == Name::Crun).then(|| {
            let help = Arg::new("question").short('?').action(ArgAction::Help);
            help.hide(true).global(true).help("Print help")
        }))
        .arg(flag("debug", "Log what helps to find a fault"))
        .arg(path("log", "TARGET", "Append log lines to a file; or journald:NAME, syslog:NAME"))
        .arg(
            option("log-format", "FORMAT", "The form of log lines: text or json")
                .value_parser(["text", "json"]),
        )
        .arg(
            option("log-level", "LEVEL", "What is logged: error, warning or debug")
                .value_parser(["error", "warning", "debug"])
                .hide_possible_values(true),
        )
        .arg(path("root", "DIR", "Where the state of containers is kept"))
        .arg(flag("systemd-cgroup", "Have systemd make the cgroups"))
        .arg(option(
            "cgroup-manager",
            "MANAGER",
            "Who makes the cgroups: cgroupfs, systemd or disabled",
        ))
        .arg(option("criu", "PATH", "Ignored: criu is looked for in PATH").hide(true))
        .arg(option("rootless", "WHEN", "Ignored: an ordinary user is recognised"))
        .subcommands(commands(name, words))
}

/// Who this is, in a word for the log.
pub(crate) fn described() -> &'static str {
    concat!("coracle ", env!("CARGO_PKG_VERSION"))
}

/// What follows the name in the answer to `--version`, in the form that engines parse (cli.md).
fn version(name: Name) -> String {
    let number = env!("CARGO_PKG_VERSION");
    let commit = option_env!("CORACLE_COMMIT").unwrap_or(concat!("v", env!("CARGO_PKG_VERSION")));
    let text = format!("version {number}\ncommit: {commit}\n");
    match name {
        Name::Crun => {
            let root = globals::usual_root(name);
            let root = root.display();
            text + &format!(
                "rundir: {root}\nspec: 1.0.0\n+SYSTEMD +SELINUX +APPARMOR +CAP +SECCOMP +EBPF"
            )
        }
        _ => text + "spec: 1.3.0",
    }
}

/// All of it: every command with its options.
#[cfg(feature = "documents")]
pub(crate) fn whole() -> Command {
    command(Name::Coracle, &[])
}

/// A command: its name, what it does, and its options.
type Entry = (&'static str, &'static str, fn(Command) -> Command);

const COMMANDS: [Entry; 20] = [
    ("checkpoint", "Save a container to files", checkpoint),
    ("create", "Make a container", create),
    ("delete", "Remove a container", |c| {
        c.arg(id()).arg(flag("force", "Kill it first if it runs").short('f')).arg(regex())
    }),
    ("events", "Tell what a container uses, and of out-of-memory kills", |c| {
        c.arg(id())
            .arg(option("interval", "TIME", "How often, such as 5s").default_value("5s"))
            .arg(flag("stats", "Tell it once, at once"))
            .arg(
                option("format", "FORMAT", "json, or with --stats openmetrics")
                    .default_value("json"),
            )
    }),
    ("exec", "Run one more program in a container", exec),
    ("features", "Print what this runtime can do", |c| c),
    ("hello", "Make and run a first container, and show each step", |c| c),
    ("kill", "Send a signal to a container", |c| {
        c.arg(id())
            .arg(
                Arg::new("signal")
                    .value_name("SIGNAL")
                    .default_value("TERM")
                    .help("Name or number"),
            )
            .arg(flag("all", "Send it to all processes of the container").short('a'))
            .arg(regex())
    }),
    ("list", "List containers", |c| {
        c.arg(option("format", "FORMAT", "table or json").short('f').default_value("table"))
            .arg(flag("quiet", "Print IDs only").short('q'))
    }),
    ("mounts", "Mount something in a running container, or take a mount away", |c| {
        c.arg(
            Arg::new("change")
                .value_name("add|remove")
                .required(true)
                .value_parser(["add", "remove"])
                .hide_possible_values(true)
                .help("What to do"),
        )
        .arg(id())
        .arg(
            Arg::new("file")
                .value_name("FILE")
                .required(true)
                .value_parser(value_parser!(PathBuf))
                .help("A JSON array of mounts, as in config.json"),
        )
    }),
    ("pause", "Stop all processes of a container", |c| c.arg(id())),
    ("plan", "Print what would be done for a bundle, and why", |c| {
        c.arg(bundle())
            .arg(flag("no-pivot", "Plan for create --no-pivot"))
            .arg(flag("no-new-keyring", "Plan for create --no-new-keyring"))
    }),
    ("ps", "Show the processes of a container", |c| {
        c.arg(id())
            .arg(
                Arg::new("options")
                    .value_name("OPTION")
                    .num_args(0..)
                    .trailing_var_arg(true)
                    .allow_hyphen_values(true)
                    .help("Options for ps(1); else -ef"),
            )
            .arg(option("format", "FORMAT", "table or json").short('f').default_value("table"))
    }),
    ("restore", "Bring a container back from files", restore),
    ("resume", "Let them go on", |c| c.arg(id())),
    ("run", "Make and start a container", |c| {
        create(c)
            .arg(flag("detach", "Do not wait for its end").short('d'))
            .arg(flag("keep", "Do not remove it at its end"))
            .mut_arg("no-subreaper", |arg| arg.hide(false))
    }),
    ("spec", "Write a config.json to begin with", |c| {
        c.arg(bundle())
            .arg(flag("rootless", "For an ordinary user"))
            .arg(path("file", "FILE", "Write it there, over what is there").short('f'))
    }),
    ("start", "Start a created container", |c| c.arg(id())),
    ("state", "Print the state of a container", |c| c.arg(id())),
    ("update", "Change the limits of a container", update),
];

/// The commands that are named among the words; where none is, all, for help and for errors.
fn commands(called: Name, words: &[OsString]) -> impl Iterator<Item = Command> {
    // The one name that is not in the table.
    let is_named =
        |name: &str| words.iter().any(|word| *word == *name || name == "list" && *word == *"ls");
    let any = COMMANDS.iter().any(|(name, ..)| is_named(name));
    COMMANDS.iter().filter(move |(name, ..)| !any || is_named(name)).map(
        move |(name, about, options)| {
            let command = Command::new(*name).about(*about).defer(*options);
            let command = command.help_template(help(&format!("{} {name}", called.text())));
            if *name == "list" { command.visible_alias("ls") } else { command }
        },
    )
}

fn regex() -> Arg {
    flag("regex", "The ID is an extended regular expression, for all that match").short('r')
}

fn create(command: Command) -> Command {
    command
        .arg(id())
        .arg(bundle())
        .arg(
            path("config", "FILE", "The configuration, in place of the bundle's config.json")
                .short('f'),
        )
        .arg(flag("no-subreaper", "Do not adopt the container's orphans").hide(true))
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

fn update(command: Command) -> Command {
    let number = |long, help| option(long, "N", help).allow_hyphen_values(true);
    let bytes = |long, help| option(long, "BYTES", help).allow_hyphen_values(true);
    command
        .arg(id())
        .arg(
            path(
                "resources",
                "FILE",
                "Take them all from a resources object in JSON; - reads input",
            )
            .short('r'),
        )
        .arg(number("blkio-weight", "Weight on block devices, 10 to 1000"))
        .arg(number("cpu-period", "Length of a period of CPU time, in microseconds"))
        .arg(number("cpu-quota", "CPU time in a period, in microseconds; -1 for no limit"))
        .arg(number("cpu-burst", "Unused CPU time that may be saved up, in microseconds"))
        .arg(number("cpu-share", "Weight on the CPUs, 2 to 262144"))
        .arg(number("cpu-rt-period", "Length of a real-time period, in microseconds"))
        .arg(number("cpu-rt-runtime", "Real-time CPU time in a period, in microseconds"))
        .arg(number("cpu-idle", "1 runs it only when nothing else does"))
        .arg(option("cpuset-cpus", "LIST", "CPUs, such as 0-3,7"))
        .arg(option("cpuset-mems", "LIST", "Memory nodes, such as 0"))
        .arg(bytes("memory", "Memory, with k, m or g if need be; -1 for no limit"))
        .arg(bytes("memory-reservation", "Memory to be left with when it is short"))
        .arg(bytes("memory-swap", "Memory and swap together; -1 for no limit"))
        .arg(number("pids-limit", "Tasks; -1 for no limit"))
        .arg(bytes("kernel-memory", "Ignored").hide(true))
        .arg(bytes("kernel-memory-tcp", "Ignored").hide(true))
        .arg(option("l3-cache-schema", "SCHEMA", "Shares of the cache, as a line for resctrl"))
        .arg(option("mem-bw-schema", "SCHEMA", "Shares of the bandwidth of memory, so too"))
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
        .arg(
            option("cgroup", "[CONTROLLERS:]PATH", "Into a cgroup in the container's")
                .action(ArgAction::Append),
        )
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
        .arg(option("apparmor", "PROFILE", "Apply an AppArmor profile"))
        .arg(option("process-label", "LABEL", "Apply an SELinux label"))
        .arg(option("cap", "CAP", "Add a capability").short('c').action(ArgAction::Append))
        .arg(
            option("preserve-fds", "N", "Pass N more descriptors, from 3 on")
                .value_parser(value_parser!(u32).range(0..=1 << 20)),
        )
        .arg(flag("ignore-paused", "Also in a paused container"))
        .arg(flag("no-subreaper", "Do not adopt orphans").hide(true))
}
