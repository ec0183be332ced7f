//! The package's man pages, as `man` shows them, and its completions, as the shells take them.

use std::fs;
use std::path::PathBuf;

use coracle_tests::{Call, Needs, Pty, Scratch, need};

use crate::{dist, output, package};

/// The package's files, unpacked, for a test that needs such a program.
fn unpacked(program: &str) -> Needs<(Scratch, PathBuf)> {
    let package = package(&dist()?);
    if !fs::exists(format!("/usr/bin/{program}")).unwrap() {
        return Err(format!("needs {program}"));
    }
    let scratch = Scratch::new();
    let root = scratch.path().join("root");
    output(["dpkg-deb", "--extract", package.to_str().unwrap(), root.to_str().unwrap()]);
    let share = root.join("usr/share");
    Ok((scratch, share))
}

#[test]
fn man_has_nothing_to_say_against_a_page() {
    let (_scratch, share) = need!(unpacked("man"));
    let pages = fs::read_dir(share.join("man/man8")).unwrap();
    let mut count = 0;
    for page in pages.map(|page| page.unwrap().path()) {
        let name = page.file_name().unwrap().to_str().unwrap().to_owned();
        let call = Call::new(["man", "--warnings", "--encoding=UTF-8", "--local-file"]);
        let told = call.args([&page]).env("LC_ALL", "C.UTF-8").env("MANWIDTH", "80").output();
        let told = told.succeeds();
        assert_eq!(told.stderr, "", "{name}");
        let title = name.trim_end_matches(".8.gz");
        for part in ["NAME", "SYNOPSIS", title] {
            assert!(told.stdout.contains(part), "{name} lacks {part}:\n{}", told.stdout);
        }
        count += 1;
    }
    // The command's own and one for each of its commands.
    assert!(count > 15, "{count} pages");
}

#[test]
fn bash_completes() {
    let (_scratch, share) = need!(unpacked("bash"));
    let file = share.join("bash-completion/completions/coracle");
    let complete = "source \"$1\"; COMP_WORDS=(coracle mou); COMP_CWORD=1; _coracle coracle mou coracle; echo \"${COMPREPLY[@]}\"";
    let told = output(["bash", "-c", complete, "bash", file.to_str().unwrap()]);
    assert_eq!(told.trim(), "mounts");
}

#[test]
fn fish_completes() {
    let (scratch, share) = need!(unpacked("fish"));
    let file = share.join("fish/vendor_completions.d/coracle.fish");
    for (typed, wanted) in [
        ("coracle mou", "mounts"),
        ("coracle run --no-p", "--no-pivot"),
        ("coracle list --fo", "--format"),
    ] {
        let script = format!("source \"$argv[1]\"; complete --do-complete '{typed}'");
        let call = Call::new(["fish", "--no-config", "-c", &script]).args([&file]);
        let told = call.env("HOME", scratch.path()).output().succeeds();
        assert_eq!(told.stderr, "", "{typed}");
        let first = |line: &str| line.split('\t').next().unwrap().to_owned();
        let answers: Vec<String> = told.stdout.lines().map(first).collect();
        assert!(answers.iter().any(|answer| answer == wanted), "{typed}: {answers:?}");
    }
}

#[test]
fn zsh_completes() {
    let (scratch, share) = need!(unpacked("zsh"));
    let directory = share.join("zsh/vendor-completions");
    let mut pty = Pty::new(24, 80);
    let call = Call::new(["zsh", "-f", "-i"]).env("HOME", scratch.path()).env("TERM", "dumb");
    let shell = pty.spawn(call);
    let begin = format!(
        "PS1='> '; fpath=({} $fpath); autoload -Uz compinit; compinit -u -D; echo rea''dy\n",
        directory.display()
    );
    pty.types(&begin);
    pty.shows("ready");
    for (typed, wanted) in [
        ("coracle mou\t", "mounts "),
        ("coracle run --no-p\t", "--no-pivot "),
        ("coracle mounts ad\t", "add "),
    ] {
        pty.types(&format!(": {typed}").replacen(": ", "", 1));
        pty.shows(wanted);
        // Away with the line.
        pty.types("\u{15}");
    }
    pty.types("\nexit\n");
    shell.wait().exits(0);
}
