//! Everything the reconciler can be told. One closed enum: what is not here cannot influence it.

use std::collections::HashMap;

use managed_app_runtimes::labels::SpecRecord;
use managed_app_runtimes::{Container, ContainerId, EngineEvent, ImageId, ImageReference};

use super::{EndOfNodes, Revision, Settings};
use crate::model::{Change, NodeName, Snapshot};

/// One thing that happened.
#[derive(Debug, Clone)]
pub enum Event {
    /// The daemon begins: look at everything.
    Begin,
    /// A change message.
    Change(Change),
    /// The queue of change messages does not exist (any more).
    QueueLost,
    /// The answer to [`Effect::FetchSnapshot`](super::Effect::FetchSnapshot).
    Snapshot(Result<Snapshot, Failure>),
    /// The answer to [`Effect::List`](super::Effect::List).
    Listed(Result<Listing, Failure>),
    /// The engine says that something happened to a container.
    Engine(EngineEvent),
    /// Hints may have been lost: look for yourself.
    EventsLost,
    /// The answer to [`Effect::Pull`](super::Effect::Pull).
    Pulled {
        /// What was asked for.
        image: ImageReference,
        /// What came of it.
        outcome: Pulled,
    },
    /// The answer to [`Effect::Operate`](super::Effect::Operate).
    Finished {
        /// The node.
        node: NodeName,
        /// How it ended.
        outcome: Outcome,
    },
    /// The answer to [`Effect::Forget`](super::Effect::Forget).
    Saved,
    /// The time of [`Reconciler::deadline`](super::Reconciler::deadline) has come.
    Timer,
    /// Compare everything anew, as an operator asked for.
    Resync,
    /// The configuration was read anew.
    Settings(Box<Settings>),
    /// The daemon is to end, and this becomes of the nodes.
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
            Self::Engine(_) => "hint",
            Self::EventsLost => "hints_lost",
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

/// What there is, and what is known of it from elsewhere.
#[derive(Debug, Clone, Default)]
pub struct Listing {
    /// Our containers.
    pub containers: Vec<Container>,
    /// What containers read when they were last started, from the state file: written by all operations, also by those
    /// whose answer was lost.
    pub revisions: HashMap<ContainerId, Revision>,
}

/// How a pull ended.
#[derive(Debug, Clone)]
pub enum Pulled {
    /// The image is what the registry has now.
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

/// How an operation on a node ended.
#[derive(Debug, Clone)]
pub enum Outcome {
    /// The node's one container is this new one, and it runs.
    Created(Box<Created>),
    /// This container runs, started with these inputs; `None` where they were not known.
    Started {
        /// The container.
        id: ContainerId,
        /// What it read.
        revision: Option<Revision>,
    },
    /// This container has this name now.
    Renamed {
        /// The container.
        id: ContainerId,
        /// Its name.
        name: String,
    },
    /// These containers are gone; others of the node are as they were.
    Removed(Vec<ContainerId>),
    /// This container could not be started again, whatever is done to it, and is removed; another one can take its place.
    Discarded {
        /// The container.
        id: ContainerId,
        /// Why it could not be started.
        failure: Failure,
    },
    /// These containers are stopped.
    Stopped(Vec<ContainerId>),
    /// The image that was present is not there any more.
    ImageMissing,
    /// The new container did not come up or did not stay up, and is given up; the old one runs. The failure is
    /// [`FailureKind::Permanent`] where the new container is to blame. What the engine holds now must be looked up.
    RolledBack(Failure),
    /// It failed; what the engine holds now must be looked up.
    Failed(Failure),
    /// It was given up half way because the daemon ends; what the engine holds now must be looked up.
    Abandoned,
}

impl Outcome {
    /// Whether what the engine holds now must be looked up.
    pub fn is_unsure(&self) -> bool {
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
    /// What it read when it started.
    pub revision: Revision,
    /// What it was made of.
    pub record: SpecRecord,
    /// Its image.
    pub image_id: ImageId,
}

/// A failure as far as the reconciler cares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// How to go on.
    pub kind: FailureKind,
    /// The whole chain of causes, for people; free of secrets.
    pub text: String,
}

/// How to go on after a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureKind {
    /// May work the next time.
    Transient,
    /// The other side asks for patience.
    Throttled,
    /// Will fail until somebody changes something; tried again slowly.
    Permanent,
}
