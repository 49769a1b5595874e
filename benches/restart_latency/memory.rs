//! a, c, d, e and f on the engine in memory, which takes no time: the rest is the daemon and the network. The daemon
//! runs in this process, because the engine does.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use managed_app_fakes::{FakeCloud, InMemoryRuntime};
use managed_app_runtimes::{Action, EventStream, ImageReference};

use crate::row::Row;
use crate::sample::Samples;
use crate::support::{Builder, Host};

const ON: &str = "memory";
const IMAGE: &str = "registry.test/node:1";

/// Runs all experiments.
pub async fn run(rounds: usize) -> Vec<Row> {
    let mut rows = vec![restart(rounds).await];
    for nodes in [1, 20, 50] {
        rows.extend(cycles(nodes, rounds.min(5)).await);
    }
    rows
}

async fn host(nodes: usize) -> Host {
    let engine = InMemoryRuntime::new();
    let image: ImageReference = IMAGE.parse().expect("a reference");
    engine.publish_image(&image, b"node");
    let cloud = FakeCloud::start().await;
    for index in 0..nodes {
        cloud.quietly(|world| world.add_node(&format!("n{index}"), crate::harness::plain_node(IMAGE)));
    }
    Builder::new(cloud, Arc::new(engine)).off()
}

/// a: without a raw call to compare with, because it takes no time.
async fn restart(rounds: usize) -> Row {
    let mut host = host(1).await;
    host.start();
    host.converged().await;
    let mut events = host.engine.events(&host.owner()).await.expect("it responds");
    let mut ours = Samples::new("change in the cloud to `start`, through the daemon");
    for round in 0..rounds {
        host.converged().await;
        host.eventually("it polls", |host| host.cloud.queues.waiting() > 0).await;
        let sent = match round % 2 {
            0 => host.cloud.connect("n0", "elsewhere"),
            _ => host.cloud.disconnect("n0", "elsewhere"),
        };
        let sent = sent.receivable_at.expect("it is not delayed");
        ours.add(last_start(&mut events, 1).await - sent);
    }
    host.stop().await;
    Row::new('a', ON, "change of an edge", ours).median_beyond(15.0)
}

async fn cycles(nodes: usize, rounds: usize) -> Vec<Row> {
    let what = [
        "start of the daemon to the desired state",
        "the same, with all containers there",
        "change in the cloud to the last `start`",
        "SIGTERM to the end of the daemon",
    ];
    let [mut cold, mut warm, mut changed, mut stopped] = what.map(Samples::new);
    for _ in 0..rounds {
        let mut host = host(nodes).await;
        cold.add(until_converged(&mut host).await);
        host.kill().await;
        let before: usize = starts(&host, nodes);
        warm.add(until_converged(&mut host).await);
        assert_eq!(starts(&host, nodes), before, "adoption starts nothing");
        let mut events = host.engine.events(&host.owner()).await.expect("it responds");
        host.eventually("it polls", |host| host.cloud.queues.waiting() > 0).await;
        let sent = host.cloud.set_app_config(r#"{"change":1}"#).receivable_at.expect("it is not delayed");
        changed.add(last_start(&mut events, nodes).await - sent);
        host.converged().await;
        let began = Instant::now();
        host.stop().await;
        stopped.add(began.elapsed());
    }
    let case = if nodes == 1 { "1 node".to_owned() } else { format!("{nodes} nodes") };
    let figures = [('c', cold), ('d', warm), ('e', changed), ('f', stopped)];
    figures.into_iter().map(|(experiment, ours)| Row::new(experiment, ON, &case, ours)).collect()
}

async fn until_converged(host: &mut Host) -> Duration {
    let began = Instant::now();
    host.start();
    host.converged().await;
    began.elapsed()
}

fn starts(host: &Host, nodes: usize) -> usize {
    (0..nodes).map(|index| host.journal.starts(&format!("n{index}"))).sum()
}

/// Time of the event of the last of `count` starts; this engine sends events at once.
async fn last_start(events: &mut EventStream, count: usize) -> Instant {
    for _ in 0..count {
        while events.next().await.expect("the stream is open").expect("it has no error").action != Action::Started {}
    }
    Instant::now()
}
