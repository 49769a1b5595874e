//! Executes the effects of the reconciler and returns the results as events. Decides nothing. Owns the subscription to
//! the events of the engine.
//!
//! One loop owns the reconciler. Each effect that takes time becomes a task, and its result is the next event. A slow
//! or hung node therefore never delays another, and the loop awaits only the next event.

mod engine_events;
mod failure;
mod operate;
mod pull;
pub(crate) mod state;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use managed_app_runtimes::{ImageReference, WorkloadEngine};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::Instant;
use tracing::{debug, error, info, warn};

pub use state::{Disk, StateFile};

use crate::cloud::{Aws, ControlPlane};
use crate::model::{App, NodeName, QueueAddress, Snapshot};
use crate::reconciler::{
    CrashLoop, CrashLoopNotice, Effect, Event, Failure, FailureKind, Finish, OVER_AFTER, Operation, Outcome, Phase,
    Pulled, Reason, Reconciler, Settings, Status, signal,
};
use crate::registry::Registry;
use crate::status::Recorder;
use crate::text::chain;
use engine_events::EngineEvents;

/// The longest wait for a complete snapshot, above the limits of the client itself.
const SNAPSHOT_LIMIT: Duration = Duration::from_secs(90);
/// The status is published at most this often, and at once when the phase changes.
const STATUS_EVERY: Duration = Duration::from_millis(100);
/// Interval of heartbeats of an idle loop.
const HEARTBEAT_EVERY: Duration = Duration::from_secs(5);

/// The dependencies of the tasks.
#[derive(Debug)]
pub struct Executor {
    /// The engine.
    pub engine: Arc<dyn WorkloadEngine>,
    /// The control plane.
    pub cloud: Arc<dyn ControlPlane>,
    /// AWS, for the endpoints of its services.
    pub aws: Arc<Aws>,
    /// Credentials for images.
    pub registry: Arc<Registry>,
    /// Permits of pulls.
    pub pulls: Semaphore,
    /// Records operations.
    pub recorder: Arc<Recorder>,
    /// The last response about the app, to determine what has changed since.
    pub last_app: Mutex<Option<Arc<App>>>,
}

/// The loop around the reconciler.
#[derive(Debug)]
pub struct Driver {
    reconciler: Reconciler,
    executor: Arc<Executor>,
    tasks: JoinSet<Event>,
    /// The subject of each task, to report one that panicked.
    subjects: HashMap<Id, Subject>,
    queue: watch::Sender<Option<QueueAddress>>,
    app: watch::Sender<Option<Arc<App>>>,
    status: watch::Sender<Status>,
    began: Instant,
    publish_at: Option<Instant>,
    /// When the loop last ran.
    heartbeat: watch::Sender<Instant>,
}

#[derive(Debug, Clone)]
enum Subject {
    Snapshot,
    List,
    Pull(ImageReference),
    Node(NodeName),
}

impl Driver {
    /// A driver with a new reconciler. The queue address and the status are published on the watches.
    pub fn new(
        settings: Settings,
        executor: Executor,
        queue: watch::Sender<Option<QueueAddress>>,
    ) -> (Self, watch::Receiver<Status>) {
        let reconciler = Reconciler::new(settings, rand::random());
        let (status, receiver) = watch::channel(reconciler.status());
        let driver = Self {
            reconciler,
            executor: Arc::new(executor),
            tasks: JoinSet::new(),
            subjects: HashMap::new(),
            queue,
            app: watch::Sender::new(None),
            status,
            began: Instant::now(),
            publish_at: None,
            heartbeat: watch::Sender::new(Instant::now()),
        };
        (driver, receiver)
    }

    /// When the loop last ran; at least every few seconds, unless something in it hangs.
    pub fn heartbeat(&self) -> watch::Receiver<Instant> {
        self.heartbeat.subscribe()
    }

    /// The app as the cloud last described it; `None` before that. It stays after the removal of the app.
    pub fn app(&self) -> watch::Receiver<Option<Arc<App>>> {
        self.app.subscribe()
    }

    /// Runs until everything is done. Dropping the future aborts all tasks.
    pub async fn run(mut self, mut inbox: mpsc::Receiver<Event>) -> Finish {
        let mut engine_events = EngineEvents::new(self.executor.engine.clone());
        let mut event = engine_events.next().await;
        loop {
            debug!(event = event.name(), "event");
            self.publish(&event);
            let effects = self.reconciler.on(event, self.began.elapsed());
            if matches!(self.reconciler.phase(), Phase::Stopping { .. }) {
                self.executor.engine.close();
            }
            for effect in effects {
                if let Some(finish) = self.execute(effect) {
                    self.publish_status();
                    return finish;
                }
            }
            self.publish_at.get_or_insert_with(|| Instant::now() + STATUS_EVERY);
            if self.reconciler.phase() != self.status.borrow().phase {
                self.publish_status();
            }
            event = self.next(&mut inbox, &mut engine_events).await;
        }
    }

    /// Notifies followers of the app about its state.
    fn publish(&self, event: &Event) {
        if let Event::Snapshot(Ok(Snapshot::App(app))) = event {
            self.app.send_replace(Some(app.clone()));
        }
    }

    /// The next event. All branches are cancel-safe.
    async fn next(&mut self, inbox: &mut mpsc::Receiver<Event>, engine_events: &mut EngineEvents) -> Event {
        loop {
            let deadline = self.reconciler.deadline().map(|at| self.began + at);
            self.heartbeat.send_replace(Instant::now());
            tokio::select! {
                biased;
                Some(event) = inbox.recv() => return event,
                // Before the results of operations, which cause most of them.
                event = engine_events.next() => return event,
                Some(done) = self.tasks.join_next_with_id(), if !self.tasks.is_empty() => return self.finished(done),
                () = sleep_until(deadline) => return Event::Timer,
                () = sleep_until(self.publish_at) => self.publish_status(),
                () = tokio::time::sleep(HEARTBEAT_EVERY) => {}
            }
        }
    }

    fn publish_status(&mut self) {
        self.publish_at = None;
        let status = self.reconciler.status();
        self.status.send_if_modified(|old| {
            let is_new = *old != status;
            *old = status;
            is_new
        });
    }

    fn execute(&mut self, effect: Effect) -> Option<Finish> {
        let executor = self.executor.clone();
        match effect {
            Effect::FetchSnapshot => self.spawn(Subject::Snapshot, async move { executor.snapshot().await }),
            Effect::List => self.spawn(Subject::List, async move { executor.list().await }),
            Effect::Pull(image) => self.spawn(Subject::Pull(image.clone()), async move {
                let began = Instant::now();
                let outcome = executor.pull(&image).await;
                executor.recorder.pulled(&image, began, &outcome);
                Event::Pulled { image, outcome }
            }),
            Effect::Operate { node, operation, reason } => {
                self.spawn(Subject::Node(node.clone()), async move { executor.run(node, operation, reason).await });
            }
            Effect::Listen(address) => {
                self.queue.send_replace(Some(address));
            }
            Effect::CrashLoop { node, notice } => {
                log_crash_loop(&node, &notice);
                executor.recorder.crash_loop(&node, &notice);
            }
            Effect::Ready => {
                info!(elapsed_ms = self.began.elapsed().as_millis() as u64, "startup complete");
            }
            Effect::Finish(finish) => return Some(finish),
        }
        None
    }

    fn spawn(&mut self, subject: Subject, task: impl Future<Output = Event> + Send + 'static) {
        let handle = self.tasks.spawn(task);
        self.subjects.insert(handle.id(), subject);
    }

    /// A task that panicked must not leave its node busy forever.
    fn finished(&mut self, done: Result<(Id, Event), JoinError>) -> Event {
        let error = match done {
            Ok((id, event)) => {
                self.subjects.remove(&id);
                return event;
            }
            Err(error) => error,
        };
        error!(%error, "a task panicked; this is a bug");
        let failure = Failure { kind: FailureKind::Transient, text: "a task panicked; this is a bug".to_owned() };
        match self.subjects.remove(&error.id()) {
            Some(Subject::Snapshot) => Event::Snapshot(Err(failure)),
            Some(Subject::List) | None => Event::Listed(Err(failure)),
            Some(Subject::Pull(image)) => Event::Pulled { image, outcome: Pulled::Failed(failure) },
            Some(Subject::Node(node)) => Event::Finished { node, outcome: Outcome::Failed(failure) },
        }
    }
}

impl Executor {
    /// Fetches the app from the cloud.
    pub async fn snapshot(&self) -> Event {
        let answer = tokio::time::timeout(SNAPSHOT_LIMIT, self.cloud.app()).await;
        Event::Snapshot(match answer {
            Ok(Ok(snapshot)) => Ok(self.compared(snapshot)),
            Ok(Err(error)) => {
                warn!(error = chain(&error), "the app cannot be read; retrying");
                let failure = failure::of_cloud(&error);
                self.recorder.failed("cloud", failure.kind);
                Err(failure)
            }
            Err(_) => {
                Err(Failure { kind: FailureKind::Transient, text: "read the app: no response in time".to_owned() })
            }
        })
    }

    /// Runs here instead of in the reconciler, whose loop all nodes share.
    fn compared(&self, snapshot: Snapshot) -> Snapshot {
        let mut last = self.last_app.lock().unwrap_or_else(PoisonError::into_inner);
        let compared = snapshot.since(last.as_ref());
        *last = compared.app().cloned();
        compared
    }

    /// Lists our containers.
    pub async fn list(&self) -> Event {
        Event::Listed(self.engine.observe().await.map_err(|error| {
            warn!(error = chain(&error), "containers cannot be listed; retrying");
            let failure = failure::of_runtime(&error);
            self.recorder.failed("engine", failure.kind);
            failure
        }))
    }

    /// Runs one operation and returns its result as an event.
    async fn run(&self, node: NodeName, operation: Operation, reason: Reason) -> Event {
        let began = Instant::now();
        let action = operation.verb();
        let begun = self.recorder.begin(&node, &operation, &reason);
        let reason = reason.to_string();
        debug!(node = %node, action, reason, "operation started");
        let outcome = begun.watch(self.operate(operation)).await;
        self.recorder.end(begun, &outcome);
        let elapsed_ms = began.elapsed().as_millis() as u64;
        match &outcome {
            Outcome::Failed(failure) => {
                warn!(node = %node, action, reason, elapsed_ms, error = failure.text, "operation failed; retrying");
            }
            Outcome::RolledBack(failure) => {
                warn!(node = %node, action, reason, elapsed_ms, error = failure.text, "rolled back to the old container");
            }
            Outcome::ImageMissing => warn!(node = %node, action, reason, "image is missing; pulling it again"),
            Outcome::Abandoned => info!(node = %node, action, "operation was abandoned because the daemon ends"),
            _ => info!(node = %node, action, reason, elapsed_ms, "operation completed"),
        }
        Event::Finished { node, outcome }
    }
}

/// Logs what an operator should know without asking.
fn log_crash_loop(node: &NodeName, notice: &CrashLoopNotice) {
    match notice {
        CrashLoopNotice::GoingOn(CrashLoop { count, window, last, next_start }) => warn!(
            %node,
            count,
            window_ms = window.map(|window| window.as_millis() as u64),
            exit_code = last.code,
            signal = last.code.and_then(signal),
            oom_killed = last.is_oom,
            next_start_ms = next_start.map(|next| next.pause.as_millis() as u64),
            "crash loop: the process of the node exits repeatedly"
        ),
        CrashLoopNotice::Over { count } => {
            info!(%node, count, up_ms = OVER_AFTER.as_millis() as u64, "crash loop is over: the process stays up");
        }
    }
}

/// Never ends if there is no time.
async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
