//! Where and in what order the contenders are measured.

use std::fs::{self, DirBuilder};
use std::io::{self, Write as _};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::process::{WaitOptions, getpid, set_child_subreaper, wait};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use super::cgroups::Hierarchies;
use super::command::Runner;
use super::contender::Contender;
use super::options::Options;
use super::programs::{Peer, Programs};
use crate::Outcome;

/// Rounds before anything is recorded: caches fill, clocks rise.
pub(super) const WARM_UP: usize = 5;

/// Rounds in which memory is measured instead of time.
const MEMORY_ROUNDS: usize = 5;

/// Where the benchmark happens; nothing is left of it when this is dropped.
pub(super) struct Site {
    directory: PathBuf,
    pub(super) hierarchies: Hierarchies,
    pub(super) runner: Runner,
    pub(super) contenders: Vec<Contender>,
    interrupted: Arc<AtomicBool>,
}

impl Site {
    /// Prepares a directory for every contender: the floor, coracle and the peers.
    pub(super) fn open(programs: &Programs, peers: &[Peer]) -> Outcome<Self> {
        // The first process of a created container becomes ours when its parent leaves, so that
        // its end can be awaited before `delete` is measured.
        set_child_subreaper(Some(getpid()))?;
        let interrupted = Arc::new(AtomicBool::new(false));
        for signal in [SIGHUP, SIGINT, SIGTERM] {
            signal_hook::flag::register(signal, Arc::clone(&interrupted))?;
        }
        let hierarchies = Hierarchies::find()?;
        let name = format!("coracle-bench-{}", std::process::id());
        // In memory, as /run is where the states of containers are kept.
        let memory = Path::new("/dev/shm");
        let base = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
        let directory = base.join(&name);
        DirBuilder::new().mode(0o700).create(&directory)?;
        let mut site = Self {
            runner: Runner::new(directory.join("said")),
            directory,
            hierarchies,
            contenders: Vec::new(),
            interrupted,
        };
        let place =
            |index: usize| (format!("{name}-{index}"), site.directory.join(index.to_string()));
        let (id, directory) = place(0);
        let mut contenders =
            vec![Contender::floor(&programs.floor, id, directory, &site.hierarchies)];
        let coracle = ("coracle".to_owned(), programs.coracle.clone());
        for (name, program) in [coracle].iter().chain(peers) {
            let (id, directory) = place(contenders.len());
            contenders.push(Contender::runtime(name, program, id, directory));
        }
        site.contenders = contenders;
        for contender in &site.contenders {
            contender.prepare(&programs.payload)?;
        }
        Ok(site)
    }

    /// Goes on without those that cannot do what is to be measured; says which, and why.
    pub(super) fn leave_out_the_broken(&mut self) -> Vec<String> {
        let Self { runner, hierarchies, contenders, .. } = self;
        let mut left_out = Vec::new();
        contenders.retain(|contender| {
            let Err(error) = contender.prove(runner) else { return true };
            left_out.push(format!("{}: {error}", contender.name));
            contender.remove(runner);
            hierarchies.remove(&contender.id);
            false
        });
        left_out
    }

    /// An error once somebody wants the benchmark to end.
    pub(super) fn go_on(&self) -> Outcome<()> {
        go_on(&self.interrupted)
    }

    /// Fills the contenders' samples.
    pub(super) fn measure(&mut self, options: &Options, programs: &Programs) -> Outcome<()> {
        let Self { runner, contenders, interrupted, .. } = self;
        let mut order = Order::new();
        for round in 0..WARM_UP + options.runs {
            if round == WARM_UP {
                for contender in &mut *contenders {
                    contender.samples.clear();
                }
            }
            for (index, task) in order.shuffle(contenders.len()) {
                let contender = &mut contenders[index];
                if contender.is_floor() && !matches!(task, Task::Run) {
                    continue;
                }
                match task {
                    Task::Run => contender.measure_run(runner)?,
                    Task::Life => contender.measure_life(runner)?,
                    Task::Version => contender.measure_version(runner)?,
                }
                sleep(options.pause);
                go_on(interrupted)?;
            }
        }
        for _ in 0..MEMORY_ROUNDS {
            for contender in &mut *contenders {
                contender.measure_peak_rss(runner, &programs.peak_rss)?;
            }
        }
        Ok(())
    }
}

fn go_on(interrupted: &AtomicBool) -> Outcome<()> {
    if interrupted.load(Ordering::Relaxed) {
        return Err("interrupted".into());
    }
    Ok(())
}

impl Drop for Site {
    fn drop(&mut self) {
        for contender in &self.contenders {
            contender.remove(&self.runner);
            self.hierarchies.remove(&contender.id);
        }
        // The first processes of what had to be removed above take a moment to end.
        for _ in 0..100 {
            match wait(WaitOptions::NOHANG) {
                Ok(Some(_)) => {}
                Ok(None) => sleep(Duration::from_millis(10)),
                Err(_) => break,
            }
        }
        if let Err(error) = fs::remove_dir_all(&self.directory) {
            // There is nobody left to tell if this fails as well.
            let _ = writeln!(io::stderr(), "{}: {error}", self.directory.display());
        }
    }
}

/// What a round does with each contender.
#[derive(Clone, Copy)]
enum Task {
    Run,
    Life,
    Version,
}

/// A new random order for every round.
struct Order {
    state: u64,
}

impl Order {
    fn new() -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { state: super::nanoseconds(now) | 1 }
    }

    /// Every task of every contender.
    fn shuffle(&mut self, contenders: usize) -> Vec<(usize, Task)> {
        let tasks = [Task::Run, Task::Life, Task::Version];
        let mut all: Vec<_> = (0..contenders)
            .flat_map(|contender| tasks.into_iter().map(move |task| (contender, task)))
            .collect();
        for last in (1..all.len()).rev() {
            all.swap(last, self.below(last + 1));
        }
        all
    }

    /// A number below `limit` (xorshift, which is random enough for an order).
    fn below(&mut self, limit: usize) -> usize {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        usize::try_from(self.state >> 32).unwrap_or_default() % limit
    }
}
