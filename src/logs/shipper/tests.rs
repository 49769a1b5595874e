//! Tests of the shipper with the in-memory engine and the fake CloudWatch. Time is paused, so hours pass in seconds.

use std::collections::HashSet;
use std::time::Duration;

use managed_app_fakes::{FakeCloud, InMemoryRuntime};
use managed_app_runtimes::conformance::host_engine;
use managed_app_runtimes::labels::{self, SpecRecord};
use managed_app_runtimes::{ContainerRuntime, ContainerSpec, ImageReference, LogChunk, LogSettings, LogSource, Owner};
use time::OffsetDateTime;
use tokio::time::sleep;

use super::*;
use crate::cloud::testing::{aws, eventually};
use crate::logs::position::Position;
use crate::model::Tenant;
use crate::status::NodeNumbers;
use crate::status::Volume;

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
        cloud.cloudwatch.create_group(REGION, &names::log_group(GROUP, "a"));
        run(&engine, &owner()).await;
        let containers = listed(&engine).await;
        let state = tempfile::tempdir().expect("a folder");
        let (handle, requests) = Shipping::new();
        let options =
            ShipperOptions { engine: host(&engine), aws: aws(&cloud), group: GROUP, state_directory: state.path() };
        let shipper = Shipper::new(options, requests);
        let task = tokio::spawn(async move {
            // The senders must live as long as the shipper.
            let app = watch::Sender::new(Some(Arc::new(app())));
            let containers = watch::Sender::new(Some(containers));
            shipper.run(app.subscribe(), containers.subscribe()).await;
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

fn owner() -> Owner {
    Owner { app: "app".to_owned(), tenant: "tenant".to_owned(), host: "host".to_owned() }
}

/// The containers of the engine, as the host engine publishes them.
async fn listed(engine: &InMemoryRuntime) -> Instances {
    let listed = engine.list(&owner()).await.expect("a list").into_iter();
    listed.filter_map(|container| Instance::new(container, None, None)).map(|one| (one.id.clone(), one)).collect()
}

fn host(engine: &InMemoryRuntime) -> Arc<dyn WorkloadEngine> {
    Arc::new(host_engine(Arc::new(engine.clone()), owner(), Duration::ZERO))
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

/// A shipper of the containers that are sent, and its state directory.
fn shipper(engine: &InMemoryRuntime, state: &tempfile::TempDir) -> Shipper {
    let options = ShipperOptions {
        engine: host(engine),
        aws: Arc::new(Aws::new(Default::default())),
        group: GROUP,
        state_directory: state.path(),
    };
    Shipper::new(options, Shipping::new().1)
}

/// Runs `shipper` while `act` changes what is known of the containers.
async fn ship(shipper: Shipper, act: impl AsyncFnOnce(&watch::Sender<Option<Instances>>)) {
    let app = watch::Sender::new(Some(Arc::new(app())));
    let containers = watch::Sender::new(None);
    tokio::select! {
        () = shipper.run(app.subscribe(), containers.subscribe()) => panic!("it ended"),
        () = act(&containers) => {}
    }
}

#[tokio::test(start_paused = true)]
async fn a_container_is_followed_soon_after_its_start() {
    let (engine, state) = (InMemoryRuntime::new(), tempfile::tempdir().expect("a folder"));
    run(&engine, &owner()).await;
    let known = listed(&engine).await;
    let in_state = |state: ContainerState| {
        let changed =
            known.clone().into_iter().map(|(id, container)| (id, Instance { state: state.clone(), ..container }));
        Some(changed.collect::<Instances>())
    };
    let requests = || engine.calls("logs", "node-a");
    ship(shipper(&engine, &state), async |containers| {
        sleep(Duration::from_secs(5)).await;
        for state in [ContainerState::Created, ContainerState::Running] {
            assert_eq!(requests(), 0, "before {state:?}");
            containers.send_replace(in_state(state));
            sleep(FOLLOW_DELAY - Duration::from_millis(10)).await;
            assert_eq!(requests(), 0, "others may start together with it");
            sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(requests(), 1);
        containers.send_replace(in_state(ContainerState::Paused));
        sleep(Duration::from_secs(5)).await;
        assert_eq!(requests(), 1, "it is being read");
        assert_eq!(engine.calls("list", "app"), 1, "the one of this test");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn cursors_are_kept_until_the_containers_are_known() {
    let (engine, state) = (InMemoryRuntime::new(), tempfile::tempdir().expect("a folder"));
    let id = ContainerId("removed".to_owned());
    let is_kept = || Cursors::open(state.path()).get(&id).is_some();
    let cursors = Arc::new(Cursors::open(state.path()));
    let chunk = LogChunk { at: OffsetDateTime::UNIX_EPOCH, source: LogSource::Stdout, bytes: "line".into() };
    cursors.set(&id, Position::after(None, &chunk));
    cursors.save().await;
    ship(shipper(&engine, &state), async |containers| {
        sleep(Duration::from_secs(5)).await;
        assert!(is_kept());
        containers.send_replace(Some(Instances::new()));
        eventually("it is dropped", || !is_kept()).await;
    })
    .await;
}
