//! Records the reports of the driver and the daemon: as history, as metrics and as events for followers.
//!
//! The recorder never waits and makes no decisions: a full channel, a slow reader or a broken disk costs records, never
//! a restart.

mod memory;
mod writer;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use managed_app_runtimes::{EngineInfo, ImageReference};
use time::OffsetDateTime;
use tokio::sync::{Notify, broadcast};
use tokio::time::{Duration, Instant};
use tracing::warn;

use super::counters::AuditNumbers;
use super::counters::{NodeNumbers, Numbers};
use super::history::{History, HistoryFile};
use super::metrics::Metrics;
use super::model::{Event, LogReport, NodeHistory, Report, Stamp, VERSION, crash_loop_text};
use super::steps::Steps;
use crate::model::{Change, NodeName};
use crate::reconciler::{
    CrashLoopNotice, FailureKind, OVER_AFTER, Operation, Outcome, Pulled, Reason, Status, rounded,
};
use memory::{Memory, Receipt};

/// Counts of the output of each node.
type LogNumbers = BTreeMap<NodeName, NodeNumbers>;

/// Events that may wait for a follower; a slower follower loses events and gets their number.
const FOLLOWING_MAX: usize = 256;

/// The app of the daemon.
#[derive(Debug, Clone, Default)]
pub struct DaemonInfo {
    /// Name of the app.
    pub app: String,
    /// Name of the tenant.
    pub tenant: String,
}

/// A serialised event.
#[derive(Debug)]
pub struct Line {
    /// Its ID.
    pub id: u64,
    /// The event as JSON on one line.
    pub json: String,
}

/// An attempt at an action in progress.
#[derive(Debug)]
pub struct RunningAction {
    node: String,
    id: u64,
    steps: Steps,
    received: Option<Instant>,
}

impl RunningAction {
    /// Runs `work` and records its engine calls as steps.
    pub async fn watch<T>(&self, work: impl Future<Output = T>) -> T {
        self.steps.collect(work).await
    }
}

/// Returns the remaining lifetime of a token or credential.
type Expiry = Box<dyn Fn() -> Option<Duration> + Send + Sync>;

/// Counts and lifetimes of other components, read for each report.
#[derive(Default)]
struct Sources {
    expiries: Vec<(&'static str, Expiry)>,
    logs: Option<Numbers>,
    own_log: Option<Box<dyn Fn() -> NodeNumbers + Send + Sync>>,
    audit: Option<Box<dyn Fn() -> AuditNumbers + Send + Sync>>,
}

/// The records of one daemon.
pub struct Recorder {
    about: DaemonInfo,
    started_at: Stamp,
    memory: Mutex<Memory>,
    followers: broadcast::Sender<Arc<Line>>,
    metrics: Arc<Metrics>,
    sources: Mutex<Sources>,
    file: Mutex<Option<HistoryFile>>,
    /// Notified when there are actions to write.
    pending: Notify,
}

impl std::fmt::Debug for Recorder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Recorder")
    }
}

impl Recorder {
    /// Keeps the history in `directory`, and loads the history of earlier daemons there. A file that cannot be read is a
    /// warning. Blocks.
    pub fn open(about: DaemonInfo, directory: &Path) -> Arc<Self> {
        let (file, history) = HistoryFile::open(directory);
        let history = history.unwrap_or_else(|error| {
            warn!(%error, "history file cannot be read; earlier actions are not shown");
            History::default()
        });
        Arc::new(Self::new(about, history, Some(file)))
    }

    /// Keeps everything in memory.
    pub fn in_memory(about: DaemonInfo) -> Arc<Self> {
        Arc::new(Self::new(about, History::default(), None))
    }

    fn new(about: DaemonInfo, history: History, file: Option<HistoryFile>) -> Self {
        Self {
            about,
            started_at: Stamp::now(),
            memory: Mutex::new(Memory::new(history)),
            followers: broadcast::Sender::new(FOLLOWING_MAX),
            metrics: Arc::default(),
            sources: Mutex::default(),
            file: Mutex::new(file),
            pending: Notify::new(),
        }
    }

    /// The metrics.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// Sets the phase of the daemon before its driver runs.
    pub fn set_stage(&self, text: &'static str) {
        self.memory().stage = text;
        self.publish("daemon", None, text.to_owned(), None);
    }

    /// Records the first response of the engine.
    pub fn engine(&self, info: &EngineInfo) {
        let text = format!("{} {} answers at {}", info.kind, info.version, info.endpoint);
        self.memory().engine = Some(memory::engine_report(info));
        self.publish("daemon", None, text, None);
    }

    /// Sets the source of the expiry of `what`.
    pub fn watch_expiry(&self, what: &'static str, read: impl Fn() -> Option<Duration> + Send + Sync + 'static) {
        let mut sources = self.sources();
        sources.expiries.retain(|(known, _)| *known != what);
        sources.expiries.push((what, Box::new(read)));
    }

    /// Sets the source of the counts of the nodes' output.
    pub fn watch_logs(&self, numbers: Numbers) {
        self.sources().logs = Some(numbers);
    }

    /// Sets the source of the counts of the daemon's own log.
    pub fn watch_own_log(&self, read: impl Fn() -> NodeNumbers + Send + Sync + 'static) {
        self.sources().own_log = Some(Box::new(read));
    }

    /// Sets the source of the counts of audit records.
    pub fn watch_audit(&self, read: impl Fn() -> AuditNumbers + Send + Sync + 'static) {
        self.sources().audit = Some(Box::new(read));
    }

    /// Records a received change message.
    pub fn received(
        &self,
        change: &Change,
        message_id: &str,
        tracking_id: Option<&str>,
        sent_at: Option<OffsetDateTime>,
    ) {
        let now = Stamp::now();
        let queued = sent_at.map(|sent| (now.time() - sent).try_into().unwrap_or(Duration::ZERO));
        self.metrics.change(change.kind(), queued);
        self.memory().receive(Receipt {
            change: change.clone(),
            message_id: message_id.to_owned(),
            tracking_id: tracking_id.map(str::to_owned),
            sent_at: sent_at.map(Stamp::of),
            received_at: now,
            received: Instant::now(),
        });
        self.publish("change", None, format!("change: {change}"), None);
    }

    /// Counts a failure of the cloud, the engine or the registry.
    pub fn failed(&self, source: &str, kind: FailureKind) {
        self.metrics.failure(source, kind);
    }

    /// Records the begin of an attempt at an operation.
    pub fn begin(&self, node: &NodeName, operation: &Operation, reason: &Reason) -> RunningAction {
        let steps = Steps::begin();
        let (action, received) = self.memory().begin(node, operation, reason);
        let begun = RunningAction { node: action.node.clone(), id: action.id, steps, received };
        let text = format!("{} {}: {}", action.action, action.node, action.because);
        self.write();
        self.publish("begin", Some(node.as_str()), text, Some(action));
        begun
    }

    /// Records the end of an attempt.
    pub fn end(&self, begun: RunningAction, outcome: &Outcome) {
        let Some(action) = self.memory().end(&begun, outcome) else { return };
        self.metrics.action(&action);
        if let Outcome::Failed(failure) | Outcome::RolledBack(failure) = outcome {
            self.metrics.failure("operation", failure.kind);
        }
        let mut text = format!("{} {}: {}", action.action, action.node, action.outcome.text());
        if let Some(error) = &action.error {
            text.push_str(&format!(": {error}"));
        }
        self.write();
        self.publish("end", Some(&begun.node), text, Some(action));
    }

    /// Records the end of a pull that began at `began`.
    pub fn pulled(&self, image: &ImageReference, began: Instant, outcome: &Pulled) {
        self.metrics.pull(began.elapsed(), outcome);
        self.memory().pulled(image, began);
        let text = match outcome {
            Pulled::Fresh(_) => format!("pull {image}: up to date"),
            Pulled::Kept { failure, .. } => {
                format!("pull {image}: failed, the local copy stays in use: {}", failure.text)
            }
            Pulled::Failed(failure) => format!("pull {image}: failed: {}", failure.text),
        };
        self.publish("pull", None, text, None);
    }

    /// Records the begin, the progress or the end of a crash loop.
    pub fn crash_loop(&self, node: &NodeName, notice: &CrashLoopNotice) {
        let text = match notice {
            CrashLoopNotice::GoingOn(crash_loop) => {
                format!("{node}: {}", crash_loop_text(crash_loop, Stamp::now()))
            }
            CrashLoopNotice::Over { count } => {
                format!("{node}: crash loop is over: up for {} after {count} exits", rounded(OVER_AFTER))
            }
        };
        self.publish("node", Some(node.as_str()), text, None);
    }

    /// Records the current status of the driver.
    pub fn observe(&self, status: &Status) {
        let events = self.memory().observe(status);
        for (node, text) in events {
            let kind = if node.is_some() { "node" } else { "daemon" };
            self.publish(kind, node.as_deref(), text, None);
        }
    }

    /// The current status report.
    pub fn report(&self) -> Report {
        let now = Stamp::now();
        let until = |read: &Expiry| read().map(|left| Stamp::of(now.time() + left));
        let sources = self.sources();
        let held = sources.expiries.iter().filter_map(|(what, read)| Some(((*what).to_owned(), until(read)?)));
        let expiries = held.collect();
        drop(sources);
        let numbers = self.log_numbers();
        let mut report = self.memory().report(&self.about, self.started_at, expiries, &numbers);
        report.daemon.log = self.own_log_numbers().map(LogReport::from);
        report
    }

    /// The metrics as text.
    pub fn metrics_text(&self) -> Vec<u8> {
        let report = self.report();
        let audit = self.sources().audit.as_ref().map(|read| read());
        self.metrics.text(&report, &self.log_numbers(), self.own_log_numbers(), audit)
    }

    fn own_log_numbers(&self) -> Option<NodeNumbers> {
        self.sources().own_log.as_ref().map(|read| read())
    }

    fn log_numbers(&self) -> LogNumbers {
        let logs = self.sources().logs.clone();
        logs.map(|numbers| numbers.snapshot()).unwrap_or_default()
    }

    fn sources(&self) -> MutexGuard<'_, Sources> {
        self.sources.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// State and actions of a node; `None` if it is unknown.
    pub fn history(&self, node: &str) -> Option<NodeHistory> {
        let numbers = self.log_numbers();
        self.memory().history(node, &numbers)
    }

    /// Events from now on, and the kept events after the ID `after`.
    pub fn follow(&self, after: Option<u64>) -> (Vec<Arc<Line>>, broadcast::Receiver<Arc<Line>>) {
        let memory = self.memory();
        let receiver = self.followers.subscribe();
        let missed = after.map_or_else(Vec::new, |after| memory.events_after(after));
        (missed, receiver)
    }

    fn publish(&self, kind: &str, node: Option<&str>, text: String, action: Option<super::model::Action>) {
        let mut memory = self.memory();
        let event = Event {
            version: VERSION,
            id: memory.next_event(),
            at: Stamp::now(),
            kind: kind.to_owned(),
            node: node.map(str::to_owned),
            text,
            action,
        };
        let json = serde_json::to_string(&event).expect("strings and numbers are always JSON");
        let line = Arc::new(Line { id: event.id, json });
        memory.keep_event(line.clone());
        // Under the lock, so that IDs are in order. It is not an error if there are no followers.
        let _ = self.followers.send(line);
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
