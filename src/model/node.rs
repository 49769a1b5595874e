//! A managed node and its parts.

use std::fmt;

use managed_app_runtimes::{Mount, PortBinding};
use thiserror::Error;

/// The name of a node: 1 to 256 characters without control characters. May contain spaces and colons.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeName(String);

/// Why a text is not a node name.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("node name {0:?} is not 1 to 256 characters without control characters")]
pub struct InvalidName(pub String);

impl NodeName {
    /// Maximum length of a name, characters.
    pub const LENGTH_MAX: usize = 256;

    /// Validates an external name.
    pub fn new(name: impl Into<String>) -> Result<Self, InvalidName> {
        let name = name.into();
        let is_sane =
            !name.is_empty() && name.chars().count() <= Self::LENGTH_MAX && !name.chars().any(char::is_control);
        if is_sane { Ok(Self(name)) } else { Err(InvalidName(name.chars().take(Self::LENGTH_MAX).collect())) }
    }

    /// The name itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A managed node: one container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Its name, unique in the tenant.
    pub name: NodeName,
    /// Its template.
    pub node_type: NodeType,
    /// Its configuration, JSON text from the cloud.
    pub config: Option<String>,
    /// Its logging level, in the cloud's spelling.
    pub logging_level: Option<String>,
    /// Whether it must not process anything. Its container runs all the same and reads this when it starts.
    pub is_stopped: bool,
    /// Ports to publish.
    pub ports: Vec<PortBinding>,
    /// Mounts.
    pub mounts: Vec<Mount>,
    /// Edges it receives from; the other end is the source.
    pub receive_edges: Vec<Edge>,
    /// Edges it sends to; the other end is the target.
    pub send_edges: Vec<Edge>,
    /// The message type that it receives.
    pub receive_message_type: Option<MessageType>,
    /// The message type that it sends.
    pub send_message_type: Option<MessageType>,
}

/// A managed node type, with what a container depends on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeType {
    /// Its name.
    pub name: String,
    /// Its image, in the cloud's spelling; parsed when a container is planned.
    pub image_uri: String,
    /// The AWS registry of the image; `None` for any other registry.
    pub registry: Option<RegistryHost>,
}

/// One edge of a node.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Edge {
    /// Name of the node at the other end; it may belong to another app.
    pub other: String,
    /// URL of the queue between them.
    pub queue: String,
}

/// A message type, with what a node reads at its start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessageType {
    /// Its name.
    pub name: String,
    /// Its auditor, a Python function as text.
    pub auditor: String,
}

/// An AWS registry, with what its credentials depend on. Docker Hub and others have no value here. The partition data of
/// the AWS SDK determines which host names are one (`cloud::registry_host`).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum RegistryHost {
    /// A private registry.
    Ecr {
        /// Its AWS account, twelve digits.
        account: String,
        /// Its own region, not the daemon's.
        region: String,
    },
    /// ECR Public.
    EcrPublic,
}

impl RegistryHost {
    /// The region of a private registry.
    pub fn region(&self) -> Option<&str> {
        match self {
            Self::Ecr { region, .. } => Some(region),
            Self::EcrPublic => None,
        }
    }
}
