//! `kill`.

use clap::ArgMatches;
use coracle::{Error, Result, container};

use super::{flag, for_each};
use crate::globals::Globals;

pub(super) fn main(options: &ArgMatches, globals: &Globals) -> Result<u8> {
    let name = options.get_one::<String>("signal").map_or("TERM", String::as_str);
    let number = signal(name).ok_or_else(|| {
        Error::new(format!("unknown signal {name:?}"))
            .help("a name such as TERM, or a number to 64")
    })?;
    for_each(options, globals, |id| {
        container::kill(&globals.store, id, number, flag(options, "all"))
    })?;
    Ok(0)
}

/// signal(7), in the order of their numbers on every architecture this builds for.
const NAMES: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2",
    "PIPE", "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG",
    "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
];

/// The number of a signal given by number or name, with or without `SIG`, in any case.
fn signal(name: &str) -> Option<i32> {
    if let Ok(number) = name.parse::<i32>() {
        return (0..=64).contains(&number).then_some(number);
    }
    let upper = name.to_ascii_uppercase();
    let bare = upper.strip_prefix("SIG").unwrap_or(&upper);
    let real_time = |rest: &str, from: i32, sign: i32| {
        let offset = if rest.is_empty() { 0 } else { rest.get(1..)?.parse::<i32>().ok()? };
        let number = from + sign * offset;
        (34..=64).contains(&number).then_some(number)
    };
    if let Some(rest) = bare.strip_prefix("RTMIN") {
        return real_time(rest, 34, 1);
    }
    if let Some(rest) = bare.strip_prefix("RTMAX") {
        return real_time(rest, 64, -1);
    }
    let bare = match bare {
        "IOT" => "ABRT",
        "POLL" => "IO",
        "CLD" => "CHLD",
        other => other,
    };
    let found = NAMES.iter().position(|known| *known == bare)?;
    i32::try_from(found + 1).ok()
}

#[cfg(test)]
mod tests {
    use super::signal;

    #[test]
    fn signals_have_many_names() {
        for (name, number) in [
            ("TERM", 15),
            ("SIGTERM", 15),
            ("sigkill", 9),
            ("9", 9),
            ("Winch", 28),
            ("SYS", 31),
            ("RTMIN", 34),
            ("SIGRTMIN+3", 37),
            ("RTMAX-1", 63),
            ("CLD", 17),
            ("0", 0),
        ] {
            assert_eq!(signal(name), Some(number), "{name}");
        }
        for name in ["", "SIG", "TERMINATE", "65", "-1", "RTMIN+99", "1.5"] {
            assert_eq!(signal(name), None, "{name}");
        }
    }
}
