//! The desired container. Engine-neutral, compared field by field through [`crate::labels`].

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};

use crate::ImageReference;

/// Everything a container is created from. The restart policy is always `unless-stopped` (contract).
#[derive(Debug, Clone)]
pub struct ContainerSpec {
    /// Its name in the engine; see [`crate::names::container_name`].
    pub name: String,
    /// Host name inside the container; RFC 1123, at most 63 characters.
    pub hostname: String,
    /// The image, fully qualified. It must be present: `create` never pulls.
    pub image: ImageReference,
    /// Environment, by variable name.
    pub env: BTreeMap<String, EnvValue>,
    /// Labels, ours and the contract's.
    pub labels: BTreeMap<String, String>,
    /// Name of the only network that it joins; the network must exist.
    pub network: String,
    /// Further names by which other containers on that network reach it. A container that is created under a temporary
    /// name is known by its final name from its first start. Not recorded in the spec label.
    pub aliases: BTreeSet<String>,
    /// Published ports.
    pub ports: Vec<PortBinding>,
    /// Volumes and bind mounts.
    pub mounts: Vec<Mount>,
    /// Where its output goes.
    pub logs: LogSettings,
    /// How long the engine waits after the stop signal when a stop gives no timeout.
    pub stop_grace: Duration,
    /// Restrictions of its processes.
    pub hardening: Hardening,
}

/// Restrictions of a container's processes beyond those of the engine; the default adds none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hardening {
    /// Its processes cannot gain privileges (setuid, file capabilities).
    pub no_new_privileges: bool,
    /// Dropped capabilities, in capitals without `CAP_`, such as `NET_RAW`; `ALL` drops every capability.
    pub dropped_capabilities: BTreeSet<String>,
    /// Most processes and threads at the same time, 1 or more.
    pub pids_max: Option<u32>,
    /// Most memory, bytes; engines require at least a few megabytes.
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
    /// The value itself. Only for the engine.
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
    /// Whether `other` conflicts with this port, so that both cannot be published at the same time.
    pub fn shares_host_port(&self, other: &Self) -> bool {
        self.protocol == other.protocol && self.host_port == other.host_port && self.shares_address(other.host_address)
    }

    /// Whether this port is published on `address` too; the unspecified address covers its whole address family.
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

/// A mount of the container, always writable.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Mount {
    /// Source of the mount.
    pub source: MountSource,
    /// Absolute path inside the container.
    pub target: String,
}

/// Source of a mount.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum MountSource {
    /// An anonymous volume, removed with the container.
    Anonymous,
    /// A named volume, created if absent, never removed by this program.
    Volume(String),
    /// An absolute path of the host.
    Bind(String),
}

/// Destination of a container's output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogSettings {
    /// The engine stores it: Docker `json-file`, Podman `k8s-file`, rotated by size.
    Engine {
        /// Size of one file, bytes.
        file_bytes_max: u64,
        /// Number of log files. Podman keeps one file, which it truncates when full, so the limit there is size times
        /// number.
        files_max: u32,
    },
    /// Docker's `awslogs` driver.
    Awslogs {
        /// Log group; it must exist.
        group: String,
        /// AWS region of the group.
        region: String,
        /// Log stream, created by the driver. Not compared: each container gets a new one.
        stream: String,
        /// URL of CloudWatch Logs where it is not the default one of the region. Not compared: it is chosen when a
        /// container is created.
        endpoint: Option<String>,
        /// A line that matches starts a new event.
        multiline_pattern: String,
        /// Behaviour while CloudWatch is slow or unreachable.
        mode: AwslogsMode,
    },
}

/// Behaviour of Docker's `awslogs` driver while CloudWatch is slow or unreachable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AwslogsMode {
    /// The driver buffers this many bytes for each container and discards the rest. Nodes never block.
    NonBlocking {
        /// Bytes kept.
        buffer_bytes_max: u64,
    },
    /// Nodes block, and no container starts. Nothing is lost.
    Blocking,
}

impl AwslogsMode {
    /// Default size of the buffer. At 2 MB/s it lasts for 12 seconds; Docker's default of 1 MB loses output in normal
    /// operation.
    pub const BUFFER_BYTES: u64 = 25 * 1024 * 1024;
}

impl Default for AwslogsMode {
    /// Non-blocking: a node that cannot start because its log is unreachable is worse than lost output.
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
