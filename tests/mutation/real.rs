//! What can be planned is really run: its program does what it is for, nothing is left behind, and
//! an error names the place.
//!
//! The host's root is read-only for these runs: a changed path may lead to anywhere. An ordinary
//! user's own rights are enough of that.

use std::collections::HashMap;

use coracle::plan::Host;
use coracle_tests::{Call, EngineBundle, EngineConfig, Needs, Outcome, Running, Value, need};

use crate::change::{self, Change};
use crate::files::{self, plan};
use crate::judge::{is_about, is_readable};

/// What a program does that was really started.
const PROGRAM: [&str; 3] = ["/bin/sh", "-c", "echo it ran; exit 42"];
const PRINTED: &str = "it ran";
const CODE: i32 = 42;

/// Of the changes that no plan can be made of, one in so many is run.
const REFUSED: usize = 50;

/// How many changes of each field are run in files of a later kind that were run before.
const AGAIN: usize = 3;

/// After so many runs everything is looked through for what they left.
const LOOK: usize = 25;

/// What files are run alike. A change is run once, if it can be; of the same field in files of
/// another kind, a few more are.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Kind {
    Engine,
    Cgroup2,
    Rootless,
    Full,
    FullOnCgroup2,
}

impl Kind {
    fn of(name: &str) -> Self {
        match name.rsplit_once('-') {
            Some(("full", _)) => Self::FullOnCgroup2,
            Some((_, "cgroup2")) => Self::Cgroup2,
            Some((_, "rootless")) => Self::Rootless,
            None => Self::Full,
            _ => Self::Engine,
        }
    }
}

/// What was chosen so far: by the change, and by the field.
#[derive(Default)]
struct Chosen {
    changes: HashMap<(String, &'static str), usize>,
    fields: HashMap<(Kind, String), usize>,
}

impl Chosen {
    /// Whether this one is to be run too.
    fn takes(&mut self, kind: Kind, change: &Change) -> bool {
        let before = self.changes.entry((change.pattern(), change.name)).or_default();
        let of_field = self.fields.entry((kind, change.pattern())).or_default();
        if *before > 0 && (kind == Kind::Engine || *of_field >= AGAIN) {
            return false;
        }
        *before += 1;
        *of_field += 1;
        true
    }
}

/// A mount namespace in which only the test's own directory can be written to; none for an ordinary
/// user.
fn sheltered(made: &EngineBundle) -> Option<Running> {
    if made.namespaces().is_some() {
        return None;
    }
    let own = made.coracle.path().display();
    let script = format!(
        "mount --bind {own} {own} && mount -o remount,bind,ro / && echo held && exec sleep 1000"
    );
    let holder = Call::new(["unshare", "--mount", "sh", "-c", &script]).spawn();
    holder.prints("held");
    Some(holder)
}

/// The changes of a file that are run: not where the cgroup would be one that nobody would find.
fn chosen(name: &str, config: &Value, host: &Host, done: &mut Chosen) -> Vec<Change> {
    let mut refused = 0;
    let mut changes = change::all(config, crate::SEED);
    // Another way of changing each field is tried first than in the file before.
    let shift = name.len() % changes.len().max(1);
    changes.rotate_left(shift);
    changes.retain(|change| {
        let id = config["linux"]["cgroupsPath"].as_str().unwrap_or("none").to_owned();
        if let Ok((spec, _)) = plan(&change::apply(config, change), host) {
            let path = spec.linux.and_then(|linux| linux.cgroups_path);
            return path.is_none_or(|path| path.contains(&id))
                && done.takes(Kind::of(name), change);
        }
        refused += 1;
        refused % REFUSED == 0 && done.takes(Kind::of(name), change)
    });
    changes
}

/// Runs a changed file; what is wrong with the answer.
fn run(
    made: &EngineBundle,
    shelter: Option<&Running>,
    change: &Change,
    text: &str,
) -> Result<(), String> {
    let path = made.bundle.path();
    std::fs::write(path.join("config.json"), text).unwrap();
    let call = made.coracle.call(["run", "--bundle"]).args([path]).args([made.bundle.id()]);
    let call = match shelter.map(|shelter| shelter.pid().to_string()) {
        Some(target) => call.through(["nsenter", "--mount", "--target", &target, "--"]),
        None => made.from_engine(call),
    };
    let outcome = call.output();
    if let Some(signal) = outcome.signal {
        return Err(format!("ended by signal {signal}: {}", outcome.stderr));
    }
    let state = std::fs::read_dir(made.coracle.state_directory()).unwrap();
    if state.count() > 0 {
        return Err(format!("state is left: {}", outcome.stderr));
    }
    let told = format!("\n{}", outcome.stderr);
    let Some((_, error)) = told.split_once("\nerror: ") else { return has_run(change, &outcome) };
    error.lines().try_for_each(is_readable)?;
    let place = error.split_once("\n  config.json: ").map(|(_, place)| place);
    let Some(place) = place.and_then(|place| place.split([' ', '\n']).next()) else {
        return Err(format!("no place is named: {error}"));
    };
    let at = if place == "/" { "" } else { place };
    if is_about(change, at) { Ok(()) } else { Err(format!("another place is named: {error}")) }
}

/// Without an error, the program was started, and did what it is for: a start that fails silently,
/// or whose process is ended by a signal, is no run.
fn has_run(change: &Change, outcome: &Outcome) -> Result<(), String> {
    let did = outcome.code == Some(CODE) && outcome.stdout.contains(PRINTED);
    // Another program does something else, and a C library may give up under another filter, but
    // neither is ended by a signal.
    let other = ["/process/args", "/linux/seccomp/syscalls/"];
    let other = other.iter().any(|place| change.pointer.starts_with(place))
        && outcome.code.is_some_and(|code| code < 128);
    if did || other { Ok(()) } else { Err(format!("neither an error nor a run: {outcome:?}")) }
}

/// Runs all changes of one file; what went wrong.
fn run_all(made: &EngineBundle, name: &str, changes: &[Change]) -> Vec<String> {
    let shelter = sheltered(made);
    let holders = [shelter.as_ref().map(Running::pid), made.namespaces(), made.network()];
    let holders: Vec<u32> = holders.into_iter().flatten().collect();
    let mounts = || std::fs::read_to_string(format!("/proc/{}/mountinfo", holders[0])).unwrap();
    let before = mounts();
    let config = made.bundle.config().clone();
    let mut wrong = Vec::new();
    if let Err(why) = run(made, shelter.as_ref(), &UNCHANGED, &config.to_string()) {
        return vec![format!("{name} as it is: {why}")];
    }
    for some in changes.chunks(LOOK) {
        for change in some {
            let text = change::apply(&config, change);
            if let Err(why) = run(made, shelter.as_ref(), change, &text) {
                wrong.push(format!("{name} {change}: {why}"));
            }
        }
        let left = made.coracle.leftovers().into_iter().filter(|line| {
            !holders.iter().any(|pid| line.starts_with(&format!("process: {pid}:")))
        });
        let left: Vec<_> = left.collect();
        // A mount may go because somebody removes its mount point elsewhere; none may come.
        let came = mounts().lines().any(|mount| !before.lines().any(|had| had == mount));
        if !left.is_empty() || came {
            let some: Vec<_> = some.iter().map(Change::to_string).collect();
            wrong.push(format!("{name}: one of {} left {}", some.join(", "), left.join(", ")));
            return wrong;
        }
    }
    wrong
}

/// No error is about it.
const UNCHANGED: Change = Change { pointer: String::new(), name: "unchanged" };

fn filled() -> Needs<Vec<(&'static str, EngineBundle)>> {
    let full = ["full", "full-cgroup2"].map(files::runnable_full);
    // The engines' own first: of the others, what those have is run less often.
    let mut files: Vec<EngineConfig> = EngineConfig::ALL.iter().copied().chain(full).collect();
    files.sort_by_key(|file| Kind::of(file.name) != Kind::Engine);
    let make = |file: EngineConfig| {
        let mut made = file.fill()?;
        made.bundle = made.bundle.args(PROGRAM);
        Ok((file.name, made))
    };
    files.into_iter().map(make).collect()
}

#[test]
fn every_change_that_can_be_planned_is_run_and_leaves_nothing() {
    let made = need!(filled());
    let mut done = Chosen::default();
    let runs: Vec<_> = made
        .iter()
        .map(|(name, made)| {
            let changes = chosen(name, made.bundle.config(), &files::host(name), &mut done);
            (name, made, changes)
        })
        .collect();
    for kind in [Kind::Engine, Kind::Cgroup2, Kind::Rootless, Kind::Full, Kind::FullOnCgroup2] {
        let of_kind = done.fields.iter().filter(|((of, _), _)| *of == kind);
        let (fields, count) = of_kind.fold((0, 0), |(fields, all), (_, of)| (fields + 1, all + of));
        println!("{kind:?}: {count} runs of {fields} fields");
    }
    let wrong = crate::on_all(&runs, |(name, made, changes)| run_all(made, name, changes));
    let wrong: Vec<String> = wrong.into_iter().flatten().collect();
    assert!(wrong.is_empty(), "{} are wrong, such as\n{}", wrong.len(), wrong.join("\n"));
}
