//! What a container shall be made of. Engine-neutral, compared field by field through [`crate::labels`].

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};

use crate::ImageReference;

/// Everything a container is created from. The restart policy is always `unless-stopped` (contract).
#[derive(Debug, Clone)]
pub struct ContainerSpec {
    /// The engine's name of it; see [`crate::names::container_name`].
    pub name: String,
    /// Host name inside the container; RFC 1123, at most 63 characters.
    pub hostname: String,
    /// The image, fully qualified. It must be present: `create` never pulls.
    pub image: ImageReference,
    /// Environment, by variable name.
    pub env: BTreeMap<String, EnvValue>,
    /// Labels, ours and the contract's.
    pub labels: BTreeMap<String, String>,
    /// Name of the one network it joins; it must exist.
    pub network: String,
    /// Names by which others on that network reach it, beside its own: a container that is made under a temporary name is
    /// known by its final one from its first start. Not recorded in the label of the spec.
    pub aliases: BTreeSet<String>,
    /// Published ports.
    pub ports: Vec<PortBinding>,
    /// Volumes and bind mounts.
    pub mounts: Vec<Mount>,
    /// Where its output goes.
    pub logs: LogSettings,
    /// How long the engine waits after the stop signal when somebody stops it without naming a time.
    pub stop_grace: Duration,
    /// What its processes may not do.
    pub hardening: Hardening,
}

/// What a container's processes may not do, beyond the engine's own limits; the default leaves those alone.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hardening {
    /// No program that they start gains privileges (setuid, file capabilities).
    pub no_new_privileges: bool,
    /// Capabilities that are taken from them, in capitals without `CAP_`, such as `NET_RAW`; `ALL` is every one.
    pub dropped_capabilities: BTreeSet<String>,
    /// Most processes and threads at a time, 1 or more.
    pub pids_max: Option<u32>,
    /// Most memory, bytes; engines want a few megabytes at least.
    pub memory_bytes_max: Option<u64>,
}

/// The value of an environment variable.
#[derive(Clone)]
pub enum EnvValue {
    /// May be shown.
    Plain(String),
    /// Never shown; labels hold a salted digest of it.
    Secret(SecretString),
}

impl EnvValue {
    /// The value itself, for the engine only.
    pub fn expose(&self) -> &str {
        match self {
            Self::Plain(value) => value,
            Self::Secret(value) => value.expose_secret(),
        }
    }
}

impl fmt::Debug for EnvValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plain(value) => write!(f, "{value:?}"),
            Self::Secret(_) => f.write_str("[secret]"),
        }
    }
}

/// A container port published on the host.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PortBinding {
    /// Port inside the container, 1 to 65535.
    pub container_port: u16,
    /// Transport.
    pub protocol: Protocol,
    /// Address on the host; 0.0.0.0 is every IPv4 address.
    pub host_address: IpAddr,
    /// Port on the host, 1 to 65535.
    pub host_port: u16,
}

impl PortBinding {
    /// Whether this and `other` cannot be published at the same time.
    pub fn shares_host_port(&self, other: &Self) -> bool {
        self.protocol == other.protocol && self.host_port == other.host_port && self.shares_address(other.host_address)
    }

    /// Whether this port is published on `address` too; the unspecified address stands for all of its family.
    pub fn shares_address(&self, address: IpAddr) -> bool {
        let own = self.host_address;
        own == address || (own.is_ipv4() == address.is_ipv4() && (own.is_unspecified() || address.is_unspecified()))
    }
}

/// Transport protocol of a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP; many kernels lack it.
    Sctp,
}

impl Protocol {
    /// Lower-case name, as engines spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        }
    }
}

/// Something mounted into the container, always writable.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Mount {
    /// What.
    pub source: MountSource,
    /// Absolute path inside the container.
    pub target: String,
}

/// What is mounted.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum MountSource {
    /// A volume of its own, removed with the container.
    Anonymous,
    /// A volume by name, made if absent, never removed by us.
    Volume(String),
    /// An absolute path of the host.
    Bind(String),
}

/// Where the output of a container goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogSettings {
    /// The engine keeps it: Docker `json-file`, Podman `k8s-file`, rotated by size.
    Engine {
        /// Size of one file, bytes.
        file_bytes_max: u64,
        /// Number of files kept. Podman has one file alone, which it begins anew when it is full, so there it gets the
        /// size of all.
        files_max: u32,
    },
    /// Docker's `awslogs` driver.
    Awslogs {
        /// Log group; it must exist.
        group: String,
        /// AWS region of the group.
        region: String,
        /// Log stream; made by the driver. Not compared: a new one is chosen for each container.
        stream: String,
        /// URL of CloudWatch Logs where it is not the ordinary one of the region. Not compared: it is chosen when a container
        /// is made.
        endpoint: Option<String>,
        /// A line that matches starts a new event.
        multiline_pattern: String,
        /// What happens to output while CloudWatch is slow or away.
        mode: AwslogsMode,
    },
}

/// What Docker's `awslogs` driver does while CloudWatch is slow or away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AwslogsMode {
    /// It keeps this many bytes for each container, and what comes on top is lost. Nodes never wait.
    NonBlocking {
        /// Bytes kept.
        buffer_bytes_max: u64,
    },
    /// Nodes wait, and no container starts. Nothing is lost.
    Blocking,
}

impl AwslogsMode {
    /// The buffer unless another is wanted: at 2 MB/s it lasts for 12 seconds, where Docker's own megabyte loses output
    /// in ordinary operation.
    pub const BUFFER_BYTES: u64 = 25 * 1024 * 1024;
}

impl Default for AwslogsMode {
    /// Not blocking: a node that cannot start because its log is away does harm to more than its log.
    fn default() -> Self {
        Self::NonBlocking { buffer_bytes_max: Self::BUFFER_BYTES }
    }
}

/// A user name and password for one registry.
#[derive(Debug, Clone)]
pub struct RegistryCredentials {
    /// User name, `AWS` on ECR.
    pub username: String,
    /// Password or token.
    pub password: SecretString,
}
