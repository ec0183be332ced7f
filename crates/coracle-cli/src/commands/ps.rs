//! `ps`.

use std::process::{Command, Stdio};

use clap::ArgMatches;
use coracle::error::Context;
use coracle::{Error, Result, container};

use super::id;
use crate::globals::{Globals, Name};
use crate::log::answer;

pub(super) fn main(options: &ArgMatches, globals: &Globals) -> Result<u8> {
    let format = options.get_one::<String>("format").map_or("table", String::as_str);
    if !["table", "json"].contains(&format) {
        return Err(Error::new(format!("invalid format option: {format}"))
            .help("the formats are table and json"));
    }
    let pids = container::processes(&globals.store, id(options))?;
    let text = match (format, globals.name) {
        ("json", _) => {
            let pids: Vec<_> = pids.iter().map(i32::to_string).collect();
            format!("[{}]\n", pids.join(","))
        }
        (_, Name::Crun) => {
            pids.iter().fold("PID\n".to_owned(), |text, pid| text + &pid.to_string() + "\n")
        }
        _ => {
            let words = options.get_many::<String>("options");
            let words: Vec<&str> = words.into_iter().flatten().map(String::as_str).collect();
            filter(&table(&words)?, &pids)?
        }
    };
    answer(&text)?;
    Ok(0)
}

/// What ps(1) prints with these options.
fn table(options: &[&str]) -> Result<String> {
    let options = if options.is_empty() { &["-ef"] } else { options };
    let output = Command::new("ps").args(options).stdin(Stdio::null()).output();
    let output = output
        .what(|| "running ps")
        .map_err(|error| error.help("install it (package procps), or use --format json"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let error = Error::new(format!("running ps {}", options.join(" ")));
        return Err(error.because(said.trim().replace('\n', "; ")));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The head, and the lines whose `PID` column has one of the ids.
fn filter(table: &str, pids: &[i32]) -> Result<String> {
    let mut lines = table.lines();
    let head = lines.next().unwrap_or_default();
    let column = head.split_whitespace().position(|name| name == "PID").ok_or_else(|| {
        Error::new("couldn't find PID field in ps output")
            .help("choose options of ps that print a PID column")
    })?;
    let ours = |line: &&str| {
        let pid = line.split_whitespace().nth(column).and_then(|word| word.parse().ok());
        pid.is_some_and(|pid| pids.contains(&pid))
    };
    let lines = std::iter::once(head).chain(lines.filter(ours));
    Ok(lines.fold(String::with_capacity(table.len()), |text, line| text + line + "\n"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::filter;

    #[test]
    fn lines_are_chosen_by_their_pid_column() {
        let table =
            "UID        PID  PPID CMD\nroot        10     1 sleep 20\nroot        20    10 sh\n";
        let head = "UID        PID  PPID CMD\n";
        assert_eq!(filter(table, &[20]).unwrap(), format!("{head}root        20    10 sh\n"));
        assert_eq!(filter(table, &[1, 2]).unwrap(), head);
        assert!(filter("CMD\nsh\n", &[1]).is_err());
        assert!(filter("", &[1]).is_err());
    }
}
