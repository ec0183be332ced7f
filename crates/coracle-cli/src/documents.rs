//! Man pages and completions, from the same definitions as the parser's: `coracle documents DIR`,
//! in a build with the feature `documents` only (`cargo xtask dist` makes one).

use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::path::Path;

use clap::{ArgAction, Command};
use clap_complete::{Shell, generate_to};
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

use crate::args::whole;

/// Writes them all.
pub(crate) fn write(directory: &OsStr) -> std::io::Result<()> {
    let directory = Path::new(directory);
    fs::create_dir_all(directory)?;
    let mut all = whole();
    all.build();
    all = plain(all);
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        generate_to(shell, &mut all, "coracle", directory)?;
    }
    let names: Vec<String> = all.get_subcommands().map(|c| c.get_name().to_owned()).collect();
    page(&all, "coracle", &names, directory)?;
    for command in all.get_subcommands() {
        let name = format!("coracle-{}", command.get_name());
        page(command, &name, &names, directory)?;
    }
    Ok(())
}

/// Flags as flags: that they take a value in Go's spelling helps nobody who reads or completes.
fn plain(command: Command) -> Command {
    let no_names: [&str; 0] = [];
    command
        .mut_args(|arg| match arg.is_require_equals_set() {
            true => arg
                .require_equals(false)
                .num_args(0)
                .value_names(no_names)
                .action(ArgAction::SetTrue),
            false => arg,
        })
        .mut_subcommands(plain)
}

/// One man page, in section 8.
fn page(command: &Command, name: &str, names: &[String], directory: &Path) -> std::io::Result<()> {
    let command = command.clone().name(name.to_owned()).display_name(name.to_owned());
    let version = env!("CARGO_PKG_VERSION");
    let man =
        Man::new(command).section("8").manual("Containers").source(format!("coracle {version}"));
    let mut text = Vec::new();
    man.render_title(&mut text)?;
    man.render_name_section(&mut text)?;
    man.render_synopsis_section(&mut text)?;
    man.render_description_section(&mut text)?;
    man.render_options_section(&mut text)?;
    if name == "coracle" {
        man.render_subcommands_section(&mut text)?;
        files(&mut text)?;
    }
    status(name, &mut text)?;
    see_also(name, names, &mut text)?;
    fs::write(directory.join(format!("{name}.8")), text)
}

fn files(out: &mut impl Write) -> std::io::Result<()> {
    let mut roff = Roff::new();
    roff.control("SH", ["FILES"]);
    for (file, what) in [
        (
            "/run/coracle/ID",
            "The state of a container; for an ordinary user below $XDG_RUNTIME_DIR. \
          Under the names runc and crun, that name's directory.",
        ),
        ("BUNDLE/config.json", "What a container is to be, by the OCI runtime specification."),
    ] {
        roff.control("TP", []);
        roff.text([bold(file)]);
        roff.text([roman(what)]);
    }
    roff.to_writer(out)
}

fn status(name: &str, out: &mut impl Write) -> std::io::Result<()> {
    let text = match name {
        "coracle-run" => {
            "That of the program, or 128 and the number of the signal that ended it; 1 where coracle failed."
        }
        "coracle-exec" => {
            "That of the program, or 128 and the number of the signal that ended it; 255 where coracle failed."
        }
        "coracle" => {
            "0 on success, 1 on failure, 3 for a command that does not exist; see coracle\\-run(8) and coracle\\-exec(8) for theirs."
        }
        _ => "0 on success, 1 on failure.",
    };
    let mut roff = Roff::new();
    roff.control("SH", ["EXIT STATUS"]);
    roff.text([roman(text.replace("\\-", "-"))]);
    roff.to_writer(out)
}

fn see_also(name: &str, names: &[String], out: &mut impl Write) -> std::io::Result<()> {
    let others: Vec<String> = if name == "coracle" {
        names.iter().map(|other| format!("coracle-{other}(8)")).collect()
    } else {
        vec!["coracle(8)".to_owned()]
    };
    let mut roff = Roff::new();
    roff.control("SH", ["SEE ALSO"]);
    roff.text([roman(others.join(", "))]);
    roff.to_writer(out)
}
