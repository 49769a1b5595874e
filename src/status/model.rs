//! What the status socket says: plain data, as JSON. A later version only adds fields; readers skip what they do not know.

mod crash_loop;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

pub(in crate::status) use crash_loop::crash_loop_text;
pub use crash_loop::{CrashLoopReport, ExitReport};

use crate::logs::{NodeNumbers, Volume};

/// Version of everything on the socket and in the history file. It is raised only when a field changes its meaning.
pub const VERSION: u32 = 1;

/// A moment, UTC, to the millisecond; in JSON as RFC 3339 (`2026-11-22T19:17:00.123Z`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stamp(OffsetDateTime);

impl Stamp {
    /// Now, by the host's clock.
    pub fn now() -> Self {
        Self::of(OffsetDateTime::now_utc())
    }

    /// This moment.
    pub fn of(at: OffsetDateTime) -> Self {
        let at = at.to_offset(time::UtcOffset::UTC);
        Self(at.replace_millisecond(at.millisecond()).unwrap_or(at))
    }

    /// The moment itself.
    pub fn time(self) -> OffsetDateTime {
        self.0
    }
}

impl Serialize for Stamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let text = self.0.format(&Rfc3339).map_err(serde::ser::Error::custom)?;
        serializer.serialize_str(&text)
    }
}

impl<'de> Deserialize<'de> for Stamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        OffsetDateTime::parse(&text, &Rfc3339).map(Self::of).map_err(de::Error::custom)
    }
}

/// The answer to `GET /v1/status`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// [`VERSION`].
    pub version: u32,
    /// When this was said.
    pub at: Stamp,
    /// The daemon.
    pub daemon: DaemonReport,
    /// All nodes by name.
    pub nodes: Vec<NodeReport>,
    /// The newest actions on any node, newest first; a bounded number of them.
    pub recent: Vec<Action>,
}

/// The daemon as a whole.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DaemonReport {
    /// Version of the program.
    pub version: String,
    /// Name of the app.
    pub app: String,
    /// Name of the tenant.
    pub tenant: String,
    /// Its process.
    pub pid: u32,
    /// When it started.
    pub started_at: Stamp,
    /// What it is at: `waiting for the engine`, `signing in`, `starting`, `running`, `stopping`, `finished`.
    pub phase: String,
    /// Whether all that is known to be wanted is so, and nothing is on its way.
    pub is_converged: bool,
    /// The engine, once it has answered.
    pub engine: Option<EngineReport>,
    /// Why the cloud cannot be asked, if so.
    pub cloud_failure: Option<String>,
    /// Why the engine cannot be asked, if so.
    pub engine_failure: Option<String>,
    /// When the last change message came.
    pub last_change_at: Option<Stamp>,
    /// Until when the cloud's token and the app's AWS credentials are good, where they are held.
    pub expiries: std::collections::BTreeMap<String, Stamp>,
    /// Whether the history is kept on disk.
    pub is_history_kept: bool,
    /// What became of its own log, where it is shipped.
    #[serde(default)]
    pub log: Option<LogReport>,
}

/// The engine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EngineReport {
    /// `docker` or `podman`.
    pub kind: String,
    /// Its version.
    pub version: String,
    /// Where it was reached.
    pub endpoint: String,
}

/// One node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NodeReport {
    /// Its name.
    pub name: String,
    /// The state of its container in one word: `running`, `stopped`, `crashing`, `paused`, `absent`, ...
    pub state: String,
    /// Since when it is in that state.
    pub since: Stamp,
    /// Whether it is as wanted.
    pub is_settled: bool,
    /// The action that is going on.
    pub busy: Option<String>,
    /// Its image.
    pub image: Option<String>,
    /// Its container.
    pub container: Option<String>,
    /// How often this daemon, or one before it, started its process anew.
    pub restarts: u64,
    /// The last action that is over.
    pub last: Option<Action>,
    /// How far the shipping of its output lags behind, where the daemon ships it, seconds.
    pub log_lag_s: Option<f64>,
    /// What became of its output, where the daemon ships it.
    #[serde(default)]
    pub log: Option<LogReport>,
    /// What is wrong now.
    pub error: Option<String>,
    /// How often the engine's restart policy has started the process of this container since a call last did, as the
    /// engine counts it; not in `restarts`. Absent where it is not known.
    #[serde(default)]
    pub engine_restarts: Option<u64>,
    /// The last end of its process that was seen.
    #[serde(default)]
    pub last_exit: Option<ExitReport>,
    /// Its crash loop, if its process keeps ending.
    #[serde(default)]
    pub crash_loop: Option<CrashLoopReport>,
}

impl NodeReport {
    /// How often its process was started anew, by a daemon or by the engine.
    pub fn all_restarts(&self) -> u64 {
        self.restarts.saturating_add(self.engine_restarts.unwrap_or(0))
    }
}

/// What became of output since the daemon started. What was read and is in no other amount is on its way.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct LogReport {
    /// Read from the engine, or written by the daemon.
    pub read: Amount,
    /// Accepted by CloudWatch.
    pub shipped: Amount,
    /// Sent once more, counted each time.
    pub retried: Amount,
    /// Known to be lost after it was read.
    pub lost: Amount,
    /// Rejected by CloudWatch for its time: too old, or too far ahead.
    pub rejected: Amount,
    /// How often output had rotated away before it was read. How many lines that were is not known.
    pub gaps: u64,
    /// How long the output was written that rotated away, seconds.
    pub gap_s: f64,
    /// Age of the oldest output that is on its way, seconds; 0 when none is.
    pub lag_s: f64,
}

/// An amount of output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Amount {
    /// Lines.
    pub lines: u64,
    /// Bytes, newlines included.
    pub bytes: u64,
}

impl From<Volume> for Amount {
    fn from(volume: Volume) -> Self {
        Self { lines: volume.lines, bytes: volume.bytes }
    }
}

impl From<NodeNumbers> for LogReport {
    fn from(numbers: NodeNumbers) -> Self {
        Self {
            read: numbers.read.into(),
            shipped: numbers.shipped.into(),
            retried: numbers.retried.into(),
            lost: numbers.lost.into(),
            rejected: numbers.rejected.into(),
            gaps: numbers.gaps,
            gap_s: numbers.gap.as_secs_f64(),
            lag_s: numbers.lag_seconds as f64,
        }
    }
}

/// One thing that was done to a node, from its cause to its outcome. Attempts in a row for one reason are one action.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Action {
    /// Counts up, over restarts of the daemon too.
    pub id: u64,
    /// Name of the node.
    pub node: String,
    /// The verb: `create`, `restart`, `replace`, ...
    pub action: String,
    /// The class of the reason, such as `inputs_changed`.
    pub reason: String,
    /// The reason in words.
    pub because: String,
    /// In which fields what was wanted differed from what was there.
    #[serde(default)]
    pub differences: Vec<FieldChange>,
    /// The change messages that may have led to it, oldest first.
    #[serde(default)]
    pub causes: Vec<Cause>,
    /// When the first attempt began.
    pub began_at: Stamp,
    /// Attempts so far.
    pub attempts: u32,
    /// The steps of the last attempt.
    #[serde(default)]
    pub steps: Vec<Step>,
    /// When the last attempt ended.
    #[serde(default)]
    pub ended_at: Option<Stamp>,
    /// What came of it.
    pub outcome: Outcome,
    /// Why it failed, if so.
    #[serde(default)]
    pub error: Option<String>,
    /// How long the last attempt took, milliseconds.
    #[serde(default)]
    pub took_ms: Option<u64>,
    /// From the message to the outcome, milliseconds.
    #[serde(default)]
    pub latency_ms: Option<u64>,
    /// How long no container of the node ran, milliseconds.
    #[serde(default)]
    pub downtime_ms: Option<u64>,
    /// The container afterwards.
    #[serde(default)]
    pub container: Option<String>,
    /// The image of a new container.
    #[serde(default)]
    pub image: Option<String>,
    /// The revision that was started, digest.
    #[serde(default)]
    pub revision: Option<String>,
    /// The node's count of restarts afterwards.
    #[serde(default)]
    pub restarts: u64,
}

/// What came of an action.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It is going on.
    GoingOn,
    /// It worked.
    Done,
    /// It failed; another attempt follows.
    Failed,
    /// The new container was given up for the old one.
    RolledBack,
    /// The image was not there any more.
    ImageMissing,
    /// The daemon was told to end in its middle.
    Abandoned,
    /// The daemon was killed or died in its middle.
    CutOff,
    /// A word of a later version.
    #[serde(other)]
    Unknown,
}

impl Outcome {
    /// In words; also the label of the metrics, with `_` for spaces.
    pub fn text(self) -> &'static str {
        match self {
            Self::GoingOn => "going on",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::RolledBack => "rolled back",
            Self::ImageMissing => "image missing",
            Self::Abandoned => "abandoned",
            Self::CutOff => "cut off",
            Self::Unknown => "unknown",
        }
    }
}

/// A field that differed. Secrets are named only; configurations, auditors and queues are digests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldChange {
    /// The field, such as `image` or `node config`.
    pub field: String,
    /// What it was, if it was there and may be shown.
    #[serde(default)]
    pub before: Option<String>,
    /// What it became, if it is there and may be shown.
    #[serde(default)]
    pub after: Option<String>,
}

/// A change message that led to something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cause {
    /// The kind of change, such as `edge`.
    pub kind: String,
    /// The change in words, with the identity of what changed.
    pub change: String,
    /// SQS's id of the message.
    #[serde(default)]
    pub message_id: Option<String>,
    /// EchoStream's id of the message.
    #[serde(default)]
    pub tracking_id: Option<String>,
    /// When it was sent, by the cloud's clock.
    #[serde(default)]
    pub sent_at: Option<Stamp>,
    /// When it was received, by the host's clock.
    #[serde(default)]
    pub received_at: Option<Stamp>,
}

/// One call of the engine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// The verb: `pull`, `create`, `stop`, `start`, ...
    pub step: String,
    /// The container, where it concerns one, by the first twelve digits of its id.
    #[serde(default)]
    pub container: Option<String>,
    /// When it began, counted from the beginning of the attempt, milliseconds; below zero for a pull before it.
    pub after_ms: i64,
    /// How long it took, milliseconds.
    pub took_ms: u64,
    /// Why it failed, if so.
    #[serde(default)]
    pub error: Option<String>,
}

/// One line of `GET /v1/events`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// [`VERSION`].
    pub version: u32,
    /// Counts up, over restarts of the daemon too as long as the clock does.
    pub id: u64,
    /// When it was.
    pub at: Stamp,
    /// `change`, `begin`, `end`, `pull`, `node`, `daemon` or `lost`.
    pub kind: String,
    /// The node it concerns.
    #[serde(default)]
    pub node: Option<String>,
    /// It in words.
    pub text: String,
    /// The action that began or ended.
    #[serde(default)]
    pub action: Option<Action>,
}

/// The answer to `GET /v1/history?node=NAME`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NodeHistory {
    /// [`VERSION`].
    pub version: u32,
    /// Name of the node.
    pub node: String,
    /// The node now; `None` when the daemon does not know it, or was not asked.
    pub now: Option<NodeReport>,
    /// Its actions, oldest first.
    pub actions: Vec<Action>,
}
