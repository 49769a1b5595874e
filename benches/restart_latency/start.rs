//! i: from the start of the process to its first network call, which is the sign-in.

use std::time::{Duration, Instant};

use crate::daemon::Daemon;
use crate::engine::Engine;
use crate::harness::{Harness, Images};
use crate::row::Row;
use crate::sample::Samples;

const LIMIT: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_micros(200);

/// Starts the program `rounds` times, after a warm-up start.
pub async fn run(engine: Engine, images: &Images, rounds: usize) -> Vec<Row> {
    let harness = Harness::new(engine, images, 0).await;
    let mut first_call = Samples::new("start of the process to the first byte of its first call");
    let mut ready = Samples::new("start of the process to READY, without nodes");
    for round in 0..=rounds {
        harness.proxies[0].clear();
        let mut daemon = Daemon::start(&harness, &[]);
        let spawned = daemon.spawned();
        let called = first_byte(&harness, spawned).await;
        let until_ready = daemon.ready().await - spawned;
        daemon.kill().await;
        if round > 0 {
            first_call.add(called - spawned);
            ready.add(until_ready);
        }
    }
    harness.sweep().await;
    vec![Row::new('i', engine.name(), "first call", first_call).detail(ready)]
}

async fn first_byte(harness: &Harness, spawned: Instant) -> Instant {
    loop {
        if let Some(first) = harness.proxies[0].passed().first() {
            return first.at;
        }
        assert!(spawned.elapsed() < LIMIT, "no call arrived");
        tokio::time::sleep(PAUSE).await;
    }
}
