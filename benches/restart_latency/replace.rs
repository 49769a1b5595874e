//! b: from a change of the definition or image of a node to the new container, and the downtime; compared with a raw
//! stop and start of a prepared container, and with a simple sequence of stop, remove, create, start.

use managed_app_fakes::cloud::commands::Mount;

use crate::daemon::Daemon;
use crate::engine::{Engine, Spec};
use crate::events::{self, Events};
use crate::harness::{Harness, Images, TYPE};
use crate::row::Row;
use crate::sample::Samples;

/// The replacement window; shorter than the default, which saves time and does not affect the measured times.
const WINDOW: &str = "500ms";

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Definition,
    Image,
}

/// Time from the call or change to the start of the container, and the downtime.
struct Times {
    until_start: f64,
    downtime: f64,
}

struct Sets {
    until_start: Samples,
    downtime: Samples,
}

/// Runs `rounds` rounds of each, after a warm-up round.
pub async fn run(engine: Engine, images: &Images, rounds: usize) -> Vec<Row> {
    let harness = Harness::new(engine, images, 1).await;
    let mut daemon = Daemon::start(&harness, &[("MANAGED_APP_REPLACE_WINDOW", WINDOW)]);
    daemon.ready().await;
    let events = Events::follow(engine).await;
    let mut prepared = sets("raw stop + start of a prepared container");
    let mut naive = sets("raw stop + remove + create + start");
    let mut replaced = [sets("definition changed"), sets("image changed")];
    let naive_spec = alone(&harness, "naive", "naive");
    let prepared_spec = |round: usize| alone(&harness, "prepared", &format!("p{round}"));
    engine.make_network(&naive_spec.network).await;
    engine.make_network(&prepared_spec(0).network).await;
    let mut naive_id = up(engine, &naive_spec).await;
    let mut prepared_id = up(engine, &prepared_spec(0)).await;
    for round in 0..=rounds {
        let next = engine.create(&prepared_spec(round + 1)).await;
        harness.quiet(&daemon).await;
        put(&mut prepared, round, swap(&events, engine, &prepared_id, &next).await);
        engine.remove(&prepared_id).await;
        prepared_id = next;
        for (kind, samples) in [Kind::Definition, Kind::Image].into_iter().zip(&mut replaced) {
            harness.quiet(&daemon).await;
            put(samples, round, change(&harness, &events, kind, round).await);
        }
        harness.quiet(&daemon).await;
        let (id, times) = start_over(&events, engine, &naive_id, &naive_spec).await;
        naive_id = id;
        put(&mut naive, round, times);
    }
    daemon.terminate().await;
    harness.sweep().await;
    rows(engine, &prepared, &naive, replaced)
}

/// A raw container like that of the node: with a directory of the host, and as the only running container on its
/// network. Podman removes the bridge and the name server of a network with its last container and creates them again
/// with the next one, which takes as long as everything else.
fn alone(harness: &Harness, network: &str, name: &str) -> Spec {
    let spec = harness.raw(name);
    Spec { network: format!("{}-{network}", spec.network), mount: Some("/first"), ..spec }
}

fn rows(engine: Engine, prepared: &Sets, naive: &Sets, replaced: [Sets; 2]) -> Vec<Row> {
    let of = |case: &str, sets: Sets| {
        let row = Row::new('b', engine.name(), &format!("{case}: downtime"), sets.downtime);
        let down = row.floor(prepared.downtime.clone()).floor(naive.downtime.clone()).median_ratio(1.05);
        let row = Row::new('b', engine.name(), &format!("{case}: until started"), sets.until_start);
        [down, row.floor(prepared.until_start.clone()).floor(naive.until_start.clone())]
    };
    let [definition, image] = replaced;
    of("definition", definition).into_iter().chain(of("image", image)).collect()
}

fn sets(what: &str) -> Sets {
    Sets { until_start: Samples::new(what), downtime: Samples::new(what) }
}

fn put(sets: &mut Sets, round: usize, times: Times) {
    if round > 0 {
        sets.until_start.values.push(times.until_start);
        sets.downtime.values.push(times.downtime);
    }
}

async fn up(engine: Engine, spec: &Spec) -> String {
    let id = engine.create(spec).await;
    engine.start(&id).await;
    id
}

async fn swap(events: &Events, engine: Engine, old: &str, next: &str) -> Times {
    let asked = events::now();
    engine.stop(old).await;
    engine.start(next).await;
    times(events, asked, old, next).await
}

async fn start_over(events: &Events, engine: Engine, old: &str, spec: &Spec) -> (String, Times) {
    let asked = events::now();
    engine.stop(old).await;
    engine.remove(old).await;
    let next = up(engine, spec).await;
    let times = times(events, asked, old, &next).await;
    (next, times)
}

async fn times(events: &Events, asked: f64, old: &str, next: &str) -> Times {
    let death = events.first("the end of the old one", asked, |seen| seen.action == "die" && seen.container == old);
    let death = death.await.at;
    let start =
        events.first("the start of the new one", asked, |seen| seen.action == "start" && seen.container == next);
    let start = start.await.at;
    Times { until_start: start - asked, downtime: start - death }
}

async fn change(harness: &Harness, events: &Events, kind: Kind, round: usize) -> Times {
    let node = harness.node(0);
    let sent = match kind {
        // The same directory of the host at another mount target: two definitions with the same cost for the engine.
        Kind::Definition => {
            let target = ["/first", "/second"][round % 2];
            harness.cloud.change_mounts(&node, vec![Mount::new("/usr/share", target)])
        }
        Kind::Image => harness.cloud.set_image(TYPE, &harness.images.0[(round + 1) % 2]),
    };
    let changed = events::at(sent.receivable_at.expect("it is not delayed"));
    let of_node = |seen: &events::EngineEvent| seen.name.starts_with(&node);
    let death = events.first("the end of the old one", changed, |seen| seen.action == "die" && of_node(seen)).await;
    let is_next =
        |seen: &events::EngineEvent| seen.action == "start" && of_node(seen) && seen.container != death.container;
    let start = events.first("the start of the new one", changed, is_next).await;
    let is_gone = |seen: &events::EngineEvent| seen.action == "destroy" && seen.container == death.container;
    events.first("the end of the replacement", changed, is_gone).await;
    Times { until_start: start.at - changed, downtime: start.at - death.at }
}
