//! The environment of one check: a backend, unique names, an image, and shared steps.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::StreamExt;
use tokio::time::Instant;

use super::outcome::ensure;
use super::{Failure, Outcome, PROGRAM_VARIABLE, Program, Runtime, Seen, Subject};
use crate::{
    Action, Container, ContainerId, ContainerRuntime, ContainerSpec, EngineEvent, EnvValue, ErrorKind, EventStream,
    ImageReference, Limits, LogChunk, LogSettings, LogStream, Owner, Result as RuntimeResult,
};

/// Limit for something that must happen.
pub(super) const SOON: Duration = Duration::from_secs(40);
/// Grace for processes that handle the stop signal.
pub(super) const GRACE: Duration = Duration::from_secs(10);
/// Pause between two polls.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

pub(super) struct Bench<'a> {
    pub(super) subject: &'a dyn Subject,
    pub(super) runtime: Runtime,
    pub(super) owner: Owner,
    /// Prefix of all names of this check.
    pub(super) prefix: String,
    pub(super) image: ImageReference,
}

/// A prefix that no other run uses.
pub(super) fn run_prefix() -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    format!("conf-{}-{:x}", std::process::id(), now.as_micros() & 0xfff_ffff)
}

impl<'a> Bench<'a> {
    pub(super) async fn new(subject: &'a dyn Subject, prefix: &str) -> Outcome<Self> {
        // One image for the whole run, named after the run and not after this check.
        let run = prefix.rsplit_once('-').map_or(prefix, |(run, _)| run);
        let image: ImageReference = format!("localhost/{run}:1").parse().expect("made of letters, digits and hyphens");
        subject.load_image(&image, "the image of most checks").await?;
        let runtime = subject.connect(Limits::default()).await?;
        let owner = Owner {
            app: format!("{prefix}-net"),
            tenant: "a tenant: with odd \"letters\"".to_owned(),
            host: format!("{prefix}-host"),
        };
        runtime.ensure_network(&owner.app, &owner).await?;
        Ok(Self { subject, runtime, owner, prefix: prefix.to_owned(), image })
    }

    /// A name that only this check uses.
    pub(super) fn name(&self, suffix: &str) -> String {
        format!("{}-{suffix}", self.prefix)
    }

    pub(super) fn spec(&self, suffix: &str, program: Program) -> ContainerSpec {
        let program = EnvValue::Plain(program.as_str().to_owned());
        ContainerSpec {
            name: self.name(suffix),
            hostname: suffix.to_owned(),
            image: self.image.clone(),
            env: BTreeMap::from([(PROGRAM_VARIABLE.to_owned(), program)]),
            labels: self.owner.labels(),
            network: self.owner.app.clone(),
            aliases: [].into(),
            ports: Vec::new(),
            mounts: Vec::new(),
            logs: LogSettings::Engine { file_bytes_max: 10_000_000, files_max: 3 },
            stop_grace: Duration::from_secs(17),
            hardening: Default::default(),
        }
    }

    pub(super) async fn create(&self, suffix: &str, program: Program) -> Outcome<ContainerId> {
        self.subject.prepare(&self.name(suffix), program).await?;
        Ok(self.runtime.create(&self.spec(suffix, program)).await?)
    }

    pub(super) async fn run(&self, suffix: &str, program: Program) -> Outcome<ContainerId> {
        let id = self.create(suffix, program).await?;
        self.runtime.start(&id).await?;
        Ok(id)
    }

    /// A running container that already handles the stop signal. Before that, process 1 ignores it, and a stop takes
    /// its whole grace.
    pub(super) async fn run_heeding(&self, suffix: &str) -> Outcome<ContainerId> {
        let id = self.run(suffix, Program::Idle).await?;
        let is_ready = |chunks: &[LogChunk]| joined(chunks).ends_with(b"ready\n");
        let output = read_until(self.runtime.logs(&id, None).await?, is_ready).await?;
        ensure!(is_ready(&output), "its output ended with {:?}", output.last());
        Ok(id)
    }

    /// The container as the backend lists it.
    pub(super) async fn listed(&self, id: &ContainerId) -> Outcome<Container> {
        let found = self.runtime.list(&self.owner).await?.into_iter().find(|container| container.id == *id);
        found.ok_or_else(|| Failure::new(format!("container {id} is not listed")))
    }

    /// The container as the engine's own tools report it.
    pub(super) async fn seen(&self, suffix: &str) -> Outcome<Seen> {
        let name = self.name(suffix);
        self.subject.inspect(&name).await?.ok_or_else(|| Failure::new(format!("the engine has no container {name:?}")))
    }

    /// Waits until the engine's own tools report the expected state.
    pub(super) async fn until_seen(&self, suffix: &str, what: &str, wanted: impl Fn(&Seen) -> bool) -> Outcome<Seen> {
        let begin = Instant::now();
        loop {
            let seen = self.seen(suffix).await?;
            if wanted(&seen) {
                return Ok(seen);
            }
            ensure!(begin.elapsed() < SOON, "timed out until the container {what}; it is {seen:?}");
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }

    /// Runs a container of another owner.
    pub(super) async fn run_stranger(&self, suffix: &str, labels: &BTreeMap<String, String>, network: &str) -> Outcome {
        let name = self.name(suffix);
        self.subject.prepare(&name, Program::Idle).await?;
        self.subject.act(super::Act::Run { name: &name, labels, network, image: &self.image }).await
    }
}

/// Fails unless the call failed with `kind`.
pub(super) fn fails_with<T>(result: RuntimeResult<T>, kind: ErrorKind, what: &str) -> Outcome {
    match result {
        Ok(_) => Err(Failure::new(format!("{what}: wanted {kind:?}, but it succeeded"))),
        Err(error) if error.kind() == kind => Ok(()),
        Err(error) => {
            let found = error.kind();
            Err(Failure::new(format!("{what}: wanted {kind:?}, found {found:?}: {}", Failure::from(error))))
        }
    }
}

/// The next event of `id` with `action`; skips other events.
pub(super) async fn await_event(events: &mut EventStream, id: &ContainerId, action: Action) -> Outcome<EngineEvent> {
    let mut passed = Vec::new();
    let search = async {
        while let Some(event) = events.next().await {
            let event = event?;
            if event.container == *id && event.action == action {
                return Ok(event);
            }
            passed.push((event.name, event.action));
        }
        Err(Failure::new(format!("the event stream ended before {action:?}")))
    };
    let found = tokio::time::timeout(SOON, search).await;
    found.unwrap_or_else(|_| Err(Failure::new(format!("no event {action:?}; others were {passed:?}"))))
}

/// Reads a log stream until it ends.
pub(super) async fn read_to_end(logs: LogStream) -> Outcome<Vec<LogChunk>> {
    read_until(logs, |_| false).await
}

/// Reads a log stream until `enough` accepts all chunks, or it ends.
pub(super) async fn read_until(
    mut logs: LogStream,
    mut enough: impl FnMut(&[LogChunk]) -> bool,
) -> Outcome<Vec<LogChunk>> {
    let mut chunks = Vec::new();
    let read = async {
        while let Some(chunk) = logs.next().await {
            chunks.push(chunk?);
            if enough(&chunks) {
                break;
            }
        }
        Ok(())
    };
    match tokio::time::timeout(SOON, read).await {
        Ok(Ok(())) => Ok(chunks),
        Ok(Err(error)) => Err(error),
        Err(_) => Err(Failure::new(format!("the log stream stayed open and silent after {} chunks", chunks.len()))),
    }
}

/// All bytes of some chunks.
pub(super) fn joined(chunks: &[LogChunk]) -> Vec<u8> {
    chunks.iter().flat_map(|chunk| chunk.bytes.iter().copied()).collect()
}

/// Stops a container with a long grace.
pub(super) async fn stop(runtime: &dyn ContainerRuntime, id: &ContainerId) -> Outcome {
    Ok(runtime.stop(id, GRACE).await?)
}
