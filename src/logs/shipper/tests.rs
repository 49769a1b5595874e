//! Tests of the shipper with the in-memory engine and the fake CloudWatch. Time is paused, so hours pass in seconds.

use std::collections::HashSet;
use std::time::Duration;

use managed_app_fakes::faulty::Verb;
use managed_app_fakes::{FakeCloud, Faulty, InMemoryRuntime};
use managed_app_runtimes::{ContainerSpec, ImageReference, LogSettings, LogSource};
use tokio::time::sleep;

use super::*;
use crate::cloud::testing::{aws, eventually};
use crate::logs::event::Volume;
use crate::logs::numbers::NodeNumbers;
use crate::model::Tenant;

const REGION: &str = "us-east-1";
const GROUP: &str = "/plant";
/// Lines that the in-memory engine keeps of a container.
const KEPT: usize = 50_000;
/// Lines that the node writes per minute of the outage.
const LINES: usize = 500;
const MINUTES: usize = 180;
/// Limit for the remaining output after the end of the outage, on a busy machine.
const LIMIT: Duration = Duration::from_secs(60);
/// Three batches, and output that was read for the next one.
const MEMORY_BYTES_MAX: u64 = 4 * 1_048_576;

struct Harness {
    cloud: FakeCloud,
    engine: InMemoryRuntime,
    handle: Shipping,
    task: tokio::task::JoinHandle<()>,
    _state: tempfile::TempDir,
}

impl Harness {
    /// Starts one node and the shipper.
    async fn new() -> Self {
        let (cloud, engine) = (FakeCloud::start().await, InMemoryRuntime::new());
        let owner = Owner { app: "app".to_owned(), tenant: "tenant".to_owned(), host: "host".to_owned() };
        cloud.cloudwatch.create_group(REGION, &names::log_group(GROUP, "a"));
        run(&engine, &owner).await;
        let state = tempfile::tempdir().expect("a folder");
        let (shipper, handle) = Shipper::new(ShipperOptions {
            runtime: Arc::new(engine.clone()),
            owner,
            aws: aws(&cloud),
            group: GROUP,
            state_directory: state.path(),
        });
        let task = tokio::spawn(async move {
            // The sender must live as long as the shipper.
            let app = watch::Sender::new(Some(Arc::new(app())));
            shipper.run(app.subscribe()).await;
        });
        Self { cloud, engine, handle, task, _state: state }
    }

    fn print(&self, numbers: std::ops::Range<usize>) {
        let text: String = numbers.map(|number| format!("[INFO] number {number} {:>60}\n", "")).collect();
        self.engine.write("node-a", LogSource::Stdout, text.into_bytes()).expect("the node runs");
    }

    fn numbers(&self) -> NodeNumbers {
        self.handle.numbers().snapshot().into_values().next().unwrap_or_default()
    }

    fn arrived(&self) -> Vec<usize> {
        let events = self.cloud.cloudwatch.streams_with_events(REGION, &names::log_group(GROUP, "a"));
        let texts = events.into_iter().flat_map(|(_, events)| events).map(|event| event.message);
        texts.map(|text| text.split(' ').nth(2).and_then(|word| word.parse().ok()).expect("a number")).collect()
    }
}

impl Drop for Harness {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn run(engine: &InMemoryRuntime, owner: &Owner) {
    let image: ImageReference = "registry.test/node:1".parse().expect("a valid reference");
    engine.publish_image(&image, b"1");
    engine.pull(&image, None, &|_| ()).await.expect("it is published");
    engine.ensure_network("app", owner).await.expect("a network");
    let mut spec = ContainerSpec {
        name: "node-a".to_owned(),
        hostname: "node-a".to_owned(),
        image,
        env: Default::default(),
        labels: owner.labels(),
        network: "app".to_owned(),
        aliases: [].into(),
        ports: vec![],
        mounts: vec![],
        logs: LogSettings::Engine { file_bytes_max: 10 << 20, files_max: 5 },
        hardening: Default::default(),
        stop_grace: Duration::from_secs(30),
    };
    spec.labels.insert(labels::NODE.to_owned(), "a".to_owned());
    spec.labels.insert(labels::SPEC.to_owned(), SpecRecord::new(&spec, "salt").to_label());
    let id = engine.create(&spec).await.expect("it can be created");
    engine.start(&id).await.expect("it can be started");
}

fn app() -> App {
    App {
        name: "app".to_owned(),
        tenant: Tenant {
            name: "tenant".to_owned(),
            region: REGION.to_owned(),
            config: None,
            audit: false,
            table: "table".to_owned(),
        },
        config: None,
        table_access: false,
        audit_records_endpoint: None,
        change_receiver: None,
        nodes: Default::default(),
        invalid_nodes: Default::default(),
        is_complete: true,
    }
}

/// While time is paused, most calls reach their limits before the fake responds, so CloudWatch both hangs and fails.
#[tokio::test]
async fn hours_without_cloudwatch_use_bounded_memory_and_count_gaps() {
    let harness = Harness::new().await;
    harness.print(0..10);
    eventually("the first lines come", || harness.numbers().shipped.lines == 10).await;
    harness.cloud.cloudwatch.faults().set_outage(true);
    tokio::time::pause();
    let all = 10 + MINUTES * LINES;
    for begin in (10..all).step_by(LINES) {
        harness.print(begin..begin + LINES);
        sleep(Duration::from_secs(60)).await;
        let held = harness.numbers().read.bytes - harness.numbers().shipped.bytes;
        assert!(held <= MEMORY_BYTES_MAX, "{held} bytes are in memory");
    }
    assert!(harness.numbers().retried.lines > 0 && harness.numbers().shipped.lines == 10, "{:?}", harness.numbers());
    harness.cloud.cloudwatch.faults().set_outage(false);
    // Ends the retry delays.
    tokio::time::advance(crate::cloud::backoff::CEILING).await;
    tokio::time::resume();
    let until = std::time::Instant::now() + LIMIT;
    while harness.numbers().read != harness.numbers().shipped || harness.arrived().last() != Some(&(all - 1)) {
        assert!(std::time::Instant::now() < until, "not in time: {:?}", harness.numbers());
        sleep(Duration::from_millis(20)).await;
    }
    let (mut arrived, numbers) = (harness.arrived(), harness.numbers());
    let (mut seen, count) = (HashSet::new(), arrived.len());
    arrived.retain(|number| seen.insert(*number));
    let doubles = count - arrived.len();
    assert!(doubles <= 2 * LINES, "only output whose acceptance was not received is sent again: {doubles}");
    assert!(arrived.is_sorted(), "in order");
    assert!(
        arrived[arrived.len() - KEPT..].iter().copied().eq(all - KEPT..all),
        "all output that the engine still had"
    );
    let holes = arrived.windows(2).filter(|pair| pair[1] > pair[0] + 1).count() as u64;
    assert_eq!((numbers.gaps, numbers.lost, numbers.rejected), (holes, Volume::default(), Volume::default()));
    let missing = (all - arrived.len()) / LINES;
    let minutes = numbers.gap.as_secs() / 60;
    assert!(minutes.abs_diff(missing as u64) <= 2, "{missing} minutes are missing, not {minutes}");
}

/// Times of the lists of the engine while `notify` runs, in milliseconds; each list takes `took_ms`.
async fn lists(took_ms: u64, notify: impl AsyncFnOnce(&Shipping)) -> Vec<u64> {
    let faults = Faulty::new(Arc::new(InMemoryRuntime::new()));
    faults.on(Verb::List).delay(Duration::from_millis(took_ms));
    let owner = Owner { app: "app".to_owned(), tenant: "tenant".to_owned(), host: "host".to_owned() };
    let state = tempfile::tempdir().expect("a folder");
    let (shipper, handle) = Shipper::new(ShipperOptions {
        runtime: Arc::new(faults.clone()),
        owner,
        aws: Arc::new(Aws::new(Default::default())),
        group: GROUP,
        state_directory: state.path(),
    });
    let app = watch::Sender::new(Some(Arc::new(app())));
    let (began, mut at) = (Instant::now(), Vec::new());
    let watch = async {
        loop {
            if faults.faults_met() > at.len() {
                at.push(u64::try_from(began.elapsed().as_millis()).expect("no age"));
            }
            sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::select! {
        () = shipper.run(app.subscribe()) => panic!("it ended"),
        () = watch => unreachable!("it goes on"),
        () = notify(&handle) => {}
    }
    at
}

/// A list between the stop of a container and the start of the next one would increase the downtime.
#[tokio::test(start_paused = true)]
async fn containers_are_listed_soon_only_after_a_start() {
    let notify = async |handle: &Shipping| {
        sleep(Duration::from_secs(5)).await;
        handle.look(false);
        sleep(Duration::from_millis(300)).await;
        handle.look(true);
        sleep(Duration::from_secs(5)).await;
        handle.look(false);
        sleep(Duration::from_secs(5)).await;
    };
    let at = lists(0, notify).await;
    let wanted = [500, 5_500, 11_300];
    assert!(at.len() == wanted.len() && at.iter().zip(wanted).all(|(at, wanted)| at.abs_diff(wanted) <= 10), "{at:?}");
}

#[tokio::test(start_paused = true)]
async fn a_long_list_is_followed_by_a_longer_pause() {
    let notify = async |handle: &Shipping| {
        for _ in 0..300 {
            handle.look(true);
            sleep(Duration::from_millis(100)).await;
        }
    };
    let at = lists(500, notify).await;
    assert!((5..=6).contains(&at.len()), "a list of 0.5 s every 5.5 s: {at:?}");
    let at = lists(9_000, notify).await;
    assert_eq!(at.len(), 2, "after a list of 9 s a pause of 10 s: {at:?}");
}
