//! The same commands in two places that differ in the runtime only.

use std::fmt::Write as _;
use std::path::Path;
use std::thread;

use coracle_tests::{Call, Outcome};

/// Where engines run, with a runtime.
pub(crate) trait Place: Sync {
    /// What its files and cgroups are called.
    fn name(&self) -> &str;

    /// What its engines call the runtime, and the executable.
    fn runtime(&self) -> (&str, &Path);

    /// A line for the shell in it, which may use what `step.sh` defines.
    fn sh(&self, line: &str) -> Call;
}

/// A line of a scenario, `[!CODE ]COMMAND[ => TEXT]`: a line for the shell, which must end with 0
/// or else with CODE, and print TEXT among other things. With `~ ` before it, how it ends and what it
/// prints is left to the runtime.
struct Step<'a> {
    code: Option<i32>,
    command: &'a str,
    text: Option<&'a str>,
}

impl<'a> Step<'a> {
    fn parse(line: &'a str) -> Self {
        let (free, line) = line.strip_prefix("~ ").map_or((false, line), |rest| (true, rest));
        let (code, line) = match line.strip_prefix('!').and_then(|rest| rest.split_once(' ')) {
            Some((code, rest)) => (code.parse().unwrap(), rest),
            None => (0, line),
        };
        let (command, text) = match line.rsplit_once(" => ") {
            Some((command, text)) => (command, Some(text)),
            None => (line, None),
        };
        Self { code: (!free).then_some(code), command, text }
    }

    /// What is wrong with the outcome by itself.
    fn judge(&self, outcome: &Told) -> Option<String> {
        let code = self.code?;
        if outcome.code != Some(code) {
            return Some(format!("should have exited with {code}"));
        }
        let text = self.text?;
        (!outcome.stdout.contains(text)).then(|| format!("should have printed {text:?}"))
    }
}

/// What a step came to, without what differs from run to run.
struct Told {
    code: Option<i32>,
    stdout: String,
    stderr: String,
    /// Standard error with the runtime's own words.
    in_full: String,
}

impl PartialEq for Told {
    fn eq(&self, other: &Self) -> bool {
        (self.code, &self.stdout, &self.stderr) == (other.code, &other.stdout, &other.stderr)
    }
}

impl Told {
    fn new(node: &impl Place, outcome: &Outcome) -> Self {
        let normal = |text: &str| normalise(node, text.replace('\r', "").trim_end());
        Self {
            code: outcome.code,
            stdout: engine_s_own(&normal(&outcome.stdout)),
            stderr: engine_s_own(&normal(&outcome.stderr)),
            in_full: outcome.stderr.clone(),
        }
    }

    fn show(&self) -> String {
        // Usage texts are long.
        let short = |text: &str| text.lines().take(60).collect::<Vec<_>>().join("\n");
        let (stdout, stderr) = (short(&self.stdout), short(&self.in_full));
        format!("exit {:?}\n{stdout}\n--- stderr\n{stderr}", self.code)
    }
}

/// Runs the scenario on every node, side by side, and asserts that each step does what it must and
/// comes to the same on all. A line that starts with `#` is a comment.
#[track_caller]
pub(crate) fn same<P: Place>(nodes: &[P], scenario: &str) {
    let steps: Vec<Step<'_>> = scenario
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(Step::parse)
        .collect();
    let run = |node: &P| -> Vec<Told> {
        let mut told = Vec::new();
        for step in &steps {
            let one = Told::new(node, &node.sh(step.command).output());
            let hung = one.code == Some(124);
            told.push(one);
            if hung {
                break;
            }
        }
        told
    };
    let told: Vec<Vec<Told>> = thread::scope(|scope| {
        let runs: Vec<_> = nodes.iter().map(|node| scope.spawn(|| run(node))).collect();
        runs.into_iter().map(|run| run.join().expect("a node's run")).collect()
    });
    let mut wrong = String::new();
    let common = told.iter().map(Vec::len).min().unwrap_or(0);
    for (index, step) in steps.iter().enumerate().take(common) {
        for (node, told) in nodes.iter().zip(&told) {
            if let Some(why) = step.judge(&told[index]) {
                let (name, told) = (node.runtime().0, told[index].show());
                let _ = writeln!(wrong, "{}\n=== {name}: {why}: {told}\n", step.command);
            }
        }
        let differ = told.iter().any(|one| one[index] != told[0][index]);
        if step.code.is_some() && differ {
            let _ = writeln!(wrong, "{}\n=== differs", step.command);
            for (node, told) in nodes.iter().zip(&told) {
                let _ = writeln!(wrong, "=== {}: {}\n", node.runtime().0, told[index].show());
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

/// Of an error's line the engine's own judgement, which stands before or behind the runtime's words:
/// those are the runtime's affair.
fn engine_s_own(stderr: &str) -> String {
    let judged = |line: &str| {
        let line = match (line.find("time=\""), line.find(" level=")) {
            (Some(0), Some(end)) => &line[end..],
            _ => line,
        };
        // podman's way, and that of containerd and docker.
        let words = ["RUNTIME: ", "OCI runtime create failed: ", "OCI runtime exec failed: "];
        let start = words.iter().filter_map(|word| Some(line.find(word)? + word.len())).min();
        let Some(start) = start else { return line.to_owned() };
        let class = line.rfind(": OCI ").filter(|&at| at >= start).map_or("", |at| &line[at..]);
        format!("{}…{class}", &line[..start])
    };
    // docker's client says so when the answer to another request came first.
    let late = |line: &&str| !line.contains("error waiting for container: context canceled");
    stderr.lines().filter(late).map(judged).collect::<Vec<_>>().join("\n")
}

/// Takes the names of node and runtime, and IDs, out of a text.
fn normalise(node: &impl Place, text: &str) -> String {
    let (name, path) = node.runtime();
    let text = text
        .replace(path.to_str().unwrap(), "RUNTIME")
        .replace(node.name(), "NODE")
        .replace(name, "RUNTIME");
    let mut normal = String::new();
    let mut rest = text.as_str();
    while let Some(start) = rest.find(|c: char| c.is_ascii_hexdigit()) {
        normal.push_str(&rest[..start]);
        rest = &rest[start..];
        let end = rest.find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(rest.len());
        // Shortened IDs have 12 digits; sets of capabilities have leading zeros.
        let id = end >= 12 && !rest.starts_with("0000");
        normal.push_str(if id { "ID" } else { &rest[..end] });
        rest = &rest[end..];
    }
    normal + rest
}
