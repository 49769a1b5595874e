//! The reconciler alone: no engine, no cloud, no clock. One change among few and many nodes, a whole convergence in
//! memory, and engine events without a difference. Run with `cargo bench --bench reconciler`. `restart_latency`
//! measures the same, and `tests/costs` limits the ratios.

use std::hint::black_box;
use std::time::Duration;

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

#[path = "world/mod.rs"]
mod world;

use world::{Changing, SIZES};

fn one_change(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("one_change");
    for size in SIZES {
        let mut changing = Changing::new(size);
        group.bench_with_input(BenchmarkId::from_parameter(size), &size, |bencher, _| {
            bencher.iter(|| changing.change());
        });
    }
    group.finish();
}

fn convergence(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("convergence");
    group.sample_size(10);
    for size in SIZES {
        let app = world::app(size).into();
        group.throughput(Throughput::Elements(size as u64));
        group.bench_with_input(BenchmarkId::from_parameter(size), &size, |bencher, _| {
            let run = |mut reconciler| world::settle(&mut reconciler, world::begin(), &app);
            bencher.iter_batched(world::fresh, run, BatchSize::PerIteration);
        });
    }
    group.finish();
}

fn engine_events(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("engine_events");
    group.throughput(Throughput::Elements(1));
    for size in SIZES {
        let (mut reconciler, _) = world::converged(size);
        group.bench_with_input(BenchmarkId::from_parameter(size), &size, |bencher, _| {
            let on = |engine_event| black_box(reconciler.on(engine_event, Duration::ZERO));
            bencher.iter_batched(|| world::engine_event(0), on, BatchSize::SmallInput);
        });
    }
    group.finish();
}

criterion_group!(benches, one_change, convergence, engine_events);
criterion_main!(benches);
