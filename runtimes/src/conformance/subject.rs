//! What the suite needs of an engine under test: handles to the backend, and the engine as others see and use it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;

use super::Outcome;
use crate::{ContainerRuntime, Hardening, ImageReference, Limits, PortBinding, RegistryCredentials};

/// A handle to the backend under test.
pub type Runtime = Arc<dyn ContainerRuntime>;

/// An engine under test. [`CliSubject`](super::CliSubject) is one for engines with a command line like Docker's.
///
/// Apart from the `connect` methods, nothing here may go through the backend: what the backend did is judged by these.
/// Names that the suite makes all start with one prefix, which [`clean`](Self::clean) gets at the end.
#[async_trait]
pub trait Subject: Send + Sync {
    /// The column's title, for example `Docker 20.10`.
    fn name(&self) -> String;

    /// Checks that cannot run on this engine, each with the reason that is printed in the table.
    fn exceptions(&self) -> Vec<(&'static str, &'static str)>;

    /// A new handle to the engine.
    async fn connect(&self, limits: Limits) -> Outcome<Runtime>;

    /// A new handle whose way to the engine the suite can disturb.
    async fn connect_disturbed(&self, limits: Limits) -> Outcome<(Runtime, Box<dyn Disturbance>)>;

    /// Puts an image with the programs of [`Program`] on the engine; images with different markers have different ids.
    async fn load_image(&self, image: &ImageReference, marker: &str) -> Outcome;

    /// Offers such an image in a registry that wants [`credentials`](Self::credentials); a tag that is there moves.
    async fn publish_image(&self, repository: &str, tag: &str, marker: &str) -> Outcome<ImageReference>;

    /// The digest (`sha256:...`) by which the registry knows a published image.
    async fn digest_of(&self, image: &ImageReference) -> Outcome<String>;

    /// What the registry of [`publish_image`](Self::publish_image) wants.
    fn credentials(&self) -> RegistryCredentials;

    /// An image in a registry that takes connections and never answers.
    async fn stalled_image(&self) -> Outcome<ImageReference>;

    /// An image in a registry that answers everything with 429.
    async fn throttled_image(&self) -> Outcome<ImageReference>;

    /// Ends the engine and waits until its successor answers. Only checks that run alone do this. An engine that cannot
    /// be restarted says why by [`Failure::CannotRun`](super::Failure::CannotRun).
    async fn restart_engine(&self) -> Outcome;

    /// A container called `name` is about to be made that runs `program`. Engines that run the image's own program,
    /// which finds its name in the variable [`PROGRAM_VARIABLE`], have nothing to do here.
    async fn prepare(&self, name: &str, program: Program) -> Outcome;

    /// The container called `name`, as the engine's own tools show it.
    async fn look(&self, name: &str) -> Outcome<Option<Seen>>;

    /// The labels of each network called exactly `name`.
    async fn look_at_networks(&self, name: &str) -> Outcome<Vec<BTreeMap<String, String>>>;

    /// The id of the network called exactly `name`, if there is one.
    async fn network_id(&self, name: &str) -> Outcome<Option<String>>;

    /// Whether the running container `from` finds an address for `name` by the name server of its network.
    async fn resolves(&self, from: &str, name: &str) -> Outcome<bool>;

    /// Names of all volumes.
    async fn volumes(&self) -> Outcome<BTreeSet<String>>;

    /// Somebody else does something.
    async fn act(&self, act: Act<'_>) -> Outcome;

    /// Whether [`connect_disturbed`](Self::connect_disturbed) disturbs nobody but that handle. Otherwise the checks that
    /// use it run alone.
    fn disturbs_one_handle_only(&self) -> bool;

    /// Removes all containers and networks whose names start with `prefix`. Called after each check.
    async fn clear(&self, prefix: &str) -> Outcome;

    /// Removes all containers, networks, volumes and images whose names start with `prefix`. Called after the last check.
    async fn clean(&self, prefix: &str) -> Outcome;
}

/// A way to the engine that can be disturbed.
#[async_trait]
pub trait Disturbance: Send + Sync {
    /// Nothing comes back from the engine any more; connections stay open. With `after_bytes`, that many bytes of
    /// answers still come, so that an answer breaks off in its middle.
    fn stall(&self, after_bytes: Option<usize>);

    /// Answers come again on new connections.
    fn resume(&self);

    /// The engine goes away, with all connections and its socket.
    async fn take_away(&self) -> Outcome;

    /// The engine is back.
    async fn bring_back(&self) -> Outcome;
}

/// What an act of others is done to or with.
#[derive(Debug, Clone)]
pub enum Act<'a> {
    /// Runs a container with these labels on this network (made if absent).
    Run {
        /// Its name.
        name: &'a str,
        /// Its labels.
        labels: &'a BTreeMap<String, String>,
        /// The one network.
        network: &'a str,
        /// An image of [`Subject::load_image`]; the container idles.
        image: &'a ImageReference,
    },
    /// Kills a container.
    Kill(&'a str),
    /// Freezes a container.
    Pause(&'a str),
    /// Thaws a container.
    Unpause(&'a str),
    /// Renames a container from the first name to the second.
    Rename(&'a str, &'a str),
    /// Removes a container by force, with its anonymous volumes.
    Remove(&'a str),
    /// Takes a container (first) off a network (second).
    Disconnect(&'a str, &'a str),
    /// Makes a network without labels.
    MakeNetwork(&'a str),
    /// Removes a network that stopped containers are connected to, and leaves those as they are.
    RemoveNetwork(&'a str),
    /// Removes an image by reference.
    RemoveImage(&'a ImageReference),
    /// Removes an image that stopped containers were made from, and whatever the engine removes along.
    RemoveImageByForce(&'a ImageReference),
    /// Removes a volume by force, and whatever the engine removes along; engines may refuse it.
    RemoveVolumeByForce(&'a str),
    /// Removes an empty folder of the host.
    RemoveFolder(&'a Path),
    /// Makes a folder of the host.
    MakeFolder(&'a Path),
}

/// Name of the environment variable that tells the image which program to run.
pub const PROGRAM_VARIABLE: &str = "CONFORMANCE_PROGRAM";

/// What a container of the suite does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Program {
    /// Prints `ready` when it would heed the stop signal, and waits; ends at once, with code 0, when it gets it.
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

/// A container as the engine's own tools show it.
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
    /// Seconds between the stop signal and the kill when nobody names a time.
    pub stop_timeout_s: Option<u64>,
    /// What its processes may not do, and the limits that it has; the engine's own limit of processes counts as one.
    pub hardening: Hardening,
    /// Whether its process is there, frozen or not.
    pub is_running: bool,
    /// When it was last started, in the tool's own words: different after each start.
    pub started: String,
}

/// A mount as the engine's own tools show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SeenMount {
    /// A volume, by its name (made up by the engine for an anonymous one).
    Volume(String),
    /// A path of the host.
    Bind(String),
}
