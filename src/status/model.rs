//! Data model of the status socket, as JSON. Later versions only add fields; readers ignore unknown fields.

mod crash_loop;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

pub(in crate::status) use crash_loop::crash_loop_text;
pub use crash_loop::{CrashLoopReport, ExitReport};

use super::counters::{NodeNumbers, Volume};

/// Version of the status socket and of the history file. It changes only if a field changes its meaning.
pub const VERSION: u32 = 1;

/// A timestamp, UTC, in milliseconds; in JSON as RFC 3339 (`2026-11-22T19:17:00.123Z`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stamp(OffsetDateTime);

impl Stamp {
    /// Now, by the host's clock.
    pub fn now() -> Self {
        Self::of(OffsetDateTime::now_utc())
    }

    /// The timestamp of `at`.
    pub fn of(at: OffsetDateTime) -> Self {
        let at = at.to_offset(time::UtcOffset::UTC);
        Self(at.replace_millisecond(at.millisecond()).unwrap_or(at))
    }

    /// The date and time.
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

/// The response to `GET /v1/status`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// [`VERSION`].
    pub version: u32,
    /// Time of this report.
    pub at: Stamp,
    /// The daemon.
    pub daemon: DaemonReport,
    /// All nodes by name.
    pub nodes: Vec<NodeReport>,
    /// The latest actions on all nodes, newest first; bounded.
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
    /// Process ID.
    pub pid: u32,
    /// When it started.
    pub started_at: Stamp,
    /// Its phase: `waiting for the engine`, `signing in`, `starting`, `running`, `stopping`, `finished`.
    pub phase: String,
    /// Whether all nodes match the desired state and no action is pending.
    pub is_converged: bool,
    /// The engine, after its first response.
    pub engine: Option<EngineReport>,
    /// Failure of the last request to the cloud.
    pub cloud_failure: Option<String>,
    /// Failure of the last request to the engine.
    pub engine_failure: Option<String>,
    /// Receipt of the last change message.
    pub last_change_at: Option<Stamp>,
    /// Expiry of the cloud's token and of AWS credentials, if there are any.
    pub expiries: std::collections::BTreeMap<String, Stamp>,
    /// Whether the history can be written to disk.
    pub is_history_kept: bool,
    /// Counts of the daemon's own log, if it is shipped.
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
    /// Its address.
    pub endpoint: String,
}

/// One node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NodeReport {
    /// Its name.
    pub name: String,
    /// State of its container: `running`, `stopped`, `crashing`, `paused`, `absent`, ...
    pub state: String,
    /// Begin of that state.
    pub since: Stamp,
    /// Whether it matches the desired state.
    pub is_settled: bool,
    /// The current action.
    pub busy: Option<String>,
    /// Its image.
    pub image: Option<String>,
    /// Its container.
    pub container: Option<String>,
    /// Starts of its process by this daemon or an earlier one, after the first start.
    pub restarts: u64,
    /// The last completed action.
    pub last: Option<Action>,
    /// Lag of the shipping of its output, if the daemon ships it, seconds.
    pub log_lag_s: Option<f64>,
    /// Counts of its output, if the daemon ships it.
    #[serde(default)]
    pub log: Option<LogReport>,
    /// Current error.
    pub error: Option<String>,
    /// Restarts of this container by the restart policy of the engine since the last start by a call, as the engine
    /// counts them; not in `restarts`. Absent if unknown.
    #[serde(default)]
    pub engine_restarts: Option<u64>,
    /// The last observed exit of its process.
    #[serde(default)]
    pub last_exit: Option<ExitReport>,
    /// Its crash loop, if it is in one.
    #[serde(default)]
    pub crash_loop: Option<CrashLoopReport>,
}

impl NodeReport {
    /// Restarts of its process by a daemon and by the engine.
    pub fn all_restarts(&self) -> u64 {
        self.restarts.saturating_add(self.engine_restarts.unwrap_or(0))
    }
}

/// Counts of output since the start of the daemon. Output that was read and is in no other amount is in flight.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct LogReport {
    /// Read from the engine, or written by the daemon.
    pub read: Amount,
    /// Accepted by CloudWatch.
    pub shipped: Amount,
    /// Sent again, counted for each attempt.
    pub retried: Amount,
    /// Lost after it was read.
    pub lost: Amount,
    /// Rejected by CloudWatch for its time: too old, or too far ahead.
    pub rejected: Amount,
    /// Number of gaps: output that rotated away before it was read. The number of its lines is unknown.
    pub gaps: u64,
    /// Total length of the gaps, seconds.
    pub gap_s: f64,
    /// Age of the oldest output in flight, seconds; 0 if there is none.
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

/// One action on a node, from its cause to its outcome. Successive attempts for one reason are one action.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Action {
    /// Increases, also over restarts of the daemon.
    pub id: u64,
    /// Name of the node.
    pub node: String,
    /// The verb: `create`, `restart`, `replace`, ...
    pub action: String,
    /// The class of the reason, such as `inputs_changed`.
    pub reason: String,
    /// The reason as text.
    pub because: String,
    /// Fields that differed between the desired and the observed state.
    #[serde(default)]
    pub differences: Vec<FieldChange>,
    /// The change messages that may have caused it, oldest first.
    #[serde(default)]
    pub causes: Vec<Cause>,
    /// Begin of the first attempt.
    pub began_at: Stamp,
    /// Attempts so far.
    pub attempts: u32,
    /// The steps of the last attempt.
    #[serde(default)]
    pub steps: Vec<Step>,
    /// End of the last attempt.
    #[serde(default)]
    pub ended_at: Option<Stamp>,
    /// Its outcome.
    pub outcome: Outcome,
    /// Error, if it failed.
    #[serde(default)]
    pub error: Option<String>,
    /// Duration of the last attempt, milliseconds.
    #[serde(default)]
    pub took_ms: Option<u64>,
    /// Time from the message to the outcome, milliseconds.
    #[serde(default)]
    pub latency_ms: Option<u64>,
    /// Time without a running container of the node, milliseconds.
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

/// The outcome of an action.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// In progress.
    GoingOn,
    /// It succeeded.
    Done,
    /// It failed; another attempt follows.
    Failed,
    /// The new container failed and the old one was started again.
    RolledBack,
    /// The image no longer existed.
    ImageMissing,
    /// The daemon was stopped during the action.
    Abandoned,
    /// The daemon was killed or crashed during the action.
    CutOff,
    /// A value of a later version.
    #[serde(other)]
    Unknown,
}

impl Outcome {
    /// As text; also the label of the metrics, with `_` for spaces.
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
    /// The old value, if it existed and may be shown.
    #[serde(default)]
    pub before: Option<String>,
    /// The new value, if it exists and may be shown.
    #[serde(default)]
    pub after: Option<String>,
}

/// A change message that caused an action.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cause {
    /// The kind of change, such as `edge`.
    pub kind: String,
    /// The change as text, with the name of the changed object.
    pub change: String,
    /// Message ID of SQS.
    #[serde(default)]
    pub message_id: Option<String>,
    /// Tracking ID of EchoStream.
    #[serde(default)]
    pub tracking_id: Option<String>,
    /// Send time, by the clock of the cloud.
    #[serde(default)]
    pub sent_at: Option<Stamp>,
    /// Receipt time, by the clock of the host.
    #[serde(default)]
    pub received_at: Option<Stamp>,
}

/// One engine call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// The verb: `pull`, `create`, `stop`, `start`, ...
    pub step: String,
    /// First twelve digits of the container's ID, if the call is about a container.
    #[serde(default)]
    pub container: Option<String>,
    /// Its begin relative to that of the attempt, milliseconds; negative for a pull before the attempt.
    pub after_ms: i64,
    /// Its duration, milliseconds.
    pub took_ms: u64,
    /// Error, if it failed.
    #[serde(default)]
    pub error: Option<String>,
}

/// One line of `GET /v1/events`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// [`VERSION`].
    pub version: u32,
    /// Increases, also over restarts of the daemon unless the clock is set back.
    pub id: u64,
    /// Its time.
    pub at: Stamp,
    /// `change`, `begin`, `end`, `pull`, `node`, `daemon` or `lost`.
    pub kind: String,
    /// The node, if the event is about a node.
    #[serde(default)]
    pub node: Option<String>,
    /// Its text.
    pub text: String,
    /// The action that began or ended.
    #[serde(default)]
    pub action: Option<Action>,
}

/// The response to `GET /v1/history?node=NAME`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NodeHistory {
    /// [`VERSION`].
    pub version: u32,
    /// Name of the node.
    pub node: String,
    /// The current state of the node; `None` if the daemon does not know it or does not run.
    pub now: Option<NodeReport>,
    /// Its actions, oldest first.
    pub actions: Vec<Action>,
}
