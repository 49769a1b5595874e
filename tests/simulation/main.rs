//! The real reconciler and the real executor of the driver under faults: cloud, queue, engine and disk are models. Each
//! run is determined by one seed, on one thread, with the paused clock of tokio.
//!
//! `cargo test --test simulation` runs [`SEEDS`] seeds. `SIMULATION_SEEDS=n` sets their number, `SIMULATION_SEED=n`
//! runs one seed with its trace, `SIMULATION_FIRST=n` sets the first seed. Runs can also come from bytes, see
//! [`script`]: cargo-fuzz generates them (`fuzz/`), and `SIMULATION_INPUT=file` shows the trace of one.
//!
//! The clock of the daemon is monotonic and starts with each daemon, and the reconciler receives no time of day, so
//! jumps of the wall clock have no effect. A suspended daemon is modelled.
//!
//! # Detected bugs
//!
//! Deliberate bugs, one at a time, and the first seed that detected it (with an earlier version of the model):
//!
//! | bug | first seed |
//! | --- | --- |
//! | no list is requested after a failed operation | 33 |
//! | a snapshot with gaps counts as complete | 9 |
//! | one snapshot confirms that the app is gone | 0 |
//! | a list that is older than an operation is used (`touched` ignored) | 1,026 |
//! | a list is used during an operation | 4,068 |
//! | an unknown revision counts as current | 0 |
//! | a change that is not visible yet is not read again | 2 |
//! | an operation is started while another is pending | 0 |
//! | no retry after a failure | 33 |
//! | engine events during operations are dropped | 584 |
//! | at the end, an incomplete operation is not checked again | 96 |
//! | start-first beside two old containers | 142 |
//! | a port of a container in creation counts as free | 467 |
//! | driver: a new container is started beside a running one | 0 |
//! | driver: the revision is recorded before a restart | 40 |
//! | driver: the revision of a new container is not recorded | 2 |
//!
//! # Limits of the model
//!
//! - No value that a process reads ever recurs: values in between could not be detected from outside.
//! - A node that a late duplicate message reports as removed, and that a snapshot with gaps lacks, is removed and
//!   recreated.
//! - A node with an invalid definition keeps its container and its port. If there are ports, users correct such a
//!   definition before the check of the desired state.
//! - The loop of the driver is replaced: the simulation passes effects to the executor like the loop.

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

/// Seeds of a default run.
const SEEDS: u64 = 20_000;
/// Maximum number of collected failures.
const FAILURES_MAX: usize = 5;
/// The end of a long trace is printed, up to this length.
const TRACE_CHARS_MAX: usize = 60_000;

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
            if seed >= end || failed.lock().expect("no holder panics").len() >= FAILURES_MAX {
                return;
            }
            match run(Source::Seed(seed), false) {
                Ok(one) => {
                    let mut sum = totals.lock().expect("no holder panics");
                    sum.operations += one.operations;
                    sum.ends += one.ends;
                }
                Err(report) => {
                    println!("seed {seed}: {}", report.what);
                    failed.lock().expect("no holder panics").push(seed);
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

/// Replays the corpus of cargo-fuzz, which contains each input that violated an invariant.
#[test]
fn no_recorded_run_breaks_the_reconciler() {
    if let Some(path) = std::env::var_os("SIMULATION_INPUT") {
        return replay(Path::new(&path));
    }
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/simulation");
    let entries = std::fs::read_dir(&corpus).expect("the corpus exists");
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
    let steps: Vec<Vec<What>> =
        script.fault_phases.iter().map(|fault_phase| fault_phase.iter().map(|step| step.what).collect()).collect();
    assert_eq!(steps, [vec![What::User], vec![What::Crash]]);
    assert_eq!(script.fault_phases[0][0].delay.as_millis(), 100);
    let classes = [Class::EngineErrors, Class::Hangs, Class::Crashes];
    assert_eq!(script.classes, classes.iter().fold(0, |all, class| all | 1 << *class as u32));
}

fn fail_if_broken(source: Source<'_>, name: &str) {
    let Err(report) = run(source, true) else { return };
    let start = report.trace.len().saturating_sub(TRACE_CHARS_MAX);
    let start = (start..).find(|index| report.trace.is_char_boundary(*index)).unwrap_or(0);
    panic!(
        "{name}: {}\nfaults: {}\n{}\nreplay: {name} cargo test --test simulation",
        report.what,
        report.classes,
        &report.trace[start..]
    );
}
