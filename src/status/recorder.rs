//! What happens, as the driver and the daemon tell it: kept as history, counted as metrics, told to those who follow.
//!
//! Nothing here waits and nothing here decides: a full channel, a slow reader or a broken disk costs records, never a
//! restart.

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

use super::history::{History, HistoryFile};
use super::metrics::Metrics;
use super::model::{Event, LogReport, NodeHistory, Report, Stamp, VERSION, crash_loop_text};
use super::steps::Steps;
use crate::cloud::AuditNumbers;
use crate::logs::{NodeNumbers, Numbers};
use crate::model::{Change, NodeName};
use crate::reconciler::{
    CrashLoopNotice, FailureKind, OVER_AFTER, Operation, Outcome, Pulled, Reason, Status, rounded,
};
use memory::{Memory, Receipt};

/// What became of the output of each node.
type LogNumbers = BTreeMap<NodeName, NodeNumbers>;

/// Events that may wait for one who follows; who is slower misses some and is told how many.
const FOLLOWING_MAX: usize = 256;

/// Whose daemon this is.
#[derive(Debug, Clone, Default)]
pub struct About {
    /// Name of the app.
    pub app: String,
    /// Name of the tenant.
    pub tenant: String,
}

/// An event as it is told.
#[derive(Debug)]
pub struct Line {
    /// Its number.
    pub id: u64,
    /// It, as JSON on one line.
    pub json: String,
}

/// An attempt at an action that is going on.
#[derive(Debug)]
pub struct Begun {
    node: String,
    id: u64,
    steps: Steps,
    received: Option<Instant>,
}

impl Begun {
    /// Takes the engine calls of `work` as its steps.
    pub async fn watch<T>(&self, work: impl Future<Output = T>) -> T {
        self.steps.collect(work).await
    }
}

/// A way to learn how long something is good.
type Expiry = Box<dyn Fn() -> Option<Duration> + Send + Sync>;

/// What others count and hold, asked whenever somebody wants to know.
#[derive(Default)]
struct Sources {
    expiries: Vec<(&'static str, Expiry)>,
    logs: Option<Numbers>,
    own_log: Option<Box<dyn Fn() -> NodeNumbers + Send + Sync>>,
    audit: Option<Box<dyn Fn() -> AuditNumbers + Send + Sync>>,
}

/// The records of one daemon.
pub struct Recorder {
    about: About,
    started_at: Stamp,
    memory: Mutex<Memory>,
    followers: broadcast::Sender<Arc<Line>>,
    metrics: Arc<Metrics>,
    sources: Mutex<Sources>,
    file: Mutex<Option<HistoryFile>>,
    /// There is something to write.
    written: Notify,
}

impl std::fmt::Debug for Recorder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Recorder")
    }
}

impl Recorder {
    /// Keeps the history in `directory`, and knows what a daemon before this one kept there. A file that cannot be read
    /// is a warning. Blocks.
    pub fn open(about: About, directory: &Path) -> Arc<Self> {
        let (file, history) = HistoryFile::open(directory);
        let history = history.unwrap_or_else(|error| {
            warn!(%error, "the history of before cannot be read");
            History::default()
        });
        Arc::new(Self::new(about, history, Some(file)))
    }

    /// Keeps everything in memory.
    pub fn in_memory(about: About) -> Arc<Self> {
        Arc::new(Self::new(about, History::default(), None))
    }

    fn new(about: About, history: History, file: Option<HistoryFile>) -> Self {
        Self {
            about,
            started_at: Stamp::now(),
            memory: Mutex::new(Memory::new(history)),
            followers: broadcast::Sender::new(FOLLOWING_MAX),
            metrics: Arc::default(),
            sources: Mutex::default(),
            file: Mutex::new(file),
            written: Notify::new(),
        }
    }

    /// The numbers.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// The daemon is at this, before its driver runs.
    pub fn stage(&self, text: &'static str) {
        self.memory().stage = text;
        self.tell("daemon", None, text.to_owned(), None);
    }

    /// The engine has answered.
    pub fn engine(&self, info: &EngineInfo) {
        let text = format!("{} {} answers at {}", info.kind, info.version, info.endpoint);
        self.memory().engine = Some(memory::engine_report(info));
        self.tell("daemon", None, text, None);
    }

    /// Until when `what` is good is learnt from `ask` whenever somebody wants to know.
    pub fn watch_expiry(&self, what: &'static str, ask: impl Fn() -> Option<Duration> + Send + Sync + 'static) {
        let mut sources = self.sources();
        sources.expiries.retain(|(known, _)| *known != what);
        sources.expiries.push((what, Box::new(ask)));
    }

    /// What becomes of the output of nodes is told by `numbers`.
    pub fn watch_logs(&self, numbers: Numbers) {
        self.sources().logs = Some(numbers);
    }

    /// What becomes of the daemon's own log is told by `ask`.
    pub fn watch_own_log(&self, ask: impl Fn() -> NodeNumbers + Send + Sync + 'static) {
        self.sources().own_log = Some(Box::new(ask));
    }

    /// What becomes of audit records is told by `ask`.
    pub fn watch_audit(&self, ask: impl Fn() -> AuditNumbers + Send + Sync + 'static) {
        self.sources().audit = Some(Box::new(ask));
    }

    /// A change message came.
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
        self.tell("change", None, format!("change: {change}"), None);
    }

    /// The cloud, the engine or the registry has failed.
    pub fn failed(&self, source: &str, kind: FailureKind) {
        self.metrics.failure(source, kind);
    }

    /// An attempt at an operation begins.
    pub fn begin(&self, node: &NodeName, operation: &Operation, reason: &Reason) -> Begun {
        let steps = Steps::begin();
        let (action, received) = self.memory().begin(node, operation, reason);
        let begun = Begun { node: action.node.clone(), id: action.id, steps, received };
        let text = format!("{} {}: {}", action.action, action.node, action.because);
        self.write();
        self.tell("begin", Some(node.as_str()), text, Some(action));
        begun
    }

    /// It is over.
    pub fn end(&self, begun: Begun, outcome: &Outcome) {
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
        self.tell("end", Some(&begun.node), text, Some(action));
    }

    /// A pull that began at `began` is over.
    pub fn pulled(&self, image: &ImageReference, began: Instant, outcome: &Pulled) {
        self.metrics.pull(began.elapsed(), outcome);
        self.memory().pulled(image, began);
        let text = match outcome {
            Pulled::Fresh(_) => format!("pull {image}: up to date"),
            Pulled::Kept { failure, .. } => {
                format!("pull {image}: failed, the copy that is here stays: {}", failure.text)
            }
            Pulled::Failed(failure) => format!("pull {image}: failed: {}", failure.text),
        };
        self.tell("pull", None, text, None);
    }

    /// A node is in a crash loop, or no longer.
    pub fn crash_loop(&self, node: &NodeName, notice: &CrashLoopNotice) {
        let text = match notice {
            CrashLoopNotice::GoingOn(crash_loop) => {
                format!("{node}: {}", crash_loop_text(crash_loop, Stamp::now()))
            }
            CrashLoopNotice::Over { count } => {
                format!("{node}: crash loop is over: up for {} after {count} exits", rounded(OVER_AFTER))
            }
        };
        self.tell("node", Some(node.as_str()), text, None);
    }

    /// The driver's status is this now.
    pub fn observe(&self, status: &Status) {
        let news = self.memory().observe(status);
        for (node, text) in news {
            let kind = if node.is_some() { "node" } else { "daemon" };
            self.tell(kind, node.as_deref(), text, None);
        }
    }

    /// Everything as it is now.
    pub fn report(&self) -> Report {
        let now = Stamp::now();
        let until = |ask: &Expiry| ask().map(|left| Stamp::of(now.time() + left));
        let sources = self.sources();
        let held = sources.expiries.iter().filter_map(|(what, ask)| Some(((*what).to_owned(), until(ask)?)));
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
        let audit = self.sources().audit.as_ref().map(|ask| ask());
        self.metrics.text(&report, &self.log_numbers(), self.own_log_numbers(), audit)
    }

    fn own_log_numbers(&self) -> Option<NodeNumbers> {
        self.sources().own_log.as_ref().map(|ask| ask())
    }

    fn log_numbers(&self) -> LogNumbers {
        let logs = self.sources().logs.clone();
        logs.map(|numbers| numbers.snapshot()).unwrap_or_default()
    }

    fn sources(&self) -> MutexGuard<'_, Sources> {
        self.sources.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is known of a node; `None` when nobody has heard of it.
    pub fn history(&self, node: &str) -> Option<NodeHistory> {
        let numbers = self.log_numbers();
        self.memory().history(node, &numbers)
    }

    /// Events from now on, and those after the number `after` as far as they are kept.
    pub fn follow(&self, after: Option<u64>) -> (Vec<Arc<Line>>, broadcast::Receiver<Arc<Line>>) {
        let memory = self.memory();
        let receiver = self.followers.subscribe();
        let missed = after.map_or_else(Vec::new, |after| memory.events_after(after));
        (missed, receiver)
    }

    fn tell(&self, kind: &str, node: Option<&str>, text: String, action: Option<super::model::Action>) {
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
        // Under the lock, so that numbers come in order. Nobody following is fine.
        let _ = self.followers.send(line);
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
