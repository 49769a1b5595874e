//! A runtime with fault injection: wraps any backend and makes selected calls fail, wait, hang or lose their response.
//!
//! It owns the rules and their order. It must not change the behaviour of the wrapped backend for calls that pass.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::{StreamExt, stream};
use managed_app_runtimes::{
    Container, ContainerId, ContainerRuntime, ContainerSpec, Engine, EngineHost, EngineInfo, EngineInspection,
    EngineKind, ErrorKind, EventStream, ImageId, ImageReference, ImageStore, LogStream, Owner, ProgressFn,
    RegistryCredentials, Result, RuntimeError,
};
use time::OffsetDateTime;
use tokio::sync::watch;

/// A method of [`ContainerRuntime`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)] // Named after the methods.
pub enum Verb {
    Info,
    Host,
    List,
    EnsureNetwork,
    Pull,
    Image,
    RemoveImage,
    Create,
    Start,
    Stop,
    Restart,
    Rename,
    Remove,
    Logs,
    Events,
}

/// A runtime with injected failures; without rules it behaves as the wrapped one.
///
/// At most one rule applies to a call: the first unused one, in the order of creation, for its verb and name. Clones
/// share rules and backend.
///
/// ```
/// use std::sync::Arc;
/// use managed_app_fakes::faulty::{Faulty, Verb};
/// use managed_app_fakes::InMemoryRuntime;
/// use managed_app_runtimes::{ContainerRuntime, ErrorKind};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let runtime = Faulty::new(Arc::new(InMemoryRuntime::new()));
/// runtime.on(Verb::Info).times(1).fail(ErrorKind::Unreachable);
///
/// let refused = runtime.info().await.expect_err("the rule is for the first call");
/// assert_eq!(refused.kind(), ErrorKind::Unreachable);
/// assert!(runtime.info().await.is_ok());
///
/// let hung = runtime.on(Verb::Info).times(1).hang();
/// let call = runtime.info();
/// hung.release();
/// assert!(call.await.is_ok());
/// assert_eq!(runtime.faults_met(), 2);
/// # }
/// ```
#[derive(Clone)]
pub struct Faulty {
    inner: Arc<dyn Engine>,
    faults: Arc<Faults>,
}

struct Faults {
    state: Mutex<State>,
    /// Incremented to end the event streams.
    cuts: watch::Sender<u64>,
    swallows: watch::Sender<bool>,
}

#[derive(Default)]
struct State {
    rules: Vec<Rule>,
    names: HashMap<ContainerId, String>,
    met: usize,
}

struct Rule {
    verb: Verb,
    subject: Option<String>,
    left: usize,
    effect: Effect,
}

#[derive(Clone)]
enum Effect {
    Fail(ErrorKind),
    Delay(Duration),
    Hang(watch::Receiver<bool>),
    LoseAnswer(ErrorKind),
    AnswerLate(Duration),
}

/// A rule under construction; it applies once its effect is set.
#[must_use = "a rule without an effect does nothing"]
pub struct RuleBuilder<'a> {
    faulty: &'a Faulty,
    verb: Verb,
    subject: Option<String>,
    times: usize,
}

impl RuleBuilder<'_> {
    /// Only calls for this container (its name, as far as this wrapper saw it created, listed or renamed, or its id),
    /// image, network, or app. Default: every call.
    pub fn named(mut self, subject: impl Into<String>) -> Self {
        self.subject = Some(subject.into());
        self
    }

    /// Only the next `times` calls. Default: all calls.
    pub fn times(mut self, times: usize) -> Self {
        self.times = times;
        self
    }

    /// The call fails without an effect.
    pub fn fail(self, kind: ErrorKind) {
        self.add(Effect::Fail(kind));
    }

    /// The call is delayed.
    pub fn delay(self, delay: Duration) {
        self.add(Effect::Delay(delay));
    }

    /// The call waits until the handle is released or dropped, without a limit.
    pub fn hang(self) -> Hung {
        let (released, gate) = watch::channel(false);
        self.add(Effect::Hang(gate));
        Hung { released }
    }

    /// The call is executed and its response lost: the caller gets an error of `kind` (`Unreachable`, `TimedOut`).
    pub fn lose_answer(self, kind: ErrorKind) {
        self.add(Effect::LoseAnswer(kind));
    }

    /// The call is executed at once and its response delayed.
    pub fn answer_late(self, delay: Duration) {
        self.add(Effect::AnswerLate(delay));
    }

    fn add(self, effect: Effect) {
        let rule = Rule { verb: self.verb, subject: self.subject, left: self.times, effect };
        self.faulty.state().rules.push(rule);
    }
}

/// Hanging calls; they continue when this is released or dropped.
#[derive(Debug)]
#[must_use = "dropping it lets the calls go on"]
pub struct Hung {
    released: watch::Sender<bool>,
}

impl Hung {
    /// Releases the calls, current and future ones.
    pub fn release(self) {
        self.released.send_replace(true);
    }
}

impl fmt::Debug for Faulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Faulty").field("inner", &self.inner).field("rules", &self.state().rules.len()).finish()
    }
}

impl Faulty {
    /// Wraps `inner`, without any rule.
    pub fn new(inner: Arc<dyn Engine>) -> Self {
        let faults =
            Faults { state: Mutex::default(), cuts: watch::Sender::new(0), swallows: watch::Sender::new(false) };
        Self { inner, faults: Arc::new(faults) }
    }

    /// Starts a rule for calls of `verb`.
    pub fn on(&self, verb: Verb) -> RuleBuilder<'_> {
        RuleBuilder { faulty: self, verb, subject: None, times: usize::MAX }
    }

    /// Removes all rules; hanging calls hang until released.
    pub fn clear(&self) {
        self.state().rules.clear();
    }

    /// Number of calls that a rule applied to.
    pub fn faults_met(&self) -> usize {
        self.state().met
    }

    /// Ends all current event streams without an error.
    pub fn end_event_streams(&self) {
        self.faults.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// Whether events are dropped from now on; the streams stay open.
    pub fn swallow_events(&self, swallows: bool) {
        self.faults.swallows.send_replace(swallows);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.faults.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn name_of(&self, id: &ContainerId) -> String {
        self.state().names.get(id).cloned().unwrap_or_else(|| id.0.clone())
    }

    fn remember_name(&self, id: &ContainerId, name: &str) {
        self.state().names.insert(id.clone(), name.to_owned());
    }

    /// Uses a rule for the call, if there is one.
    fn take(&self, verb: Verb, subject: &str) -> Option<Effect> {
        let mut state = self.state();
        let meets = |rule: &&mut Rule| {
            rule.left > 0 && rule.verb == verb && rule.subject.as_deref().is_none_or(|wanted| wanted == subject)
        };
        let rule = state.rules.iter_mut().find(meets)?;
        rule.left -= 1;
        let effect = rule.effect.clone();
        state.met += 1;
        Some(effect)
    }

    async fn call<T>(&self, verb: Verb, subject: &str, call: impl Future<Output = Result<T>> + Send) -> Result<T> {
        let failed = |kind| RuntimeError::new(kind, "run an operation on", subject).with_source("injected fault");
        match self.take(verb, subject) {
            None => call.await,
            Some(Effect::Fail(kind)) => Err(failed(kind)),
            Some(Effect::Delay(delay)) => {
                tokio::time::sleep(delay).await;
                call.await
            }
            Some(Effect::Hang(mut gate)) => {
                // An error means that the handle was dropped, which releases the call too.
                let _ = gate.wait_for(|released| *released).await;
                call.await
            }
            Some(Effect::LoseAnswer(kind)) => {
                // The result is discarded, success or failure.
                let _ = call.await;
                Err(failed(kind))
            }
            Some(Effect::AnswerLate(delay)) => {
                let result = call.await;
                tokio::time::sleep(delay).await;
                result
            }
        }
    }
}

#[async_trait]
impl EngineInspection for Faulty {
    async fn host(&self) -> Result<EngineHost> {
        self.call(Verb::Host, "", self.inner.host()).await
    }
}

#[async_trait]
impl ImageStore for Faulty {
    async fn image_architecture(&self, image: &ImageReference) -> Result<Option<String>> {
        self.call(Verb::Image, &image.to_string(), self.inner.image_architecture(image)).await
    }

    async fn remove_image(&self, id: &ImageId) -> Result<()> {
        self.call(Verb::RemoveImage, &id.0, self.inner.remove_image(id)).await
    }
}

#[async_trait]
impl ContainerRuntime for Faulty {
    fn kind(&self) -> EngineKind {
        self.inner.kind()
    }

    async fn info(&self) -> Result<EngineInfo> {
        self.call(Verb::Info, "", self.inner.info()).await
    }

    async fn list(&self, owner: &Owner) -> Result<Vec<Container>> {
        let containers = self.call(Verb::List, &owner.app, self.inner.list(owner)).await?;
        for container in &containers {
            self.remember_name(&container.id, &container.name);
        }
        Ok(containers)
    }

    async fn ensure_network(&self, name: &str, owner: &Owner) -> Result<()> {
        self.call(Verb::EnsureNetwork, name, self.inner.ensure_network(name, owner)).await
    }

    async fn pull(
        &self,
        image: &ImageReference,
        credentials: Option<&RegistryCredentials>,
        progress: ProgressFn<'_>,
    ) -> Result<ImageId> {
        self.call(Verb::Pull, &image.to_string(), self.inner.pull(image, credentials, progress)).await
    }

    async fn image(&self, image: &ImageReference) -> Result<Option<ImageId>> {
        self.call(Verb::Image, &image.to_string(), self.inner.image(image)).await
    }

    async fn create(&self, spec: &ContainerSpec) -> Result<ContainerId> {
        let create = async {
            let id = self.inner.create(spec).await?;
            self.remember_name(&id, &spec.name);
            Ok(id)
        };
        self.call(Verb::Create, &spec.name, create).await
    }

    async fn start(&self, id: &ContainerId) -> Result<()> {
        self.call(Verb::Start, &self.name_of(id), self.inner.start(id)).await
    }

    async fn stop(&self, id: &ContainerId, grace: Duration) -> Result<()> {
        self.call(Verb::Stop, &self.name_of(id), self.inner.stop(id, grace)).await
    }

    async fn restart(&self, id: &ContainerId, grace: Duration) -> Result<()> {
        self.call(Verb::Restart, &self.name_of(id), self.inner.restart(id, grace)).await
    }

    async fn rename(&self, id: &ContainerId, name: &str) -> Result<()> {
        let rename = async {
            self.inner.rename(id, name).await?;
            self.remember_name(id, name);
            Ok(())
        };
        self.call(Verb::Rename, &self.name_of(id), rename).await
    }

    async fn remove(&self, id: &ContainerId) -> Result<()> {
        self.call(Verb::Remove, &self.name_of(id), self.inner.remove(id)).await
    }

    async fn logs(&self, id: &ContainerId, since: Option<OffsetDateTime>) -> Result<LogStream> {
        self.call(Verb::Logs, &self.name_of(id), self.inner.logs(id, since)).await
    }

    async fn events(&self, owner: &Owner) -> Result<EventStream> {
        let cuts = self.faults.cuts.subscribe();
        let events = self.call(Verb::Events, &owner.app, self.inner.events(owner)).await?;
        let swallows = self.faults.swallows.subscribe();
        Ok(Box::pin(stream::unfold((events, cuts, swallows), |(mut events, mut cuts, swallows)| async move {
            loop {
                // Cancel-safe: both only take ready items.
                let next = tokio::select! {
                    biased;
                    _ = cuts.changed() => None,
                    next = events.next() => next,
                }?;
                if !*swallows.borrow() {
                    return Some((next, (events, cuts, swallows)));
                }
            }
        })))
    }
}
