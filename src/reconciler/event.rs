//! All inputs of the reconciler in one closed enum: nothing else can influence it.

use std::collections::HashMap;

use managed_app_runtimes::labels::SpecRecord;
use managed_app_runtimes::{Container, ContainerId, EngineEvent, ImageId, ImageReference};

use super::{Revision, Settings};
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
    Listed(Result<Listing, Failure>),
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
    /// The response to [`Effect::Forget`](super::Effect::Forget).
    Saved,
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
            Self::Saved => "saved",
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

/// The containers of the engine, and their revisions of the state file.
#[derive(Debug, Clone, Default)]
pub struct Listing {
    /// Our containers.
    pub containers: Vec<Container>,
    /// Revisions that containers read at their last start, from the state file: all operations write them, also those
    /// whose response was lost.
    pub revisions: HashMap<ContainerId, Revision>,
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
    /// The node's only container is this new one, and it runs.
    Created(Box<Created>),
    /// This container runs, started with these inputs; `None` if they were unknown.
    Started {
        /// The container.
        id: ContainerId,
        /// Its startup inputs.
        revision: Option<Revision>,
    },
    /// This container has this name now.
    Renamed {
        /// The container.
        id: ContainerId,
        /// Its name.
        name: String,
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

/// A new container.
#[derive(Debug, Clone)]
pub struct Created {
    /// Its id.
    pub id: ContainerId,
    /// Its name.
    pub name: String,
    /// Its startup inputs.
    pub revision: Revision,
    /// The record of its spec.
    pub record: SpecRecord,
    /// Its image.
    pub image_id: ImageId,
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
