//! The engine calls of an operation, with their times. A wrapper of the runtime records each call for the operation of
//! the current task, so that operations need no code for this.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use managed_app_runtimes::{
    Container, ContainerId, ContainerRuntime, ContainerSpec, EngineInfo, EngineKind, EventStream, ImageId,
    ImageReference, LogStream, Owner, ProgressFn, RegistryCredentials, Result, RuntimeError,
};
use time::OffsetDateTime;
use tokio::time::Instant;

use super::metrics::Metrics;
use super::model::Step;
use crate::text::chain;

/// Maximum of recorded steps of one attempt.
const STEPS_MAX: usize = 40;
/// Digits of a container's id that are shown.
const ID_DIGITS: usize = 12;

tokio::task_local! {
    static STEPS: Steps;
}

/// The steps of one attempt so far.
#[derive(Debug, Clone)]
pub struct Steps {
    began: Instant,
    steps: Arc<Mutex<Vec<Step>>>,
}

impl Steps {
    /// No steps; times count from now.
    pub fn begin() -> Self {
        Self { began: Instant::now(), steps: Arc::default() }
    }

    /// Runs `work` and records its engine calls as steps.
    pub async fn collect<T>(&self, work: impl Future<Output = T>) -> T {
        STEPS.scope(self.clone(), work).await
    }

    /// Begin of the attempt.
    pub fn began(&self) -> Instant {
        self.began
    }

    /// Removes and returns the steps.
    pub fn take(&self) -> Vec<Step> {
        std::mem::take(&mut self.steps.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Records a step that began at `began` and ended now.
    fn push(&self, step: &str, container: Option<&ContainerId>, began: Instant, error: Option<&RuntimeError>) {
        let mut steps = self.steps.lock().unwrap_or_else(PoisonError::into_inner);
        if steps.len() < STEPS_MAX {
            steps.push(Step {
                step: step.to_owned(),
                container: container.map(short),
                after_ms: millis(began.saturating_duration_since(self.began)) as i64,
                took_ms: millis(began.elapsed()),
                error: error.map(|error| chain(error)),
            });
        }
    }
}

/// The short form of a container's ID, as in the output of engines.
pub fn short(id: &ContainerId) -> String {
    id.0.chars().take(ID_DIGITS).collect()
}

/// Whole milliseconds.
pub fn millis(duration: Duration) -> u64 {
    duration.as_millis().try_into().unwrap_or(u64::MAX)
}

/// Time without a running container of the node, by the steps: from the first stop to the end of the last start after
/// it. `None` without a stop or a start.
pub fn downtime_ms(steps: &[Step]) -> Option<u64> {
    let is = |step: &Step, verb: &str| step.step == verb || step.step == "restart";
    let down = steps.iter().filter(|step| is(step, "stop")).map(|step| step.after_ms).min()?;
    let starts = steps.iter().filter(|step| is(step, "start") && step.error.is_none());
    let up = starts.map(|step| step.after_ms + step.took_ms as i64).max()?;
    Some((up - down).max(0) as u64)
}

/// An engine whose calls are timed.
pub struct TimedRuntime {
    inner: Arc<dyn ContainerRuntime>,
    metrics: Arc<Metrics>,
}

impl TimedRuntime {
    /// Times the calls of `inner`.
    pub fn new(inner: Arc<dyn ContainerRuntime>, metrics: Arc<Metrics>) -> Self {
        Self { inner, metrics }
    }

    async fn step<T>(
        &self,
        call: &'static str,
        container: Option<&ContainerId>,
        work: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        let began = Instant::now();
        let result = work.await;
        let id = container.cloned();
        let _ = STEPS.try_with(|steps| steps.push(call, id.as_ref(), began, result.as_ref().err()));
        self.metrics.engine_call(call, began.elapsed(), result.as_ref().err());
        result
    }

    async fn call<T>(&self, call: &'static str, work: impl Future<Output = Result<T>>) -> Result<T> {
        let began = Instant::now();
        let result = work.await;
        self.metrics.engine_call(call, began.elapsed(), result.as_ref().err());
        result
    }
}

impl fmt::Debug for TimedRuntime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

#[async_trait]
impl ContainerRuntime for TimedRuntime {
    fn kind(&self) -> EngineKind {
        self.inner.kind()
    }

    async fn info(&self) -> Result<EngineInfo> {
        self.call("info", self.inner.info()).await
    }

    async fn list(&self, owner: &Owner) -> Result<Vec<Container>> {
        self.call("list", self.inner.list(owner)).await
    }

    async fn ensure_network(&self, name: &str, owner: &Owner) -> Result<()> {
        self.step("network", None, self.inner.ensure_network(name, owner)).await
    }

    async fn pull(
        &self,
        image: &ImageReference,
        credentials: Option<&RegistryCredentials>,
        progress: ProgressFn<'_>,
    ) -> Result<ImageId> {
        self.call("pull", self.inner.pull(image, credentials, progress)).await
    }

    async fn image(&self, image: &ImageReference) -> Result<Option<ImageId>> {
        self.call("image", self.inner.image(image)).await
    }

    async fn create(&self, spec: &ContainerSpec) -> Result<ContainerId> {
        self.step("create", None, self.inner.create(spec)).await
    }

    async fn start(&self, id: &ContainerId) -> Result<()> {
        self.step("start", Some(id), self.inner.start(id)).await
    }

    async fn stop(&self, id: &ContainerId, grace: Duration) -> Result<()> {
        self.step("stop", Some(id), self.inner.stop(id, grace)).await
    }

    async fn restart(&self, id: &ContainerId, grace: Duration) -> Result<()> {
        self.step("restart", Some(id), self.inner.restart(id, grace)).await
    }

    async fn rename(&self, id: &ContainerId, name: &str) -> Result<()> {
        self.step("rename", Some(id), self.inner.rename(id, name)).await
    }

    async fn remove(&self, id: &ContainerId) -> Result<()> {
        self.step("remove", Some(id), self.inner.remove(id)).await
    }

    async fn logs(&self, id: &ContainerId, since: Option<OffsetDateTime>) -> Result<LogStream> {
        self.call("logs", self.inner.logs(id, since)).await
    }

    async fn events(&self, owner: &Owner) -> Result<EventStream> {
        self.call("events", self.inner.events(owner)).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps(steps: &[(&str, i64, u64)]) -> Vec<Step> {
        let step = |(verb, after_ms, took_ms): &(&str, i64, u64)| Step {
            step: (*verb).to_owned(),
            container: None,
            after_ms: *after_ms,
            took_ms: *took_ms,
            error: None,
        };
        steps.iter().map(step).collect()
    }

    #[test]
    fn downtime_lasts_from_the_stop_to_the_end_of_the_start() {
        let down = |all: &[(&str, i64, u64)]| downtime_ms(&steps(all));
        assert_eq!(down(&[("restart", 5, 350)]), Some(350));
        assert_eq!(down(&[("create", 0, 40), ("stop", 40, 200), ("start", 240, 90), ("remove", 2400, 9)]), Some(290));
        assert_eq!(down(&[("create", 0, 40), ("start", 40, 90), ("stop", 2200, 100)]), Some(0), "overlap");
        let back = [("stop", 0, 10), ("start", 10, 10), ("stop", 500, 10), ("start", 510, 20)];
        assert_eq!(down(&back), Some(530), "the old one came back");
        assert_eq!(down(&[("create", 0, 40), ("start", 40, 90)]), None);
        assert_eq!(down(&[("stop", 0, 40)]), None);
    }
}
