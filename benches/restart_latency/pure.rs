//! h: the reconciler alone, on the world of `benches/world`: events per second, one change among few and many nodes,
//! and a whole convergence. `cargo bench --bench reconciler` measures the same with more statistics.

use std::hint::black_box;
use std::time::{Duration, Instant};

use crate::row::Row;
use crate::sample::{Samples, milliseconds};
use crate::world::{self, Changing};

const ON: &str = "reconciler";
const ROUNDS: usize = 30;
/// Few enough to stay in the cache, unlike the nodes: in the daemon, events arrive one by one.
const EVENTS_PER_ROUND: usize = 1_000;
const CHANGES_PER_ROUND: usize = 200;
const CONVERGENCES: usize = 5;

/// Runs all experiments.
pub fn run() -> Vec<Row> {
    let changes = world::SIZES.map(|size| (size, change(size)));
    let smallest = changes[0].1.clone();
    let of_change = |(size, ours): (usize, Samples)| {
        let row = Row::new('h', ON, &format!("one change at {size} nodes"), ours).unit("µs").floor(smallest.clone());
        if size == 10_000 { row.median_ratio(2.0) } else { row }
    };
    let rows = changes.into_iter().map(of_change);
    let rows = rows.chain(world::SIZES.map(|size| {
        let row = Row::new('h', ON, &format!("engine events at {size} nodes"), engine_events(size)).unit("events/s");
        if size == 10_000 { row.at_least(1e6) } else { row }
    }));
    let rows = rows.chain(world::SIZES.map(|size| {
        let row = Row::new('h', ON, &format!("convergence of {size} nodes"), convergence(size));
        if size == 10_000 { row.at_most(2_000.0) } else { row }
    }));
    rows.collect()
}

/// Microseconds from the message to the recorded restart.
fn change(size: usize) -> Samples {
    let mut changing = Changing::new(size);
    let mut samples = Samples::new("one change of an edge, all its events");
    for _ in 0..ROUNDS {
        let began = Instant::now();
        (0..CHANGES_PER_ROUND).for_each(|_| changing.change());
        samples.values.push(milliseconds(began.elapsed()) * 1e3 / CHANGES_PER_ROUND as f64);
    }
    samples
}

fn engine_events(size: usize) -> Samples {
    let (mut reconciler, _) = world::converged(size);
    let mut samples = Samples::new("engine events without a difference");
    for round in 0..ROUNDS * 10 {
        let first = round * EVENTS_PER_ROUND;
        let engine_events: Vec<_> =
            (first..first + EVENTS_PER_ROUND).map(|index| world::engine_event(index % size)).collect();
        let began = Instant::now();
        for engine_event in engine_events {
            black_box(reconciler.on(engine_event, Duration::ZERO));
        }
        samples.values.push(EVENTS_PER_ROUND as f64 / began.elapsed().as_secs_f64());
    }
    samples
}

fn convergence(size: usize) -> Samples {
    let mut samples = Samples::new("from nothing to the desired state");
    for _ in 0..CONVERGENCES {
        let (mut reconciler, app) = (world::fresh(), world::app(size).into());
        let began = Instant::now();
        assert_eq!(world::settle(&mut reconciler, world::begin(), &app), size);
        samples.add(began.elapsed());
    }
    samples
}
