//! c to f: a whole app from nothing to READY, adoption by the next daemon, a change of all nodes, and the stop; each
//! compared with concurrent raw calls for the same number of containers.

use std::time::{Duration, Instant};

use futures_util::future::join_all;

use crate::compose;
use crate::daemon::Daemon;
use crate::engine::{Engine, Spec};
use crate::events::{self, Events};
use crate::harness::{Harness, Images};
use crate::row::Row;
use crate::sample::Samples;

/// The measurements for a number of nodes.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// Number of nodes.
    pub nodes: usize,
    /// Full cycles of the app.
    pub cycles: usize,
    /// Adoptions per cycle.
    pub adoptions: usize,
    /// Changes of all nodes per cycle.
    pub changes: usize,
    /// Whether each cycle also starts a compose file of the same services.
    pub with_compose: bool,
}

/// All results for one number of nodes.
struct Figures {
    cold: Samples,
    cold_beyond: Samples,
    cold_to_create: Samples,
    cold_floor: Samples,
    pull_floor: Samples,
    compose: Samples,
    warm: Samples,
    warm_beyond: Samples,
    warm_starts: Samples,
    changed: Samples,
    changed_floor: Samples,
    stopped: Samples,
    stopped_floor: Samples,
}

/// Runs all cycles for one number of nodes.
pub async fn run(engine: Engine, images: &Images, plan: Plan) -> Vec<Row> {
    let mut figures = Figures::new();
    let events = Events::follow(engine).await;
    for cycle in 0..plan.cycles {
        // The order alternates, because the first one may have cold caches.
        for is_raw in [cycle % 2 == 0, cycle % 2 == 1] {
            let harness = Harness::new(engine, images, plan.nodes).await;
            events.clear();
            if is_raw {
                raw_cycle(&harness, &events, plan, &mut figures).await;
            } else {
                daemon_cycle(&harness, &events, plan, &mut figures).await;
            }
            harness.sweep().await;
        }
        if plan.with_compose && compose::is_installed() {
            figures.compose.add(compose::up(engine, images, plan.nodes).await);
        }
    }
    figures.rows(engine, plan.nodes)
}

async fn raw_cycle(harness: &Harness, events: &Events, plan: Plan, figures: &mut Figures) {
    let engine = harness.engine;
    let specs: Vec<Spec> = (0..plan.nodes).map(|index| harness.raw(&format!("n{index}"))).collect();
    engine.make_network(&specs[0].network).await;
    let began = Instant::now();
    engine.pull(&harness.images.0[0]).await;
    figures.pull_floor.add(began.elapsed());
    let began = Instant::now();
    let up = async |spec: &Spec| {
        let id = engine.create(spec).await;
        engine.start(&id).await;
        id
    };
    let ids = join_all(specs.iter().map(up)).await;
    figures.cold_floor.add(began.elapsed());
    for _ in 0..plan.changes {
        let asked = events::now();
        join_all(ids.iter().map(|id| engine.restart(id))).await;
        let is_ours = |seen: &events::EngineEvent| seen.action == "start" && ids.contains(&seen.container);
        let starts = events.wait("raw restarts", asked, plan.nodes, is_ours).await;
        figures.changed_floor.values.push(starts[plan.nodes - 1].at - asked);
    }
    let began = Instant::now();
    join_all(ids.iter().map(|id| engine.stop(id))).await;
    figures.stopped_floor.add(began.elapsed());
}

async fn daemon_cycle(harness: &Harness, events: &Events, plan: Plan, figures: &mut Figures) {
    let mut daemon = Daemon::start(harness, &[]);
    let spawned = daemon.spawned();
    let whole = daemon.ready().await - spawned;
    figures.cold.add(whole);
    figures.cold_beyond.add(whole.saturating_sub(cloud_time(harness)));
    let spawned_at = events::at(spawned);
    let is_create = |seen: &events::EngineEvent| seen.action == "create" && seen.name.starts_with(&harness.tag);
    let first = events.first("the first create", spawned_at, is_create).await;
    figures.cold_to_create.values.push(first.at - spawned_at);
    harness.quiet(&daemon).await;
    for _ in 0..plan.adoptions {
        daemon.kill().await;
        daemon = adopt(harness, events, figures).await;
    }
    for change in 0..plan.changes {
        let sent = harness.cloud.set_app_config(&format!(r#"{{"change":{change}}}"#));
        let changed = events::at(sent.receivable_at.expect("it is not delayed"));
        figures.changed.values.push(harness.last_start(events, changed, plan.nodes).await - changed);
        harness.quiet(&daemon).await;
    }
    figures.stopped.add(daemon.terminate().await);
}

/// A new daemon adopts all containers.
async fn adopt(harness: &Harness, events: &Events, figures: &mut Figures) -> Daemon {
    harness.proxies.iter().for_each(crate::proxy::Proxy::clear);
    let mut daemon = Daemon::start(harness, &[]);
    let spawned = daemon.spawned();
    let ready = daemon.ready().await;
    let whole = ready - spawned;
    figures.warm.add(whole);
    figures.warm_beyond.add(whole.saturating_sub(cloud_time(harness)));
    harness.quiet(&daemon).await;
    let after = events::at(spawned);
    let starts = events.since(after, |seen| seen.action == "start" && seen.name.starts_with(&harness.tag));
    figures.warm_starts.values.push(starts.len() as f64);
    daemon
}

/// Duration of the sign-in and the snapshot, since the proxies were cleared.
fn cloud_time(harness: &Harness) -> Duration {
    let exchanges =
        harness.proxies[..2].iter().map(|proxy| proxy.first_exchange().expect("it signs in and reads the app"));
    let [sign_in, snapshot] = exchanges.collect::<Vec<_>>().try_into().expect("there are two");
    sign_in_time(harness, sign_in, snapshot.0) + (snapshot.1 - snapshot.0)
}

/// From the first byte of the sign-in to its last one before the read of the app.
fn sign_in_time(harness: &Harness, first: (Instant, Instant), reading: Instant) -> Duration {
    let passed = harness.proxies[0].passed();
    let last = passed.iter().rfind(|passed| !passed.to_cloud && passed.at < reading);
    last.map_or(first.1, |passed| passed.at) - first.0
}

impl Figures {
    fn new() -> Self {
        Self {
            cold: Samples::new("start of the process to READY"),
            cold_beyond: Samples::new("the same without sign-in and snapshot"),
            cold_to_create: Samples::new("of that, until the first create"),
            cold_floor: Samples::new("raw create + start, all at once"),
            pull_floor: Samples::new("raw pull of an image that is there"),
            compose: Samples::new("compose up -d of as many services"),
            warm: Samples::new("start of the process to READY"),
            warm_beyond: Samples::new("the same without sign-in and snapshot"),
            warm_starts: Samples::new("containers started"),
            changed: Samples::new("change in the cloud to the last `start`"),
            changed_floor: Samples::new("raw restarts, all at once, to the last `start`"),
            stopped: Samples::new("SIGTERM to the end of the process"),
            stopped_floor: Samples::new("raw stops, all at once"),
        }
    }

    fn rows(self, engine: Engine, nodes: usize) -> Vec<Row> {
        let case = if nodes == 1 { "1 node".to_owned() } else { format!("{nodes} nodes") };
        let row = |experiment, ours| Row::new(experiment, engine.name(), &case, ours);
        let mut cold = row('c', self.cold).floor(self.cold_floor).median_ratio(1.20);
        let ratio = self.cold_beyond.median() / cold.floors[0].median();
        cold = cold.judged(format!("without sign-in and snapshot {ratio:.3} x, budget 1.20 x"), ratio <= 1.20);
        if !self.compose.values.is_empty() {
            let is_slower = cold.ours.median() > self.compose.median();
            let text = format!("{:.2} x compose, budget 1.00 x", cold.ours.median() / self.compose.median());
            cold = cold.floor(self.compose).judged(text, !is_slower);
        }
        let mut rows = vec![cold.detail(self.cold_beyond).detail(self.cold_to_create).detail(self.pull_floor)];
        if !self.warm.values.is_empty() {
            let restarts = self.warm_starts.max();
            let mut warm = row('d', self.warm_beyond).detail(self.warm);
            if nodes == 20 {
                warm = warm.at_most(150.0);
            }
            rows.push(warm.judged(format!("{restarts} restarts, budget 0"), restarts == 0.0));
        }
        if !self.changed.values.is_empty() && nodes > 1 {
            rows.push(row('e', self.changed).floor(self.changed_floor).median_ratio(1.10));
        }
        if nodes > 1 {
            rows.push(row('f', self.stopped).floor(self.stopped_floor));
        }
        rows
    }
}
