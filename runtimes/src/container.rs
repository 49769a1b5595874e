//! What an engine has and says: containers, images, events, log output. Plain data, no engine crate.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use bytes::Bytes;
use time::OffsetDateTime;

/// The engine's id of a container; stable over restarts and renames.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ContainerId(pub String);

impl fmt::Display for ContainerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The id of an image's content (`sha256:` and 64 hex digits); changes when a tag is moved.
///
/// Podman says the same id without the prefix; backends add it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ImageId(pub String);

impl fmt::Display for ImageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One container as the engine has it now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Container {
    /// The engine's id.
    pub id: ContainerId,
    /// The engine's name of it, without a leading slash.
    pub name: String,
    /// The content it was created from.
    pub image_id: ImageId,
    /// All labels.
    pub labels: BTreeMap<String, String>,
    /// Whether it runs.
    pub state: ContainerState,
    /// Names of the networks it is connected to.
    pub networks: Vec<String>,
    /// When its process was last started, by the engine's clock; `None` if never or unknown.
    pub started_at: Option<OffsetDateTime>,
    /// How often the engine's restart policy has started its process since a call last did, as the engine counts it;
    /// `None` if unknown. Docker counts a restart when the process ends, Podman when it starts again.
    pub restarts: Option<u64>,
    /// The last end of its process; `None` if never or unknown. Engines forget the code when the process runs again.
    pub last_exit: Option<ProcessExit>,
    /// Whose it is.
    pub origin: Origin,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ProcessExit {
    /// Exit code; 128 + n for signal n. `None` if unknown.
    pub code: Option<i64>,
    /// Whether the kernel killed it because its memory limit was reached, as far as the engine reports that.
    pub is_oom: bool,
    /// When, by the engine's clock; `None` if unknown.
    pub at: Option<OffsetDateTime>,
}

/// Why a container counts as ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// It carries our labels with this owner's app, tenant and host.
    Labelled,
    /// The Python program made it: label `managed_node_type`, on the app's network, none of our labels.
    Legacy,
}

/// The state of a container's process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ContainerState {
    /// Made, never started.
    Created,
    /// Its process runs.
    Running,
    /// Frozen by somebody.
    Paused,
    /// Between two runs: the engine's restart policy is at work.
    Restarting,
    /// Ended, with the exit code where the engine tells it.
    Exited {
        /// Exit code of the process; 128 + n for signal n.
        code: Option<i64>,
    },
    /// The engine is removing it.
    Removing,
    /// The engine could not clean it up.
    Dead,
    /// A word this program does not know, or no answer about this one container.
    Unknown(String),
}

impl ContainerState {
    /// Whether the process is up, or the engine is bringing it up by itself.
    pub fn is_running(&self) -> bool {
        matches!(self, Self::Running | Self::Restarting)
    }
}

/// Which engine is behind a runtime.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EngineKind {
    /// Docker Engine.
    Docker,
    /// Podman.
    Podman,
    /// The in-memory engine of `managed-app-fakes`.
    Memory,
}

impl EngineKind {
    /// Lower-case name, as in `--runtime`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Docker => "docker",
            Self::Podman => "podman",
            Self::Memory => "memory",
        }
    }
}

impl fmt::Display for EngineKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What the engine says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineInfo {
    /// Which engine.
    pub kind: EngineKind,
    /// Its version, for example `20.10.24`.
    pub version: String,
    /// Where it was reached, for example `unix:///var/run/docker.sock`.
    pub endpoint: String,
    /// Whether it has the `awslogs` log driver.
    pub has_awslogs: bool,
}

/// What the engine says of the host it runs on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineHost {
    /// Whether the engine runs without root (then ports under 1024 and some limits are not to be had).
    pub rootless: bool,
    /// The host's architecture as image configurations name it, for example `amd64`; empty where the engine does not say.
    pub architecture: String,
    /// Where it keeps images, on the host's file system; `None` where the engine does not say.
    pub data_root: Option<PathBuf>,
}

impl EngineHost {
    /// The name that image configurations have for what the kernel calls `machine`.
    pub fn architecture_of(machine: &str) -> &str {
        match machine {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            "armv7l" | "armv6l" => "arm",
            "i386" | "i686" => "386",
            other => other,
        }
    }
}

/// Something happened to a container. A hint only: events get lost, doubled and reordered; the truth is `list`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineEvent {
    /// The container.
    pub container: ContainerId,
    /// Its name at that time, where the engine tells it.
    pub name: String,
    /// What happened.
    pub action: Action,
    /// When, by the engine's clock.
    pub at: Option<OffsetDateTime>,
    /// With [`Action::Died`], the exit code where the engine reports it.
    pub exit_code: Option<i64>,
}

/// What an [`EngineEvent`] reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// Made.
    Created,
    /// Its process was started.
    Started,
    /// Its process ended, for whatever reason.
    Died,
    /// Frozen.
    Paused,
    /// Thawed.
    Unpaused,
    /// Renamed.
    Renamed,
    /// Removed.
    Removed,
    /// Connected to or disconnected from a network.
    Network,
    /// The kernel killed a process of it because its memory limit was reached. The main process may run on.
    OutOfMemory,
    /// Anything else that may matter.
    Other,
}

/// A piece of a container's output: at most one line, possibly a part of one.
///
/// Not only long lines come in parts: engines read a container's pipe in blocks, and Podman keeps a line that lies across
/// the end of a block as two. A backend joins the parts where the engine tells them from lines, up to a bound; who needs
/// whole lines goes by the newline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogChunk {
    /// When the engine read it (Docker: nanoseconds; Podman: as fine as its log driver keeps it).
    pub at: OffsetDateTime,
    /// Which stream.
    pub source: LogSource,
    /// The bytes with the trailing newline where there was one; need not be UTF-8. Podman keeps them as they were
    /// written. Docker's `json-file` log keeps text and puts U+FFFD for each byte that is not UTF-8 (seen on 20.10 and
    /// 26.1): what it was is lost before a backend sees it.
    pub bytes: Bytes,
}

/// Standard output or standard error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LogSource {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// How far a pull is, summed over the layers known so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PullProgress {
    /// Bytes fetched.
    pub done_bytes: u64,
    /// Bytes to fetch, as far as known; grows while layers are discovered; 0 when the engine does not say.
    pub total_bytes: u64,
}
