//! Costs of log shipping: lines per second, processor time for a million lines, and memory while CloudWatch is
//! unavailable, with 1, 10 and 100 nodes; and the lag of nodes while one of them writes 100,000 lines per second.
//! `cargo bench --bench logs`; needs no engine and no network.
//!
//! Three variants alternate in one run with the same million lines: *discard* reads and drops them; *batch* joins them
//! to events and batches; *ship* is the whole shipper (read, join, batch, serialize, sign, send over TCP, save the
//! position). Processor time is that of the thread of this work; the receiver and the writer of cursors have their own
//! threads.

mod flood;
mod measure;
mod sink;
mod synthetic_engine;

use std::collections::BTreeMap;
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use futures_util::StreamExt;
use managed_app::cloud::{Aws, AwsOptions};
use managed_app::logs::{BATCH_BYTES_MAX, Batcher, Joiner, Shipper, ShipperOptions};
use managed_app::model::{App, Tenant};
use managed_app::status::Numbers;
use managed_app_runtimes::Owner;
use managed_app_runtimes::conformance::host_engine;
use tokio::sync::watch;

use crate::measure::{Cost, measured, resident};
use crate::sink::Sink;
use crate::synthetic_engine::SyntheticEngine;

const NODES: [u64; 3] = [1, 10, 100];
/// Lines of all nodes together.
const LINES: u64 = 1_000_000;
/// Measurements per variant; the median counts.
const ROUNDS: usize = 5;
/// Duration of an outage.
const OUTAGE: Duration = Duration::from_secs(20);
/// Lines of a node without an end.
const ENDLESS: u64 = 1 << 30;

fn main() {
    // `cargo test` runs benches too, without this flag: there is nothing to test here.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    rustls::crypto::ring::default_provider().install_default().expect("nothing else installs one");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime can be made");
    runtime.block_on(async {
        let sink = Sink::start();
        // First, because the process keeps memory that it used once.
        outages(&sink).await;
        throughput(&sink).await;
        flood::flood(&sink).await;
    });
}

async fn throughput(sink: &Sink) {
    println!(
        "| nodes | way | lines a second | CPU seconds a million lines | times discard |\n| --- | --- | --- | --- | --- |"
    );
    for nodes in NODES {
        let synthetic_engine = SyntheticEngine::new(nodes, LINES / nodes);
        let mut costs: BTreeMap<&str, Vec<Cost>> = BTreeMap::new();
        for _ in 0..ROUNDS {
            costs.entry("1 discard").or_default().push(measured(discard(&synthetic_engine)).await);
            costs.entry("2 batch").or_default().push(measured(batch(&synthetic_engine)).await);
            costs.entry("3 ship").or_default().push(measured(ship(&synthetic_engine, sink)).await);
        }
        let floor = median(&costs["1 discard"]).cpu;
        for (way, costs) in &costs {
            let cost = median(costs);
            let rate = LINES as f64 / cost.wall.as_secs_f64();
            let ratio = cost.cpu.as_secs_f64() / floor.as_secs_f64();
            println!("| {nodes} | {} | {rate:.0} | {:.3} | {ratio:.1} |", &way[2..], cost.cpu.as_secs_f64());
        }
    }
    println!("\n{} requests with {} MB of bodies were sent.\n", sink.requests(), sink.bytes() / 1_000_000);
}

/// By processor time, because other work of the machine affects wall time.
fn median(costs: &[Cost]) -> Cost {
    let mut costs = costs.to_vec();
    costs.sort_by_key(|cost| cost.cpu);
    costs[costs.len() / 2]
}

async fn discard(synthetic_engine: &SyntheticEngine) {
    let mut bytes = 0;
    for mut stream in synthetic_engine.streams() {
        while let Some(Ok(chunk)) = stream.next().await {
            bytes += black_box(chunk).bytes.len();
        }
    }
    black_box(bytes);
}

async fn batch(synthetic_engine: &SyntheticEngine) {
    let mut lines = 0;
    for mut stream in synthetic_engine.streams() {
        let (mut joiner, mut batcher) = (Joiner::new(()), Batcher::new(BATCH_BYTES_MAX));
        while let Some(Ok(chunk)) = stream.next().await {
            let at_ms = i64::try_from(chunk.at.unix_timestamp_nanos() / 1_000_000).expect("it is now");
            joiner.push(at_ms, chunk.source, &chunk.bytes, ());
            while let Some(event) = joiner.pop() {
                batcher.push(event, at_ms).expect("it is not old");
            }
            while let Some(full) = batcher.pop_full() {
                lines += black_box(full).volume().lines;
            }
        }
        joiner.flush();
        while let Some(event) = joiner.pop() {
            let at_ms = event.at_ms;
            batcher.push(event, at_ms).expect("it is not old");
        }
        while let Some(rest) = batcher.pop() {
            lines += black_box(rest).volume().lines;
        }
    }
    assert_eq!(lines, LINES);
}

/// A running shipper, until it is dropped.
struct Shipping {
    numbers: Numbers,
    task: tokio::task::JoinHandle<()>,
    _state: tempfile::TempDir,
}

impl Shipping {
    fn start(synthetic_engine: &SyntheticEngine, sink: &Sink) -> Self {
        let state = tempfile::tempdir().expect("a folder");
        let keys = Credentials::new("AKIABENCH", "secret", None, None, "bench");
        let aws = Arc::new(Aws::new(AwsOptions {
            endpoint_url: Some(sink.url.clone()),
            host_credentials: Some(SharedCredentialsProvider::new(keys)),
            ..AwsOptions::default()
        }));
        let (handle, requests) = managed_app::logs::Shipping::new();
        let owner = Owner { app: "app".to_owned(), tenant: "tenant".to_owned(), host: "host".to_owned() };
        let engine = Arc::new(host_engine(Arc::new(synthetic_engine.clone()), owner, Duration::ZERO));
        let shipper =
            Shipper::new(ShipperOptions { engine, aws, group: "group", state_directory: state.path() }, requests);
        let containers = synthetic_engine.instances();
        let task = tokio::spawn(async move {
            // The senders must live as long as the shipper.
            let app = watch::Sender::new(Some(Arc::new(app())));
            let containers = watch::Sender::new(Some(containers));
            shipper.run(app.subscribe(), containers.subscribe()).await;
        });
        Self { numbers: handle.numbers(), task, _state: state }
    }

    fn shipped(&self) -> u64 {
        self.numbers.snapshot().values().map(|numbers| numbers.shipped.lines).sum()
    }
}

impl Drop for Shipping {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn ship(synthetic_engine: &SyntheticEngine, sink: &Sink) {
    let shipping = Shipping::start(synthetic_engine, sink);
    let end = Instant::now() + Duration::from_secs(300);
    while shipping.shipped() < LINES {
        assert!(Instant::now() < end, "only {} lines are shipped", shipping.shipped());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Nodes that write as fast as they are read, and an unavailable CloudWatch. Memory is relative to that before the
/// first.
async fn outages(sink: &Sink) {
    println!(
        "| nodes | lines read in an outage of {} s | most memory on top, MiB |\n| --- | --- | --- |",
        OUTAGE.as_secs()
    );
    sink.set_away(true);
    let before = resident();
    for nodes in NODES {
        let shipping = Shipping::start(&SyntheticEngine::new(nodes, ENDLESS), sink);
        let (end, mut most) = (Instant::now() + OUTAGE, 0);
        while Instant::now() < end {
            tokio::time::sleep(Duration::from_millis(20)).await;
            most = most.max(resident());
        }
        assert_eq!(shipping.shipped(), 0);
        let read: u64 = shipping.numbers.snapshot().values().map(|numbers| numbers.read.lines).sum();
        println!("| {nodes} | {read} | {} |", most.saturating_sub(before) / (1024 * 1024));
    }
    sink.set_away(false);
    println!();
}

fn app() -> App {
    let tenant = Tenant {
        name: "tenant".to_owned(),
        region: "us-east-1".to_owned(),
        config: None,
        audit: false,
        table: "table".to_owned(),
    };
    App {
        name: "app".to_owned(),
        tenant,
        config: None,
        table_access: false,
        audit_records_endpoint: None,
        change_receiver: None,
        nodes: BTreeMap::new(),
        invalid_nodes: BTreeMap::new(),
        is_complete: true,
    }
}
