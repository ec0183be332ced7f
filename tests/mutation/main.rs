//! Whatever is wrong with a config.json, it is refused by its place or run: each field of each
//! file that an engine wrote, of the default file and of one with everything, is changed in every
//! way that [`change`] knows.
//!
//! A failure names the file, the place and the change; `CORACLE_MUTATION='FILE PLACE CHANGE'` plans
//! that alone, and `CORACLE_MUTATION=all` leaves out nothing for being like another.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

mod bulk;
mod change;
mod files;
mod judge;
mod real;

use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};

use change::Change;
use coracle_tests::Value;
use files::Part;

/// Which element of a long array is changed beside the first and the last.
const SEED: u64 = 7;

/// A change of a part of a file.
struct Case<'a> {
    part: &'a Part,
    change: Change,
}

impl Case<'_> {
    fn name(&self) -> String {
        format!("{} {}", self.part.name, self.change)
    }

    fn original(&self) -> &Value {
        self.part.config.pointer(&self.change.pointer).unwrap()
    }
}

/// The changes of all files. What was done in the same place of another file of the same engine, to
/// a value of the same type, is done again only if `CORACLE_MUTATION` is `all`.
fn cases(parts: &[Part]) -> Vec<Case<'_>> {
    let wanted = std::env::var("CORACLE_MUTATION").unwrap_or_default();
    let mut done = HashSet::new();
    let mut cases = Vec::new();
    for part in parts {
        let (engine, kind) = part.name.split_once('-').unwrap_or((part.name, ""));
        for change in change::all(&part.config, SEED) {
            let case = Case { part, change };
            let name = case.change.name;
            let value = std::mem::discriminant(case.original());
            let new = done.insert((engine, kind == "cgroup2", case.change.pattern(), name, value));
            let chosen = match wanted.as_str() {
                "" => new,
                "all" => true,
                wanted => case.name() == wanted,
            };
            if chosen && case.change.pointer.starts_with(part.within) {
                cases.push(case);
            }
        }
    }
    cases
}

/// Does something with all of a list, on all processors; what it says, in order.
fn on_all<T: Sync, R: Send>(list: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    let mut said: Vec<(usize, R)> = std::thread::scope(|scope| {
        let take = || {
            let mut said = Vec::new();
            loop {
                let index = next.fetch_add(1, Ordering::Relaxed);
                let Some(one) = list.get(index) else { return said };
                said.push((index, work(one)));
            }
        };
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(take)).collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
    });
    said.sort_by_key(|(index, _)| *index);
    said.into_iter().map(|(_, said)| said).collect()
}

#[test]
fn every_change_is_planned_or_refused_by_its_place() {
    let parts = files::parts();
    let cases = cases(&parts);
    let judged = on_all(&cases, |case| {
        let text = change::apply(&case.part.config, &case.change);
        judge::judge(&case.change, case.original(), &text, &files::host(case.part.name))
    });
    let planned = judged.iter().filter(|judged| **judged == Ok(true)).count();
    let wrong: Vec<String> = cases
        .iter()
        .zip(&judged)
        .filter_map(|(case, judged)| Some(format!("{}: {}", case.name(), judged.as_ref().err()?)))
        .collect();
    println!("{} changes, {planned} of them planned", cases.len());

    let shown = &wrong[..wrong.len().min(30)];
    assert!(wrong.is_empty(), "{} are wrong, such as\n{}", wrong.len(), shown.join("\n"));
}
