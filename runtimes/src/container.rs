//! The observed state of an engine: containers, images, events, log output. Plain data without types of an engine
//! crate.

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
/// Podman reports the same id without the prefix; backends add it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ImageId(pub String);

impl fmt::Display for ImageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One container as the engine reports it now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Container {
    /// The engine's id.
    pub id: ContainerId,
    /// Its name in the engine, without a leading slash.
    pub name: String,
    /// The image content that it was created from.
    pub image_id: ImageId,
    /// All labels.
    pub labels: BTreeMap<String, String>,
    /// State of its process.
    pub state: ContainerState,
    /// Names of the networks it is connected to.
    pub networks: Vec<String>,
    /// When its process was last started, by the engine's clock; `None` if never or unknown.
    pub started_at: Option<OffsetDateTime>,
    /// How often the engine's restart policy has restarted its process since the last start by a call, as the engine
    /// counts it; `None` if unknown. Docker counts a restart when the process ends, Podman when it starts again.
    pub restarts: Option<u64>,
    /// The last exit of its process; `None` if never or unknown. Engines discard the code when the process runs again.
    pub last_exit: Option<ProcessExit>,
    /// Why it belongs to the owner.
    pub origin: Origin,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ProcessExit {
    /// Exit code; 128 + n for signal n. `None` if unknown.
    pub code: Option<i64>,
    /// Whether the kernel killed it because its memory limit was reached, as far as the engine reports that.
    pub is_oom: bool,
    /// Time of the exit by the engine's clock; `None` if unknown.
    pub at: Option<OffsetDateTime>,
}

/// Why a container belongs to this owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// It carries our labels with this owner's app, tenant and host.
    Labelled,
    /// The Python program created it: label `managed_node_type`, on the app's network, none of our labels.
    Legacy,
}

/// The state of a container's process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ContainerState {
    /// Created, never started.
    Created,
    /// Its process runs.
    Running,
    /// Paused, by another program or a user.
    Paused,
    /// Between two runs: the engine's restart policy is active.
    Restarting,
    /// Ended, with the exit code where the engine reports it.
    Exited {
        /// Exit code of the process; 128 + n for signal n.
        code: Option<i64>,
    },
    /// The engine is removing it.
    Removing,
    /// The engine failed to remove it completely.
    Dead,
    /// A state that this program does not know, or no response about this container.
    Unknown(String),
}

impl ContainerState {
    /// Whether the process runs, or the engine is restarting it.
    pub fn is_running(&self) -> bool {
        matches!(self, Self::Running | Self::Restarting)
    }
}

/// The kind of engine behind a runtime.
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
    pub const fn as_str(self) -> &'static str {
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

/// Information about the engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineInfo {
    /// Which engine.
    pub kind: EngineKind,
    /// Its version, for example `20.10.24`.
    pub version: String,
    /// The endpoint that was used, for example `unix:///var/run/docker.sock`.
    pub endpoint: String,
    /// Whether it has the `awslogs` log driver.
    pub has_awslogs: bool,
}

/// Information about the engine's host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineHost {
    /// Whether the engine runs without root. It then lacks ports below 1024 and some resource limits.
    pub rootless: bool,
    /// Architecture of the host as image configurations name it, for example `amd64`; empty where the engine does not
    /// report it.
    pub architecture: String,
    /// Directory of the images on the host's file system; `None` where the engine does not report it.
    pub data_root: Option<PathBuf>,
}

impl EngineHost {
    /// The architecture in the terms of image configurations for the kernel's name `machine`.
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

/// Something happened to a container. Not authoritative: events get lost, duplicated and reordered; `list` is
/// authoritative.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineEvent {
    /// The container.
    pub container: ContainerId,
    /// Its name at that time, where the engine reports it.
    pub name: String,
    /// The action.
    pub action: Action,
    /// Time of the event by the engine's clock.
    pub at: Option<OffsetDateTime>,
    /// With [`Action::Died`], the exit code where the engine reports it.
    pub exit_code: Option<i64>,
}

/// The kind of an [`EngineEvent`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// Created.
    Created,
    /// Its process was started.
    Started,
    /// Its process ended, for any reason.
    Died,
    /// Paused.
    Paused,
    /// Unpaused.
    Unpaused,
    /// Renamed.
    Renamed,
    /// Removed.
    Removed,
    /// Connected to or disconnected from a network.
    Network,
    /// The kernel killed one of its processes because the memory limit was reached. The main process may still run.
    OutOfMemory,
    /// Any other event that may matter.
    Other,
}

/// A piece of a container's output: at most one line, possibly a part of one.
///
/// Short lines can be split too: engines read a container's pipe in blocks, and Podman stores a line that crosses the
/// end of a block as two. A backend joins the parts, up to a bound, where the engine marks them. Callers that need
/// whole lines must look for the newline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogChunk {
    /// When the engine read it (Docker: nanoseconds; Podman: the precision of its log driver).
    pub at: OffsetDateTime,
    /// Which stream.
    pub source: LogSource,
    /// The bytes with the trailing newline, if there was one; need not be UTF-8. Podman keeps them unchanged. Docker's
    /// `json-file` log stores text and replaces each byte that is not UTF-8 with U+FFFD (seen on 20.10 and 26.1): the
    /// original bytes are lost before a backend reads them.
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

/// Progress of a pull, summed over the layers known so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PullProgress {
    /// Bytes fetched.
    pub done_bytes: u64,
    /// Bytes to fetch, as far as known; grows while layers are discovered; 0 when the engine does not report it.
    pub total_bytes: u64,
}
