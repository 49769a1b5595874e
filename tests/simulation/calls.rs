//! The backends of the executor: an engine, a cloud and a disk that respond late, wrongly or not at all. For each
//! engine call three things are decided independently: whether it is executed, when, and what the caller receives.

use std::fmt;
use std::io;
use std::time::Duration;

use async_trait::async_trait;
use managed_app::cloud::{CloudError, CloudErrorKind, ControlPlane};
use managed_app::driver::Disk;
use managed_app::model::{NodeName, Snapshot};
use managed_app_runtimes::{
    Container, ContainerId, ContainerRuntime, ContainerSpec, EngineInfo, EngineKind, ErrorKind, EventStream, ImageId,
    ImageReference, LogStream, Owner, ProgressFn, RegistryCredentials, Result, RuntimeError, labels,
};
use time::OffsetDateTime;
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};

use crate::engine::{EngineCall, Reply, Verb};
use crate::fault_plan::Class;
use crate::world::{Occurrence, Shared, World};

/// The default limits of a backend.
const CALL_LIMIT: Duration = Duration::from_secs(60);
const STOP_LIMIT: Duration = Duration::from_secs(60);

/// The backends of one daemon.
#[derive(Clone)]
pub struct Backends(pub Shared);

impl fmt::Debug for Backends {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Backends")
    }
}

/// The outcome of a call.
enum Fate {
    /// It is executed, with a response.
    Done,
    /// It fails without an effect.
    Fails(ErrorKind),
    /// It is executed, and the response is an error.
    Lost(ErrorKind),
    /// It has no response; it may be executed this long after the limit.
    Hangs(Option<Duration>),
}

/// The class of faults of a byte of a script; none if the call is executed, with a response.
pub fn class_of_fate(byte: u8) -> Option<Class> {
    match byte % 8 {
        0..=3 => None,
        4 => Some(Class::EngineErrors),
        5 => Some(Class::EngineRefuses),
        6 => Some(Class::LostReplies),
        _ => Some(Class::Hangs),
    }
}

impl Fate {
    /// The fate of a byte of a script.
    fn of(byte: u8) -> Self {
        let more = usize::from(byte / 8);
        match class_of_fate(byte) {
            Some(Class::EngineErrors) => {
                Self::Fails([ErrorKind::Other, ErrorKind::Unreachable, ErrorKind::Conflict][more % 3])
            }
            Some(Class::EngineRefuses) => Self::Fails(ErrorKind::Refused),
            Some(Class::LostReplies) => Self::Lost(ErrorKind::Unreachable),
            Some(Class::Hangs) => Self::Hangs((more % 2 == 1).then(|| Duration::from_millis(640) * more as u32)),
            _ => Self::Done,
        }
    }
}

impl World {
    fn fate(&mut self) -> Fate {
        if self.engine.is_down {
            return Fate::Fails(ErrorKind::Unreachable);
        }
        if let Some(script) = &mut self.script {
            let fate = if self.fault_plan.is_active { script.fates.pop_front() } else { None };
            return fate.map_or(Fate::Done, Fate::of);
        }
        if self.fault_plan.has(Class::EngineErrors) && self.prng.chance(15) {
            let kinds = [ErrorKind::Other, ErrorKind::Unreachable, ErrorKind::Conflict];
            return Fate::Fails(*self.prng.pick(&kinds));
        }
        if self.fault_plan.has(Class::EngineRefuses) && self.prng.chance(10) {
            return Fate::Fails(ErrorKind::Refused);
        }
        if self.fault_plan.has(Class::LostReplies) && self.prng.chance(15) {
            return Fate::Lost(ErrorKind::Unreachable);
        }
        if self.fault_plan.has(Class::Hangs) && self.prng.chance(8) {
            let is_late = self.prng.chance(50);
            return Fate::Hangs(is_late.then(|| self.prng.ms(0, 20_000)));
        }
        Fate::Done
    }

    /// Duration of a step of the engine. Some processes end at once, some need their whole grace.
    fn step_duration(&mut self, verb: &Verb) -> Duration {
        match verb {
            Verb::End(_) if self.prng.chance(15) => self.settings.stop_grace,
            Verb::End(_) => self.prng.ms(20, 5_000),
            _ => self.prng.ms(5, 800),
        }
    }

    /// Schedules steps of the engine in sequence, after `delay` and after its pending steps for this container.
    fn start_steps(&mut self, id: Option<&ContainerId>, verbs: Vec<Verb>, delay: Duration, reply: Option<Reply>) {
        let busy_until = id.and_then(|id| self.engine.get(id)).map_or(Duration::ZERO, |kept| kept.busy_until);
        let mut at = (self.now + delay).max(busy_until);
        let mut steps = Vec::new();
        for verb in verbs {
            at += self.step_duration(&verb);
            steps.push((at, verb));
        }
        if let Some(kept) = id.and_then(|id| self.engine.get(id)) {
            kept.busy_until = at;
        }
        steps.reverse();
        if let Some((first, _)) = steps.last() {
            self.schedule(*first, Occurrence::Engine(EngineCall { steps, reply }));
        }
    }

    /// The node of a container, also of a removed one.
    fn node_of(&self, id: Option<&ContainerId>) -> Option<NodeName> {
        self.engine.nodes.get(id?).cloned()
    }
}

impl Backends {
    fn pause(&self, least_ms: usize, most_ms: usize) -> tokio::time::Sleep {
        sleep(self.0.with(|world| world.prng.ms(least_ms, most_ms)))
    }

    /// One call: the engine executes `verbs` as steps, and the result of the last one is the response.
    async fn call(
        &self,
        id: Option<&ContainerId>,
        node: Option<NodeName>,
        verbs: Vec<Verb>,
        limit: Duration,
    ) -> Result<Option<ContainerId>> {
        let subject = id.map_or_else(String::new, ToString::to_string);
        let result = self.call_once(id, verbs, limit).await;
        if result.is_err() {
            self.0.with(|world| {
                node.or_else(|| world.node_of(id)).iter().for_each(|node| world.invariants.allow(node, 2));
            });
        }
        result.map_err(|kind| RuntimeError::new(kind, "call the engine for", subject))
    }

    async fn call_once(
        &self,
        id: Option<&ContainerId>,
        verbs: Vec<Verb>,
        limit: Duration,
    ) -> Result<Option<ContainerId>, ErrorKind> {
        let executed = match self.0.with(World::fate) {
            Fate::Fails(kind) => {
                self.pause(1, 500).await;
                return Err(kind);
            }
            Fate::Hangs(late) => {
                if let Some(late) = late {
                    let delay = limit + late + Duration::from_millis(1);
                    self.0.with(|world| world.start_steps(id, verbs, delay, None));
                }
                sleep(limit).await;
                return Err(ErrorKind::TimedOut);
            }
            Fate::Lost(kind) => Err(kind),
            Fate::Done => Ok(()),
        };
        let (reply, answer) = oneshot::channel();
        self.0.with(|world| world.start_steps(id, verbs, Duration::ZERO, Some(reply)));
        let Ok(answer) = timeout(limit, answer).await else { return Err(ErrorKind::TimedOut) };
        self.pause(1, 50).await;
        executed?;
        // A restart of the engine cancels its pending steps.
        answer.unwrap_or(Err(ErrorKind::Unreachable))
    }

    async fn one(&self, id: &ContainerId, verbs: Vec<Verb>, limit: Duration) -> Result<()> {
        self.call(Some(id), None, verbs, limit).await.map(drop)
    }

    /// A query, which changes nothing.
    async fn query<T>(&self, answer: impl FnOnce(&mut World) -> T) -> Result<T> {
        let kind = match self.0.with(World::fate) {
            Fate::Done => return Ok(self.0.with(answer)),
            Fate::Fails(kind) | Fate::Lost(kind) => kind,
            Fate::Hangs(_) => {
                sleep(CALL_LIMIT).await;
                ErrorKind::TimedOut
            }
        };
        Err(RuntimeError::new(kind, "query", "the engine"))
    }
}

#[async_trait]
impl ContainerRuntime for Backends {
    fn kind(&self) -> EngineKind {
        EngineKind::Memory
    }

    async fn info(&self) -> Result<EngineInfo> {
        unreachable!("the executor does not call it")
    }

    /// All our containers at some moment of the call.
    async fn list(&self, _: &Owner) -> Result<Vec<Container>> {
        self.pause(1, 300).await;
        let listed = self.query(World::listed).await?;
        let is_slow = self.0.with(|world| world.fault_plan.has(Class::SlowLists) && world.prng.chance(30));
        self.pause(1, if is_slow { 15_000 } else { 300 }).await;
        Ok(listed)
    }

    async fn ensure_network(&self, name: &str, _: &Owner) -> Result<()> {
        self.call(None, None, vec![Verb::Network(name.to_owned())], CALL_LIMIT).await.map(drop)
    }

    async fn pull(
        &self,
        image: &ImageReference,
        _: Option<&RegistryCredentials>,
        _: ProgressFn<'_>,
    ) -> Result<ImageId> {
        self.pause(50, 20_000).await;
        let failed = |kind| Err(RuntimeError::new(kind, "pull", image.to_string()));
        if self.0.with(|world| world.fault_plan.has(Class::PullsFail) && world.prng.chance(40)) {
            if self.0.with(|world| world.prng.chance(30)) {
                sleep(Duration::from_secs(120)).await;
            }
            return failed(ErrorKind::TimedOut);
        }
        if self.0.with(|world| world.fault_plan.has(Class::PullsRefused) && world.prng.chance(40)) {
            let kinds = [ErrorKind::Throttled, ErrorKind::NotFound];
            return failed(self.0.with(|world| *world.prng.pick(&kinds)));
        }
        self.0.with(|world| world.pulled(image)).map_or_else(|| failed(ErrorKind::Unreachable), Ok)
    }

    async fn image(&self, image: &ImageReference) -> Result<Option<ImageId>> {
        self.pause(1, 100).await;
        self.query(|world| world.local_image(image)).await
    }

    async fn create(&self, spec: &ContainerSpec) -> Result<ContainerId> {
        let node = spec.labels.get(labels::NODE).and_then(|name| NodeName::new(name.clone()).ok());
        let created = self.call(None, node, vec![Verb::Create(Box::new(spec.clone()))], CALL_LIMIT).await?;
        Ok(created.expect("the engine returns the ID of a created container"))
    }

    async fn start(&self, id: &ContainerId) -> Result<()> {
        self.one(id, vec![Verb::Start(id.clone())], CALL_LIMIT).await
    }

    async fn stop(&self, id: &ContainerId, _: Duration) -> Result<()> {
        self.one(id, vec![Verb::End(id.clone())], STOP_LIMIT).await
    }

    async fn restart(&self, id: &ContainerId, _: Duration) -> Result<()> {
        self.one(id, vec![Verb::End(id.clone()), Verb::Start(id.clone())], STOP_LIMIT).await
    }

    async fn rename(&self, id: &ContainerId, name: &str) -> Result<()> {
        self.one(id, vec![Verb::Rename(id.clone(), name.to_owned())], CALL_LIMIT).await
    }

    async fn remove(&self, id: &ContainerId) -> Result<()> {
        self.one(id, vec![Verb::Remove(id.clone())], CALL_LIMIT).await
    }

    async fn logs(&self, _: &ContainerId, _: Option<OffsetDateTime>) -> Result<LogStream> {
        unreachable!("the executor reads no output")
    }

    async fn events(&self, _: &Owner) -> Result<EventStream> {
        unreachable!("the world schedules events")
    }
}

#[async_trait]
impl ControlPlane for Backends {
    async fn app(&self) -> Result<Snapshot, CloudError> {
        self.pause(10, 2_000).await;
        if self.0.with(|world| world.fault_plan.has(Class::Hangs) && world.prng.chance(10)) {
            std::future::pending::<()>().await;
        }
        let answer = self.0.with(World::snapshot);
        self.pause(10, 1_000).await;
        answer.map_err(|kind| CloudError::new(kind, "read the app"))
    }

    async fn aws_credentials(&self) -> Result<aws_credential_types::Credentials, CloudError> {
        Err(CloudError::new(CloudErrorKind::Denied, "the executor needs none"))
    }
}

#[async_trait]
impl Disk for Backends {
    async fn write(&self, text: Vec<u8>) -> io::Result<()> {
        self.pause(1, 30).await;
        self.0.with(|world| world.save(text))
    }
}
