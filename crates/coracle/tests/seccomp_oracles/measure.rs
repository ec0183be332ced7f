//! What the filters cost, beside libseccomp's: `cargo xtask bench seccomp`.

// The tables are what it is for.
#![allow(clippy::print_stdout)]

use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use coracle::seccomp::{Program, native};
use rustix::net::{AddressFamily, SocketType};

use super::{PROFILES, libseccomp, profile, program};

/// How libseccomp is told to order its instructions (`SCMP_FLTATR_CTL_OPTIMIZE`): by priority, which
/// is its default, or as a binary tree.
const LIBSECCOMP: [(&str, u32); 2] = [("libseccomp", 1), ("libseccomp, tree", 2)];

/// How often each thing is measured. All contenders take turns, so that the machine's mood meets
/// them alike.
const ROUNDS: usize = 101;

/// How many system calls are timed together.
const CALLS: u32 = 20_000;

#[test]
#[ignore = "measures"]
fn what_default_profiles_cost() {
    for (name, _) in PROFILES {
        let profile = profile(name);
        let ours = compiling(ROUNDS, || {
            let start = Instant::now();
            let program = program(&profile, native());
            (program, start.elapsed())
        });
        let mut all = vec![("coracle", ours)];
        for (who, optimize) in LIBSECCOMP {
            let export = || {
                let exported = libseccomp::export(&profile, optimize).ok()?;
                Some((exported.program, exported.compiling))
            };
            match export() {
                Some(_) => all.push((who, compiling(5, || export().unwrap()))),
                None => println!("{who} is left out: it takes gcc and libseccomp-dev"),
            }
        }
        report(name, &all);
    }
}

/// What one has made of a profile, and how long it took.
type Compiled = (Program, Duration);

/// The program, and the median of some times.
fn compiling(rounds: usize, once: impl Fn() -> Compiled) -> Compiled {
    let mut times = Vec::new();
    let mut last = None;
    for _ in 0..rounds {
        let (program, time) = once();
        times.push(time);
        last = Some(program);
    }
    (last.unwrap(), median(times))
}

/// Prints what is measured of the programs, as a table.
fn report(name: &str, all: &[(&str, Compiled)]) {
    println!("| {name} | instructions | compiled, µs | loaded, µs | getppid, ns | socket, ns |");
    println!("|---|---|---|---|---|---|");
    let loaded = in_turns(all.iter().map(|(_, (program, _))| || load(program)).collect());
    let under = |call: fn()| {
        // Without a filter first.
        let programs = std::iter::once(None).chain(all.iter().map(|of| Some(of.1.0.clone())));
        let callers: Vec<Caller> = programs.map(|program| Caller::new(program, call)).collect();
        in_turns(callers.iter().map(|caller| || caller.time()).collect())
    };
    let calls = [under(always_allowed), under(judged_by_its_argument)];
    let cost = |at: usize| {
        let one = |times: &Vec<Vec<Duration>>| {
            let [bare, own] = [0, at].map(|at| times[at].clone());
            let ratios = own.iter().zip(&bare).map(|(own, bare)| own.div_duration_f64(*bare));
            let nanoseconds = median(own.clone()).as_secs_f64() * 1e9 / f64::from(CALLS);
            format!("{nanoseconds:.0} ({:.2})", median(ratios.collect()))
        };
        calls.each_ref().map(one).join(" | ")
    };
    println!("| no filter | | | | {} |", cost(0));
    for (at, (who, (program, compiling))) in all.iter().enumerate() {
        let size = program.instructions.len();
        let [compiling, loading] =
            [*compiling, median(loaded[at].clone())].map(|time| time.as_secs_f64() * 1e6);
        println!("| {who} | {size} | {compiling:.0} | {loading:.0} | {} |", cost(at + 1));
    }
    println!();
}

/// All that are measured, one after the other and again: the times of each.
fn in_turns(mut all: Vec<impl FnMut() -> Duration>) -> Vec<Vec<Duration>> {
    let mut times = vec![Vec::new(); all.len()];
    for round in 0..ROUNDS {
        for place in 0..all.len() {
            let at = (place + round) % all.len();
            times[at].push(all[at]());
        }
    }
    times
}

fn median<T: PartialOrd + Copy>(mut all: Vec<T>) -> T {
    all.sort_by(|one, other| one.partial_cmp(other).unwrap());
    all[all.len() / 2]
}

/// Loads a program on a thread of its own, since a filter stays.
fn load(program: &Program) -> Duration {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            rustix::thread::set_no_new_privs(true).unwrap();
            let start = Instant::now();
            program.load().unwrap();
            start.elapsed()
        });
        thread.join().unwrap()
    })
}

/// A call that every profile allows whatever its arguments: the kernel remembers that, and runs no
/// filter (Linux 5.11).
fn always_allowed() {
    std::hint::black_box(rustix::process::getppid());
}

/// A call whose first argument profiles look at, and the kernel refuses at once.
fn judged_by_its_argument() {
    let none = AddressFamily::from_raw(99);
    assert!(rustix::net::socket(none, SocketType::STREAM, None).is_err());
}

/// A thread under a filter that makes system calls when it is asked to.
struct Caller {
    ask: Sender<()>,
    told: Receiver<Duration>,
}

impl Caller {
    fn new(program: Option<Program>, call: fn()) -> Self {
        let (ask, asked) = channel();
        let (tell, told) = channel();
        std::thread::spawn(move || {
            if let Some(program) = program {
                rustix::thread::set_no_new_privs(true).unwrap();
                program.load().unwrap();
            }
            while asked.recv().is_ok() {
                let start = Instant::now();
                for _ in 0..CALLS {
                    call();
                }
                if tell.send(start.elapsed()).is_err() {
                    return;
                }
            }
        });
        Self { ask, told }
    }

    fn time(&self) -> Duration {
        self.ask.send(()).unwrap();
        self.told.recv().unwrap()
    }
}
