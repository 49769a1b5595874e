//! All outputs of the reconciler. The driver executes an effect and responds with an event.

use managed_app_runtimes::{ContainerId, ImageReference, Revision, Strategy, Target};

use super::{CrashLoopNotice, Reason};
use crate::model::{NodeName, QueueAddress};

/// One effect.
#[derive(Debug, Clone)]
pub enum Effect {
    /// Fetch the app from the cloud. At most one at a time.
    FetchSnapshot,
    /// List our containers. At most one at a time.
    List,
    /// Pull an image. At most one at a time per image.
    Pull(ImageReference),
    /// Run an operation on a node. At most one at a time per node.
    Operate {
        /// The node.
        node: NodeName,
        /// The operation.
        operation: Operation,
        /// The reason.
        reason: Reason,
    },
    /// Read change messages from this queue from now on.
    Listen(QueueAddress),
    /// The start is complete: each node is settled or has failed at least once. Sent once.
    Ready,
    /// Report a crash loop of a node: at its beginning, rarely while it continues, and at its end.
    CrashLoop {
        /// The node.
        node: NodeName,
        /// The report.
        notice: CrashLoopNotice,
    },
    /// Everything is done: the daemon can end.
    Finish(Finish),
}

/// Why the daemon ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finish {
    /// By a signal.
    Stopped,
    /// The cloud confirmed that the app is gone.
    AppRemoved,
    /// The cloud knows no such app, and this host has no trace of one: the settings are wrong.
    NoSuchApp,
}

/// An operation on a node. Each is safe to repeat.
#[derive(Debug, Clone)]
pub enum Operation {
    /// Create the container and start it.
    Create(Target),
    /// Start a container that does not run.
    Start {
        /// The container.
        id: ContainerId,
        /// Its startup inputs; `None` while the cloud is unavailable.
        revision: Option<Revision>,
    },
    /// Restart a container.
    Restart {
        /// The container.
        id: ContainerId,
        /// Its startup inputs.
        revision: Revision,
    },
    /// Replace what the node has, or finish an earlier replacement.
    Replace {
        /// The target.
        target: Target,
        /// The order of stop and start.
        strategy: Strategy,
    },
    /// Stop and remove containers.
    Remove(Vec<ContainerId>),
    /// Stop containers because the daemon ends.
    Stop(Vec<ContainerId>),
}

impl Operation {
    /// The verb, as shown in logs and metrics.
    pub fn verb(&self) -> &'static str {
        match self {
            Self::Create(_) => "create",
            Self::Start { .. } => "start",
            Self::Restart { .. } => "restart",
            Self::Replace { .. } => "replace",
            Self::Remove(_) => "remove",
            Self::Stop(_) => "stop",
        }
    }
}
