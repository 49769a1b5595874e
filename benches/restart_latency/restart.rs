//! a: from a change of an edge to the `start` event of the engine, compared with a raw restart on the same engine.

use crate::daemon::Daemon;
use crate::engine::Engine;
use crate::events::{self, Events};
use crate::harness::{Harness, Images};
use crate::row::Row;
use crate::sample::Samples;

/// Runs `rounds` rounds of both, after a warm-up round.
pub async fn run(engine: Engine, images: &Images, rounds: usize) -> Vec<Row> {
    let harness = Harness::new(engine, images, 1).await;
    let raw = harness.raw("a");
    engine.make_network(&raw.network).await;
    let id = engine.create(&raw).await;
    engine.start(&id).await;
    let mut daemon = Daemon::start(&harness, &[]);
    daemon.ready().await;
    let events = Events::follow(engine).await;
    let mut ours = Samples::new("change in the cloud to `start`, through the daemon");
    let mut floor = Samples::new("raw restart call to `start`");
    let mut whole = Samples::new("raw restart call to its response");
    for round in 0..=rounds {
        // The order alternates, because the first one may have cold caches.
        for is_raw in [round % 2 == 0, round % 2 == 1] {
            harness.quiet(&daemon).await;
            events.clear();
            if is_raw {
                let (start, answer) = raw_restart(engine, &events, &id).await;
                floor.values.push(start);
                whole.values.push(answer);
            } else {
                ours.values.push(through_the_daemon(&harness, &events, round).await);
            }
        }
    }
    for samples in [&mut ours, &mut floor, &mut whole] {
        samples.values.remove(0);
    }
    daemon.terminate().await;
    harness.sweep().await;
    let row = Row::new('a', engine.name(), "change of an edge", ours).floor(floor).detail(whole);
    vec![row.median_ratio(1.05).median_beyond(15.0).p95_ratio(1.15)]
}

async fn raw_restart(engine: Engine, events: &Events, id: &str) -> (f64, f64) {
    let asked = events::now();
    engine.restart(id).await;
    let answered = events::now();
    let start = events.first("the raw restart", asked, |seen| seen.action == "start" && seen.container == id).await;
    (start.at - asked, answered - asked)
}

/// The other end of the edge is a node elsewhere in the tenant, so that one container restarts.
async fn through_the_daemon(harness: &Harness, events: &Events, round: usize) -> f64 {
    let node = harness.node(0);
    let sent = match round % 2 {
        0 => harness.cloud.connect(&node, "elsewhere"),
        _ => harness.cloud.disconnect(&node, "elsewhere"),
    };
    let changed = events::at(sent.receivable_at.expect("it is not delayed"));
    let start = events.first("the restart", changed, |seen| seen.action == "start" && seen.name == node).await;
    start.at - changed
}
