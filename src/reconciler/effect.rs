//! Everything the reconciler can ask for. The driver carries it out and answers with an event.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use managed_app_runtimes::{ContainerId, ContainerSpec, ImageReference};

use super::{CrashLoopNotice, Reason, Revision};
use crate::model::{NodeName, QueueAddress};

/// One thing to do.
#[derive(Debug, Clone)]
pub enum Effect {
    /// Ask the cloud for the app. At most one at a time.
    FetchSnapshot,
    /// List our containers. At most one at a time.
    List,
    /// Fetch an image. At most one at a time per image.
    Pull(ImageReference),
    /// Do something to one node. At most one at a time per node.
    Operate {
        /// The node.
        node: NodeName,
        /// What.
        operation: Operation,
        /// Why.
        reason: Reason,
    },
    /// Read change messages from here from now on.
    Listen(QueueAddress),
    /// Everything is as it should be, or has failed at least once: the start is over. Sent once.
    Ready,
    /// These containers are all that there are; what is remembered of others can be forgotten. Sent once.
    Forget(HashSet<ContainerId>),
    /// Report a crash loop of a node: at its beginning, rarely while it goes on, and when it is over.
    CrashLoop {
        /// The node.
        node: NodeName,
        /// What is reported about it.
        notice: CrashLoopNotice,
    },
    /// All is done: the daemon can end.
    Finish(Finish),
}

/// Why the daemon ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finish {
    /// It was told to.
    Stopped,
    /// The cloud confirmed that the app is gone.
    AppRemoved,
    /// The cloud knows no such app, and nothing on this host says that there ever was one: a mistake in the settings.
    NoSuchApp,
}

/// What is done to a node. Each is safe to repeat.
#[derive(Debug, Clone)]
pub enum Operation {
    /// Make the container and start it.
    Create(Target),
    /// Start a container that does not run.
    Start {
        /// The container.
        id: ContainerId,
        /// What it will read; `None` while the cloud cannot be asked.
        revision: Option<Revision>,
    },
    /// Restart a container.
    Restart {
        /// The container.
        id: ContainerId,
        /// What it will read.
        revision: Revision,
    },
    /// Put a new container in the place of old ones, and the old one back when the new one does not stay up.
    Replace {
        /// The old ones, the one to come back first.
        old: Vec<ContainerId>,
        /// The new one, if an earlier attempt already made it; it does not run.
        next: Option<ContainerId>,
        /// What the new one is made of.
        target: Target,
        /// In which order.
        strategy: Strategy,
    },
    /// A new container runs and old ones are still there: see that it stays up, then remove the old ones.
    Confirm {
        /// The new one.
        next: ContainerId,
        /// The old ones, the one to come back first.
        old: Vec<ContainerId>,
        /// What an old one will read if it has to come back.
        revision: Revision,
        /// Whether the old ones may run meanwhile.
        strategy: Strategy,
    },
    /// Give the node's container its proper name.
    Rename {
        /// The container.
        id: ContainerId,
        /// The name.
        name: String,
    },
    /// Remove containers, stopping them first.
    Remove(Vec<ContainerId>),
    /// Stop containers because the daemon ends.
    Stop(Vec<ContainerId>),
}

/// How a container takes the place of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strategy {
    /// The old one is stopped before the new one is started: never two at a time.
    StopFirst,
    /// As careful, and another node lets go of a host port that the new one needs while it waits for one of the old
    /// one's: the start is tried until the port is free.
    PortSwap,
    /// The new one is started first, and both run until it has stayed up.
    StartFirst,
    /// As careful, but the old one is of no use any more: nothing waits to see whether the new one stays up.
    Force,
}

/// A container to be made.
#[derive(Clone)]
pub struct Target {
    /// What it is made of; the driver adds the label of the spec and the log stream.
    pub spec: Arc<ContainerSpec>,
    /// What it will read when it starts.
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
