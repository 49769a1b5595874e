//! All outputs of the reconciler. The driver executes an effect and responds with an event.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use managed_app_runtimes::{ContainerId, ContainerSpec, ImageReference};

use super::{CrashLoopNotice, Reason, Revision};
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
    /// No other containers exist; the state of others can be dropped. Sent once.
    Forget(HashSet<ContainerId>),
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
    /// Replace old containers with a new one, and start the old one again if the new one does not stay up.
    Replace {
        /// The old ones; the first one is started again on a rollback.
        old: Vec<ContainerId>,
        /// The new one, if an earlier attempt created it; it does not run.
        next: Option<ContainerId>,
        /// The target of the new one.
        target: Target,
        /// The order of stop and start.
        strategy: Strategy,
    },
    /// A new container runs and old ones still exist: check that it stays up, then remove the old ones.
    Confirm {
        /// The new one.
        next: ContainerId,
        /// The old ones; the first one is started again on a rollback.
        old: Vec<ContainerId>,
        /// The startup inputs of an old one if it is started again.
        revision: Revision,
        /// Whether the old ones may run meanwhile.
        strategy: Strategy,
    },
    /// Rename the node's container.
    Rename {
        /// The container.
        id: ContainerId,
        /// The name.
        name: String,
    },
    /// Stop and remove containers.
    Remove(Vec<ContainerId>),
    /// Stop containers because the daemon ends.
    Stop(Vec<ContainerId>),
}

/// How a container replaces another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strategy {
    /// The old one is stopped before the new one is started: never two run at a time.
    StopFirst,
    /// As `StopFirst`, and another node releases a host port that the new one needs while it waits for a port of the
    /// old one: the start is retried until the port is free.
    PortSwap,
    /// The new one is started first, and both run until it has stayed up.
    StartFirst,
    /// As `StopFirst`, but the old one is not usable any more: there is no window in which the new one must stay up.
    Force,
}

/// A container to create.
#[derive(Clone)]
pub struct Target {
    /// Its spec; the driver adds the label of the spec and the log stream.
    pub spec: Arc<ContainerSpec>,
    /// Its startup inputs.
    pub revision: Revision,
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}", self.spec.name, self.revision)
    }
}

impl Operation {
    /// The verb, as shown in logs and metrics.
    pub fn verb(&self) -> &'static str {
        match self {
            Self::Create(_) => "create",
            Self::Start { .. } => "start",
            Self::Restart { .. } => "restart",
            Self::Replace { .. } => "replace",
            Self::Confirm { .. } => "confirm",
            Self::Rename { .. } => "rename",
            Self::Remove(_) => "remove",
            Self::Stop(_) => "stop",
        }
    }
}
