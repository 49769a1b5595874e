//! Requirements of the suite for an engine under test: handles to the backend, and the engine as other programs see and
//! use it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;

use super::Outcome;
use crate::{Engine, Hardening, ImageReference, Limits, PortBinding, RegistryCredentials};

/// A handle to the backend under test.
pub type Runtime = Arc<dyn Engine>;

/// An engine under test. [`CliSubject`](super::CliSubject) is one for engines with a command line like Docker's.
///
/// Apart from the `connect` methods, nothing here may use the backend: these methods verify its effects. All names that
/// the suite creates start with one prefix, which is passed to [`clean`](Self::clean) at the end.
#[async_trait]
pub trait Subject: Send + Sync {
    /// The column's title, for example `Docker 20.10`.
    fn name(&self) -> String;

    /// Checks that cannot run on this engine, each with the reason that is printed in the table.
    fn exceptions(&self) -> Vec<(&'static str, &'static str)>;

    /// A new handle to the engine.
    async fn connect(&self, limits: Limits) -> Outcome<Runtime>;

    /// A new handle with a connection that the suite can disturb.
    async fn connect_disturbed(&self, limits: Limits) -> Outcome<(Runtime, Box<dyn Disturbance>)>;

    /// Loads an image with the programs of [`Program`] into the engine; images with different markers have different
    /// ids.
    async fn load_image(&self, image: &ImageReference, marker: &str) -> Outcome;

    /// Publishes such an image in a registry that requires [`credentials`](Self::credentials); an existing tag is
    /// moved.
    async fn publish_image(&self, repository: &str, tag: &str, marker: &str) -> Outcome<ImageReference>;

    /// The digest (`sha256:...`) of a published image in the registry.
    async fn digest_of(&self, image: &ImageReference) -> Outcome<String>;

    /// Credentials for the registry of [`publish_image`](Self::publish_image).
    fn credentials(&self) -> RegistryCredentials;

    /// An image in a registry that accepts connections and never responds.
    async fn stalled_image(&self) -> Outcome<ImageReference>;

    /// An image in a registry that responds to everything with 429.
    async fn throttled_image(&self) -> Outcome<ImageReference>;

    /// Restarts the engine and waits until it responds. Only checks that run alone do this. If the engine cannot be
    /// restarted, returns [`Failure::CannotRun`](super::Failure::CannotRun) with the reason.
    async fn restart_engine(&self) -> Outcome;

    /// Called before a container called `name` that runs `program` is created. Engines that run the image's own
    /// program, which reads its name from the variable [`PROGRAM_VARIABLE`], do nothing here.
    async fn prepare(&self, name: &str, program: Program) -> Outcome;

    /// The container called `name`, as the engine's own tools report it.
    async fn inspect(&self, name: &str) -> Outcome<Option<Seen>>;

    /// The labels of each network called exactly `name`.
    async fn network_labels(&self, name: &str) -> Outcome<Vec<BTreeMap<String, String>>>;

    /// The id of the network called exactly `name`, if there is one.
    async fn network_id(&self, name: &str) -> Outcome<Option<String>>;

    /// Whether the running container `from` resolves `name` with the name server of its network.
    async fn resolves(&self, from: &str, name: &str) -> Outcome<bool>;

    /// Names of all volumes.
    async fn volumes(&self) -> Outcome<BTreeSet<String>>;

    /// An action of another user of the engine.
    async fn act(&self, act: Act<'_>) -> Outcome;

    /// Whether [`connect_disturbed`](Self::connect_disturbed) disturbs only that handle. Otherwise the checks that use
    /// it run alone.
    fn disturbs_one_handle_only(&self) -> bool;

    /// Removes all containers and networks whose names start with `prefix`. Called after each check.
    async fn clear(&self, prefix: &str) -> Outcome;

    /// Removes all containers, networks, volumes and images with names that start with `prefix`, after the last check.
    async fn clean(&self, prefix: &str) -> Outcome;
}

/// A connection to the engine that can be disturbed.
#[async_trait]
pub trait Disturbance: Send + Sync {
    /// Blocks all responses of the engine; connections stay open. With `after_bytes`, this number of bytes still
    /// passes, so that a response is truncated.
    fn stall(&self, after_bytes: Option<usize>);

    /// New connections work again.
    fn resume(&self);

    /// Stops the engine, with all connections and its socket.
    async fn take_away(&self) -> Outcome;

    /// Starts the engine again.
    async fn bring_back(&self) -> Outcome;
}

/// An action of another user of the engine.
#[derive(Debug, Clone)]
pub enum Act<'a> {
    /// Runs a container with these labels on this network (created if absent).
    Run {
        /// Its name.
        name: &'a str,
        /// Its labels.
        labels: &'a BTreeMap<String, String>,
        /// Its only network.
        network: &'a str,
        /// An image of [`Subject::load_image`]; the container idles.
        image: &'a ImageReference,
    },
    /// Kills a container.
    Kill(&'a str),
    /// Pauses a container.
    Pause(&'a str),
    /// Unpauses a container.
    Unpause(&'a str),
    /// Renames a container from the first name to the second.
    Rename(&'a str, &'a str),
    /// Removes a container by force, with its anonymous volumes.
    Remove(&'a str),
    /// Disconnects a container (first) from a network (second).
    Disconnect(&'a str, &'a str),
    /// Creates a network without labels.
    MakeNetwork(&'a str),
    /// Removes a network of stopped containers, and leaves the containers unchanged.
    RemoveNetwork(&'a str),
    /// Removes an image by reference.
    RemoveImage(&'a ImageReference),
    /// Removes an image of stopped containers, and everything that the engine removes with it.
    RemoveImageByForce(&'a ImageReference),
    /// Removes a volume by force, and everything that the engine removes with it; engines may reject it.
    RemoveVolumeByForce(&'a str),
    /// Removes an empty directory of the host.
    RemoveFolder(&'a Path),
    /// Creates a directory of the host.
    MakeFolder(&'a Path),
}

/// Name of the environment variable that selects the program of the image.
pub const PROGRAM_VARIABLE: &str = "CONFORMANCE_PROGRAM";

/// Program of a container of the suite.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Program {
    /// Prints `ready` once it handles the stop signal, and waits; ends at once, with code 0, when it receives it.
    Idle,
    /// Waits and ignores the stop signal.
    Stubborn,
    /// Prints `line 0` to `line 29999` as fast as it can, then waits as [`Idle`](Self::Idle).
    Lines,
    /// Prints one line of [`LONG_LINE_BYTES`] times `x`, then waits.
    LongLine,
    /// Prints [`CONTROL`] and [`BROKEN_UTF8`], each with a newline, then waits.
    Binary,
    /// Prints `to stdout` there and `to stderr` there, then waits.
    Both,
    /// Prints `unfinished` without a newline, then the line `begun` to stderr, then waits.
    Unfinished,
    /// Prints `tick` every 100 ms until it gets the stop signal.
    Ticks,
}

/// Length of the line of [`Program::LongLine`], without the newline.
pub const LONG_LINE_BYTES: usize = 100_000;

/// First line of [`Program::Binary`]: control characters, zero among them.
pub const CONTROL: &[u8] = &[0x00, 0x01, 0x07, 0x1b, 0x7f, 0x0d, 0x41];

/// Second line of [`Program::Binary`]: bytes that are not UTF-8.
pub const BROKEN_UTF8: &[u8] = &[0x80, 0xc3, 0x28, 0xfe, 0xff, 0xe2, 0x82, 0x41];

impl Program {
    /// The value of [`PROGRAM_VARIABLE`].
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Stubborn => "stubborn",
            Self::Lines => "lines",
            Self::LongLine => "long-line",
            Self::Binary => "binary",
            Self::Both => "both",
            Self::Unfinished => "unfinished",
            Self::Ticks => "ticks",
        }
    }
}

/// Number of lines of [`Program::Lines`].
pub const LINES: usize = 30_000;

/// A container as the engine's own tools report it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Id of its image, with `sha256:`.
    pub image_id: String,
    /// Host name.
    pub hostname: String,
    /// Environment.
    pub env: BTreeMap<String, String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Networks.
    pub networks: BTreeSet<String>,
    /// Published ports.
    pub ports: BTreeSet<PortBinding>,
    /// Mounts by target.
    pub mounts: BTreeMap<String, SeenMount>,
    /// Name of the log driver.
    pub log_driver: String,
    /// Largest size of one log file, bytes.
    pub log_bytes_max: Option<u64>,
    /// Number of log files; `None` where the driver keeps one.
    pub log_files_max: Option<u32>,
    /// Restart policy.
    pub restart_policy: String,
    /// Seconds between the stop signal and the kill when the stop gives no timeout.
    pub stop_timeout_s: Option<u64>,
    /// Restrictions of its processes; the engine's default limit of processes is included.
    pub hardening: Hardening,
    /// Whether it has a process, paused or not.
    pub is_running: bool,
    /// Time of its last start, in the format of the tool: different after each start.
    pub started: String,
}

/// A mount as the engine's own tools report it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SeenMount {
    /// A volume, by its name (generated by the engine for an anonymous one).
    Volume(String),
    /// A path of the host.
    Bind(String),
}
