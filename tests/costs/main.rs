//! Costs of the reconciler, as ratios: many nodes to few, and an event to a fixed piece of work. There are no absolute
//! times, and only processor time is compared, so a busy or slow machine has no effect. A regression by a factor fails.
//! Costs of the daemon, as numbers of engine calls: `calls.rs`.
//!
//! Each value is the best of several runs. The world is that of the benches, which print absolute values.

use std::hint::black_box;
use std::time::Duration;

use cpu_time::ThreadTime;
use managed_app_runtimes::names;

mod calls;
#[allow(dead_code, reason = "shared with tests/lifecycle")]
#[path = "../lifecycle/harness.rs"]
mod harness;
#[path = "../support/mod.rs"]
mod support;
#[path = "../../benches/world/mod.rs"]
mod world;

const FEW: usize = 10;
const MANY: usize = 3_000;
/// Number of runs; the best counts.
const RUNS: usize = 30;

/// A loop over all nodes would cost a hundred times as much.
#[test]
fn a_change_costs_the_same_among_many_nodes() {
    within("change", change(MANY) / change(FEW), 4.0);
}

#[test]
fn an_engine_event_costs_the_same_among_many_nodes() {
    within("engine event", engine_event(MANY) / engine_event(FEW), 4.0);
}

#[test]
fn a_convergence_costs_the_same_per_node_with_many_nodes() {
    let for_each_node = |size: usize, runs| best(runs, || converge(size)) / size as f64;
    within("convergence", for_each_node(MANY, 3) / for_each_node(FEW, RUNS), 5.0);
}

#[test]
fn a_change_and_an_engine_event_have_a_bounded_cost() {
    let one_name = best(RUNS, || (0..100).for_each(|_| drop(black_box(names::container_name("a: digested"))))) / 100.0;
    within("change in names", change(FEW) / one_name, CHANGE_IN_NAMES_MAX);
    within("engine event in names", engine_event(FEW) / one_name, EVENT_IN_NAMES_MAX);
}

/// At least three times the measured values (8 to 13, and 0.21) of a test build.
const CHANGE_IN_NAMES_MAX: f64 = 40.0;
const EVENT_IN_NAMES_MAX: f64 = 1.0;

fn within(what: &str, ratio: f64, limit: f64) {
    println!("{what}: {ratio:.2}, limit {limit}");
    assert!(ratio < limit, "{what}: {ratio:.2}, limit {limit}");
}

/// The shortest of some runs, seconds of processor time.
fn best(runs: usize, mut work: impl FnMut()) -> f64 {
    let time = |_| {
        let began = ThreadTime::now();
        work();
        began.elapsed().as_secs_f64()
    };
    (0..runs).map(time).fold(f64::INFINITY, f64::min)
}

fn change(size: usize) -> f64 {
    let mut changing = world::Changing::new(size);
    best(RUNS, || (0..10).for_each(|_| changing.change())) / 10.0
}

fn engine_event(size: usize) -> f64 {
    let (mut reconciler, _) = world::converged(size);
    let mut send =
        || (0..100).for_each(|index| drop(black_box(reconciler.on(world::engine_event(index % size), Duration::ZERO))));
    best(RUNS, &mut send) / 100.0
}

fn converge(size: usize) {
    let app = world::app(size).into();
    assert_eq!(world::settle(&mut world::fresh(), world::begin(), &app), size);
}
