//! An engine that has only containers with output: any number of lines, generated on read, always the same.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use managed_app_runtimes::labels::{self, SpecRecord};
use managed_app_runtimes::{
    Container, ContainerId, ContainerRuntime, ContainerSpec, ContainerState, EngineInfo, EngineKind, ErrorKind,
    EventStream, ImageId, ImageReference, Instance, Instances, LogChunk, LogSettings, LogSource, LogStream, Origin,
    Owner, ProgressFn, RegistryCredentials, Result, RuntimeError,
};
use time::OffsetDateTime;
use tokio::time::sleep;

/// Number of different lines.
const TEXTS: u64 = 1_000;
/// Time between two lines without real time.
const STEP: time::Duration = time::Duration::microseconds(10);
/// Interval of the output of a live node.
const TICK: Duration = Duration::from_millis(5);

/// The engine.
#[derive(Debug, Clone)]
pub struct SyntheticEngine {
    containers: Vec<Container>,
    /// One per container.
    outputs: Vec<Output>,
    texts: Arc<[Bytes]>,
    first_at: OffsetDateTime,
    /// The instant of `first_at` if lines become available at their time.
    began: Option<Instant>,
}

/// The output of one container.
#[derive(Debug, Clone, Copy)]
struct Output {
    lines: u64,
    step: time::Duration,
}

impl SyntheticEngine {
    /// Running containers with this number of lines each.
    pub fn new(nodes: u64, lines: u64) -> Self {
        let first_at = OffsetDateTime::now_utc() - time::Duration::hours(1);
        Self::with((0..nodes).map(|_| Output { lines, step: STEP }).collect(), first_at, None)
    }

    /// One container per rate in lines per second, from now on, for this duration.
    pub fn live(rates: &[u64], duration: Duration) -> Self {
        let output = |rate: &u64| {
            let step = time::Duration::SECOND / i32::try_from(*rate).expect("it is small");
            Output { lines: rate * duration.as_secs(), step }
        };
        Self::with(rates.iter().map(output).collect(), OffsetDateTime::now_utc(), Some(Instant::now()))
    }

    fn with(outputs: Vec<Output>, first_at: OffsetDateTime, began: Option<Instant>) -> Self {
        let containers = (0..outputs.len()).map(|number| container(number, first_at)).collect();
        Self { containers, outputs, texts: (0..TEXTS).map(text).collect(), first_at, began }
    }

    /// The containers.
    pub fn instances(&self) -> Instances {
        let containers = self.containers.iter().cloned();
        containers.filter_map(|one| Instance::new(one, None, None)).map(|one| (one.id.clone(), one)).collect()
    }

    /// The output of each container.
    pub fn streams(&self) -> impl Iterator<Item = LogStream> {
        self.outputs.iter().map(|output| self.stream(*output, 0))
    }

    fn stream(&self, output: Output, from: u64) -> LogStream {
        let (texts, first_at) = (self.texts.clone(), self.first_at);
        let chunks = stream::iter((from..output.lines).map(move |number| {
            let at = first_at + output.step * i32::try_from(number).expect("a bench has fewer lines");
            let bytes = texts[usize::try_from(number % TEXTS).expect("it is small")].clone();
            Ok(LogChunk { at, source: LogSource::Stdout, bytes })
        }));
        let Some(began) = self.began else { return Box::pin(chunks) };
        let in_time = chunks.then(move |chunk: Result<LogChunk>| async move {
            let due = chunk.as_ref().map_or(time::Duration::ZERO, |chunk| chunk.at - first_at);
            while due > began.elapsed() {
                sleep(TICK).await;
            }
            chunk
        });
        // The process keeps running without further output.
        Box::pin(in_time.chain(stream::pending()))
    }
}

/// Nine of ten lines start an event; the tenth continues one. 120 bytes on average, like the output of nodes.
fn text(number: u64) -> Bytes {
    let id = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let line = match number % 10 {
        9 => format!(
            "  File \"/opt/node/handlers.py\", line {number}, in handle_received_message: id={id:020x} retries={number}\n"
        ),
        _ => format!(
            "[INFO] 2026-11-22T19:17:00Z node.handlers message handled tracking_id={id:032x} elapsed_ms={number} size=2048\n"
        ),
    };
    line.into()
}

fn container(number: usize, started_at: OffsetDateTime) -> Container {
    let node = format!("node-{number}");
    let spec = ContainerSpec {
        name: node.clone(),
        hostname: node.clone(),
        image: "registry.test/node:1".parse().expect("a valid reference"),
        env: Default::default(),
        labels: Default::default(),
        network: "app".to_owned(),
        aliases: [].into(),
        ports: vec![],
        mounts: vec![],
        logs: LogSettings::Engine { file_bytes_max: 10 << 20, files_max: 5 },
        hardening: Default::default(),
        stop_grace: Duration::from_secs(30),
    };
    let owner = Owner { app: "app".to_owned(), tenant: "tenant".to_owned(), host: "host".to_owned() };
    let mut labels = owner.labels();
    labels.insert(labels::NODE.to_owned(), node.clone());
    labels.insert(labels::SPEC.to_owned(), SpecRecord::new(&spec, "salt").to_label());
    Container {
        id: ContainerId(node.clone()),
        name: node,
        image_id: ImageId("sha256:1".to_owned()),
        labels,
        state: ContainerState::Running,
        networks: vec!["app".to_owned()],
        started_at: Some(started_at),
        restarts: None,
        last_exit: None,
        origin: Origin::Labelled,
    }
}

fn refused<T>(operation: &'static str) -> Result<T> {
    Err(RuntimeError::new(ErrorKind::Refused, operation, "an engine that has output only"))
}

#[async_trait]
impl ContainerRuntime for SyntheticEngine {
    fn kind(&self) -> EngineKind {
        EngineKind::Memory
    }

    async fn info(&self) -> Result<EngineInfo> {
        refused("info")
    }

    async fn list(&self, _: &Owner) -> Result<Vec<Container>> {
        Ok(self.containers.clone())
    }

    async fn ensure_network(&self, _: &str, _: &Owner) -> Result<()> {
        refused("ensure network")
    }

    async fn pull(&self, _: &ImageReference, _: Option<&RegistryCredentials>, _: ProgressFn<'_>) -> Result<ImageId> {
        refused("pull")
    }

    async fn image(&self, _: &ImageReference) -> Result<Option<ImageId>> {
        refused("image")
    }

    async fn create(&self, _: &ContainerSpec) -> Result<ContainerId> {
        refused("create")
    }

    async fn start(&self, _: &ContainerId) -> Result<()> {
        refused("start")
    }

    async fn stop(&self, _: &ContainerId, _: Duration) -> Result<()> {
        refused("stop")
    }

    async fn restart(&self, _: &ContainerId, _: Duration) -> Result<()> {
        refused("restart")
    }

    async fn rename(&self, _: &ContainerId, _: &str) -> Result<()> {
        refused("rename")
    }

    async fn remove(&self, _: &ContainerId) -> Result<()> {
        refused("remove")
    }

    async fn logs(&self, id: &ContainerId, since: Option<OffsetDateTime>) -> Result<LogStream> {
        let number = self.containers.iter().position(|container| container.id == *id);
        let output = self.outputs[number.expect("only listed containers are read")];
        let passed = since.map_or(time::Duration::ZERO, |since| since - self.first_at);
        let from = passed.whole_nanoseconds().max(0) / output.step.whole_nanoseconds();
        Ok(self.stream(output, u64::try_from(from).expect("a bench has fewer lines")))
    }

    async fn events(&self, _: &Owner) -> Result<EventStream> {
        Ok(Box::pin(stream::pending()))
    }
}
