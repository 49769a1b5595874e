//! All inputs of the reconciler in one closed enum: nothing else can influence it.

use managed_app_runtimes::{ContainerId, EngineEvent, ImageId, ImageReference, Instance, Revision};

use super::Settings;
use crate::model::{Change, NodeName, Snapshot};

/// One event.
#[derive(Debug, Clone)]
pub enum Event {
    /// The daemon starts: fetch and list everything.
    Begin,
    /// A change message.
    Change(Change),
    /// The queue of change messages does not exist (any more).
    QueueLost,
    /// The response to [`Effect::FetchSnapshot`](super::Effect::FetchSnapshot).
    Snapshot(Result<Snapshot, Failure>),
    /// The response to [`Effect::List`](super::Effect::List).
    Listed(Result<Vec<Instance>, Failure>),
    /// The engine reports an event of a container.
    Engine(EngineEvent),
    /// Engine events may have been lost: list the containers.
    EventsLost,
    /// The response to [`Effect::Pull`](super::Effect::Pull).
    Pulled {
        /// The requested image.
        image: ImageReference,
        /// The result.
        outcome: Pulled,
    },
    /// The response to [`Effect::Operate`](super::Effect::Operate).
    Finished {
        /// The node.
        node: NodeName,
        /// The result.
        outcome: Outcome,
    },
    /// The time of [`Reconciler::deadline`](super::Reconciler::deadline) is reached.
    Timer,
    /// An operator requests a full comparison.
    Resync,
    /// The configuration was reloaded.
    Settings(Box<Settings>),
    /// The daemon is to end; the value decides what happens to the nodes.
    Stop(EndOfNodes),
}

impl Event {
    /// Its kind, for logs.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Begin => "begin",
            Self::Change(_) => "change",
            Self::QueueLost => "queue_lost",
            Self::Snapshot(_) => "snapshot",
            Self::Listed(_) => "listed",
            Self::Engine(_) => "engine_event",
            Self::EventsLost => "events_lost",
            Self::Pulled { .. } => "pulled",
            Self::Finished { .. } => "finished",
            Self::Timer => "timer",
            Self::Resync => "resync",
            Self::Settings(_) => "settings",
            Self::Stop(_) => "stop",
        }
    }
}

/// The treatment of the nodes at the end of the daemon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndOfNodes {
    /// They keep running.
    Leave,
    /// They are stopped.
    Stop,
    /// They are stopped and removed.
    Remove,
}

/// The result of a pull.
#[derive(Debug, Clone)]
pub enum Pulled {
    /// The image is the registry's current one.
    Fresh(ImageId),
    /// The pull failed, and an older copy is present.
    Kept {
        /// The copy.
        id: ImageId,
        /// Why the pull failed.
        failure: Failure,
    },
    /// The pull failed, and there is no copy.
    Failed(Failure),
}

/// The result of an operation on a node.
#[derive(Debug, Clone)]
pub enum Outcome {
    /// The node's only container is this one, and it runs.
    Created(Box<Instance>),
    /// This container runs, started with these inputs; `None` if they were unknown.
    Started {
        /// The container.
        id: ContainerId,
        /// Its startup inputs.
        revision: Option<Revision>,
    },
    /// These containers are removed; other containers of the node are unchanged.
    Removed(Vec<ContainerId>),
    /// This container could not be started again and was removed; a new one can take its place.
    Discarded {
        /// The container.
        id: ContainerId,
        /// Why it could not be started.
        failure: Failure,
    },
    /// These containers are stopped.
    Stopped(Vec<ContainerId>),
    /// The image is not present any more.
    ImageMissing,
    /// The new container did not start or did not stay up, and was abandoned; the old one runs. The failure is
    /// [`FailureKind::Permanent`] if the new container caused it. The state of the engine must be listed.
    RolledBack(Failure),
    /// It failed; the state of the engine must be listed.
    Failed(Failure),
    /// It was abandoned because the daemon ends; the state of the engine must be listed.
    Abandoned,
}

impl Outcome {
    /// Whether the state of the engine must be listed.
    pub fn needs_list(&self) -> bool {
        matches!(self, Self::RolledBack(_) | Self::ImageMissing | Self::Failed(_) | Self::Abandoned)
    }
}

/// A failure, as the reconciler handles it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// How to continue.
    pub kind: FailureKind,
    /// The chain of causes, for people; without secrets.
    pub text: String,
}

/// How to continue after a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureKind {
    /// May succeed the next time.
    Transient,
    /// The other side throttles.
    Throttled,
    /// Fails until somebody changes something; retried slowly.
    Permanent,
}
