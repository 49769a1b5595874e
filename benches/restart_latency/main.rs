//! Measurements from the view of operators: latency from a change in the cloud to the new state on the host, downtime
//! of a node, start of a whole app, and costs of the daemon. Raw engine calls and the daemon alternate in one run.
//!
//! `cargo bench --bench restart_latency` needs the engines of `scripts/engines` (see there for the exports) and writes
//! `target/bench-report`. After `--`: letters of experiments, names of engines (`docker`, `podman`, `memory`),
//! `--quick` for the minimum number of rounds, and `--name=...` for the name of the run. Contains its own cloud and
//! node image.

mod compose;
mod daemon;
mod engine;
mod events;
mod fleet;
mod footprint;
mod harness;
mod http;
mod machine;
mod memory;
mod process;
mod proxy;
mod pure;
mod replace;
mod report;
mod restart;
mod row;
mod sample;
mod start;
#[path = "../../tests/support/mod.rs"]
mod support;
#[path = "../world/mod.rs"]
mod world;

use std::time::Instant;

use crate::engine::{Engine, PREFIX};
use crate::fleet::Plan;
use crate::harness::Images;
use crate::row::Row;

/// The arguments of the command line.
struct Arguments {
    letters: Vec<char>,
    engines: Vec<String>,
    is_quick: bool,
    name: String,
}

fn main() {
    // `cargo test` runs benches too, without this flag: there is nothing to test here.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let wanted = Arguments::read(std::env::args().skip(1));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime can be made");
    runtime.block_on(run(&wanted));
}

impl Arguments {
    fn read(arguments: impl Iterator<Item = String>) -> Self {
        let mut wanted = Self { letters: vec![], engines: vec![], is_quick: false, name: "a run".to_owned() };
        for argument in arguments.filter(|argument| argument != "--bench") {
            match argument.as_str() {
                "--quick" => wanted.is_quick = true,
                "docker" | "podman" | "memory" => wanted.engines.push(argument),
                _ if argument.starts_with("--name=") => wanted.name = argument["--name=".len()..].to_owned(),
                letters if letters.chars().all(|letter| ('a'..='i').contains(&letter)) => {
                    wanted.letters.extend(letters.chars());
                }
                other => panic!("{other:?} is neither a letter of an experiment, nor an engine, nor a flag"),
            }
        }
        wanted
    }

    fn wants(&self, letters: &[char]) -> bool {
        self.letters.is_empty() || letters.iter().any(|letter| self.letters.contains(letter))
    }

    fn has(&self, engine: &str) -> bool {
        self.engines.is_empty() || self.engines.iter().any(|wanted| wanted == engine)
    }

    fn rounds(&self, rounds: usize) -> usize {
        if self.is_quick { 1 } else { rounds }
    }

    /// Cycles of the app by number of nodes, so that a run takes a quarter of an hour.
    fn plans(&self) -> Vec<Plan> {
        let plan = |nodes, cycles, adoptions, changes| Plan {
            nodes,
            cycles: self.rounds(cycles),
            adoptions: if nodes == 5 { 0 } else { self.rounds(adoptions) },
            changes: if nodes < 20 { 0 } else { changes },
            with_compose: false,
        };
        vec![plan(1, 9, 3, 0), plan(5, 4, 0, 0), Plan { with_compose: true, ..plan(20, 3, 3, 2) }, plan(50, 2, 2, 3)]
    }
}

async fn run(wanted: &Arguments) {
    let began = Instant::now();
    let engines: Vec<Engine> =
        [Engine::Docker, Engine::Podman].into_iter().filter(|engine| wanted.has(engine.name())).collect();
    let mut versions = Vec::new();
    for engine in &engines {
        engine.sweep(PREFIX).await;
        versions.push((engine.name().to_owned(), engine.version().await));
    }
    let facts = machine::facts(&versions, compose::version());
    let mut rows = Vec::new();
    if wanted.wants(&['h']) {
        done(began, 'h', "the reconciler", &mut rows, pure::run());
    }
    if wanted.has("memory") && wanted.wants(&['a', 'c', 'd', 'e', 'f']) {
        done(began, 'a', "memory", &mut rows, memory::run(wanted.rounds(30)).await);
    }
    if !engines.is_empty() && wanted.wants(&['a', 'b', 'c', 'd', 'e', 'f', 'g', 'i']) {
        on_engines(wanted, &engines, began, &mut rows).await;
    }
    rows.retain(|row| wanted.wants(&[row.experiment]));
    rows.sort_by_key(|row| row.experiment);
    let folder = daemon::report_folder();
    report::write(&folder, &wanted.name, &facts, &rows);
    println!("{:>4} s  report: {}", began.elapsed().as_secs(), folder.join("RESULTS.md").display());
}

async fn on_engines(wanted: &Arguments, engines: &[Engine], began: Instant, rows: &mut Vec<Row>) {
    let images = Images::publish().await;
    for &engine in engines {
        if wanted.wants(&['i']) {
            done(began, 'i', engine.name(), rows, start::run(engine, &images, wanted.rounds(15)).await);
        }
        if wanted.wants(&['a']) {
            done(began, 'a', engine.name(), rows, restart::run(engine, &images, wanted.rounds(20)).await);
        }
        if wanted.wants(&['b']) {
            done(began, 'b', engine.name(), rows, replace::run(engine, &images, wanted.rounds(16)).await);
        }
        if wanted.wants(&['c', 'd', 'e', 'f']) {
            for plan in wanted.plans() {
                done(began, 'c', engine.name(), rows, fleet::run(engine, &images, plan).await);
            }
        }
    }
    if wanted.wants(&['g']) {
        done(began, 'g', "all engines", rows, footprint::run(engines, &images).await);
    }
}

/// Prints the rows of an experiment when it is done.
fn done(began: Instant, experiment: char, on: &str, rows: &mut Vec<Row>, found: Vec<Row>) {
    println!("{:>4} s  {experiment} on {on} is done", began.elapsed().as_secs());
    for row in &found {
        let floor = row.floors.first().map_or(String::new(), |floor| format!(", raw {}", row::figure(floor.median())));
        let verdicts: Vec<String> =
            row.verdicts.iter().map(|v| format!("{} {}", v.text, if v.kept { "ok" } else { "MISSED" })).collect();
        let median = row::figure(row.ours.median());
        println!("        {} {}: {median} {}{floor}; {}", row.experiment, row.case, row.unit, verdicts.join("; "));
    }
    rows.extend(found);
}

/// A variable with the address of an engine or a registry.
fn variable(name: &str) -> String {
    let value = std::env::var(name).ok().filter(|value| !value.is_empty());
    value.unwrap_or_else(|| {
        panic!("{name} is not set; run scripts/bench, or: scripts/engines up && eval \"$(scripts/engines env)\"")
    })
}
