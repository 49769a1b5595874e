//! The real reconciler and the real hands of the driver in a world that tries to break them: cloud, queue, engine and
//! disk as models, everything from one seed, on one thread, under tokio's paused clock.
//!
//! `cargo test --test simulation` runs [`SEEDS`] seeds; `SIMULATION_SEEDS=n` runs so many, `SIMULATION_SEED=n` this one
//! with its story, `SIMULATION_FIRST=n` begins with another seed. Runs can be written down instead, as [`script`] says:
//! cargo-fuzz makes them up from what it learns (`fuzz/`), and `SIMULATION_INPUT=file` shows the story of one.
//!
//! The daemon's clock starts with each daemon and the reconciler is told no time of day, so a wall clock that jumps
//! cannot matter to it; a daemon that does not get to run for a while is modelled.
//!
//! # Does it find anything?
//!
//! Deliberate bugs, each alone, and the first seed that found it (the model has been touched since, so it may be another
//! by now):
//!
//! | bug | first seed |
//! | --- | --- |
//! | no list is asked for after a failed operation | 33 |
//! | a snapshot with gaps is taken for a whole one | 9 |
//! | one snapshot confirms that the app is gone | 0 |
//! | a list that is older than an operation is believed (`touched` ignored) | 1,026 |
//! | a list is believed in the middle of an operation | 4,068 |
//! | an unknown revision is taken for fresh | 0 |
//! | a change that does not show is not looked for again | 2 |
//! | an operation is begun while another goes on | 0 |
//! | no second attempt after a failure | 33 |
//! | hints in the middle of operations are dropped | 584 |
//! | at the end, what an operation left half way is not looked at again | 96 |
//! | the overlapping manner beside two old containers | 142 |
//! | a port of a container that is being made counts as free | 467 |
//! | driver: a new container is started beside a running one | 0 |
//! | driver: the revision is written down before a restart | 40 |
//! | driver: the revision of a new container is not written down | 2 |
//!
//! # What is left out
//!
//! - No value of the truth that a process reads ever comes back: what it read in between cannot be told from outside.
//! - A node that a late, doubled message says to be removed, and that a snapshot with gaps lacks, is removed and made
//!   again.
//! - A node whose definition makes no sense keeps its container and its port; where there are ports, users put such a
//!   definition right before all has to be right.
//! - The driver's loop itself: the simulation hands effects to the hands as the loop does.

mod calls;
mod cloud;
mod daemon;
mod disk;
mod engine;
mod fault_phase;
mod fault_plan;
mod goal;
mod invariants;
mod others;
mod prng;
mod run;
mod script;
mod trace;
mod user;
mod world;

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use fault_plan::Class;
use run::{Totals, run};
use script::{Script, Source, What};

/// Seeds of a usual run.
const SEEDS: u64 = 20_000;
/// Seeds that fail are collected up to so many.
const FAILURES_MAX: usize = 5;
/// The last lines of a long story are shown.
const STORY_CHARS_MAX: usize = 60_000;

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is no number")))
}

#[test]
fn nothing_breaks_the_reconciler() {
    if let Some(seed) = setting("SIMULATION_SEED") {
        return fail_if_broken(Source::Seed(seed), &format!("SIMULATION_SEED={seed}"));
    }
    let first = setting("SIMULATION_FIRST").unwrap_or(0);
    let end = first + setting("SIMULATION_SEEDS").unwrap_or(SEEDS);
    let next = AtomicU64::new(first);
    let failed = Mutex::new(Vec::<u64>::new());
    let totals = Mutex::new(Totals::default());
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= end || failed.lock().expect("no thread panics with it").len() >= FAILURES_MAX {
                return;
            }
            match run(Source::Seed(seed), false) {
                Ok(one) => {
                    let mut sum = totals.lock().expect("no thread panics with it");
                    sum.operations += one.operations;
                    sum.ends += one.ends;
                }
                Err(report) => {
                    println!("seed {seed}: {}", report.what);
                    failed.lock().expect("no thread panics with it").push(seed);
                }
            }
        }
    };
    thread::scope(|scope| {
        let threads = thread::available_parallelism().map_or(1, usize::from);
        for _ in 0..threads {
            scope.spawn(work);
        }
    });
    let mut failed = failed.into_inner().expect("no thread panicked");
    failed.sort_unstable();
    if let Some(seed) = failed.first() {
        fail_if_broken(Source::Seed(*seed), &format!("SIMULATION_SEED={seed}"));
    }
    let totals = totals.into_inner().expect("no thread panicked");
    println!("{} seeds: {} operations, {} ends of nodes", end - first, totals.operations, totals.ends);
    assert!(totals.operations > 0 && totals.ends > 0, "the runs did nothing");
}

/// What cargo-fuzz found worth keeping; an input that broke something is among them for good.
#[test]
fn no_written_run_breaks_the_reconciler() {
    if let Some(path) = std::env::var_os("SIMULATION_INPUT") {
        return replay(Path::new(&path));
    }
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/simulation");
    let entries = std::fs::read_dir(&corpus).expect("the corpus is there");
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("it can be read").path()).collect();
    paths.sort();
    assert!(paths.len() >= 3, "there is a corpus");
    paths.iter().for_each(|path| replay(path));
}

fn replay(path: &Path) {
    let input = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    fail_if_broken(Source::Input(&input), &format!("SIMULATION_INPUT={}", path.display()));
}

#[test]
fn any_bytes_are_a_script() {
    assert_eq!(Script::read(&[]).fault_phases.len(), 1);
    let script = Script::read(&[1, 0, 0, 0, 2, 1, 2, 0, 7, 10, 0, 1, 2, 3, 4, 0, 14, 0, 0, 0, 0, 0, 11, 0, 0, 0, 0, 9]);
    assert_eq!((script.seed, script.fates.len()), (258, 2));
    let reported: Vec<Vec<What>> =
        script.fault_phases.iter().map(|fault_phase| fault_phase.iter().map(|step| step.what).collect()).collect();
    assert_eq!(reported, [vec![What::User], vec![What::Crash]]);
    assert_eq!(script.fault_phases[0][0].delay.as_millis(), 100);
    let classes = [Class::EngineErrors, Class::Hangs, Class::Crashes];
    assert_eq!(script.classes, classes.iter().fold(0, |all, class| all | 1 << *class as u32));
}

fn fail_if_broken(source: Source<'_>, name: &str) {
    let Err(report) = run(source, true) else { return };
    let start = report.story.len().saturating_sub(STORY_CHARS_MAX);
    let start = (start..).find(|index| report.story.is_char_boundary(*index)).unwrap_or(0);
    panic!(
        "{name}: {}\nfaults: {}\n{}\nreplay: {name} cargo test --test simulation",
        report.what,
        report.classes,
        &report.story[start..]
    );
}
