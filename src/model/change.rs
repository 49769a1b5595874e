//! A change that the cloud reported. It only selects what to read; the next snapshot is the truth.

use std::fmt;

use super::NodeName;

/// One decoded change message that concerns this app.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// The tenant was updated.
    Tenant,
    /// This app was updated.
    App,
    /// This app was removed.
    AppRemoved,
    /// A node of this app was created or updated.
    Node(NodeName),
    /// A node of this app was removed.
    NodeRemoved(NodeName),
    /// A node type changed: its image, or the content of the image's tag.
    NodeType(String),
    /// The auditor of a message type changed.
    MessageType(String),
    /// An edge was created, removed or moved: the names of all nodes at its old and new ends, of this app or not.
    Edge(Vec<NodeName>),
}

impl Change {
    /// The kind, as shown in logs and metrics.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Tenant => "tenant",
            Self::App => "app",
            Self::AppRemoved => "app_removed",
            Self::Node(_) => "node",
            Self::NodeRemoved(_) => "node_removed",
            Self::NodeType(_) => "node_type",
            Self::MessageType(_) => "message_type",
            Self::Edge(_) => "edge",
        }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind())?;
        match self {
            Self::Tenant | Self::App | Self::AppRemoved => Ok(()),
            Self::Node(name) | Self::NodeRemoved(name) => write!(f, " {name}"),
            Self::NodeType(name) | Self::MessageType(name) => write!(f, " {name}"),
            Self::Edge(ends) => {
                for (index, end) in ends.iter().enumerate() {
                    write!(f, "{}{end}", if index == 0 { " " } else { " - " })?;
                }
                Ok(())
            }
        }
    }
}
