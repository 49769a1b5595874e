//! Runs the real reconciler without executing its effects. Pure: the caller passes the state of the engine.
//!
//! The content of a pull is not known before, so each pull counts as a pull of the local copy. Only the first step of
//! each node is reported, because later steps depend on its outcome.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use managed_app_runtimes::{Container, ContainerId, ImageId, ImageReference, Instance, Revision, labels};

use crate::model::{NodeName, Snapshot};
use crate::reconciler::{Effect, Event, Operation, Pulled, Reconciler, Settings};

/// An image that nodes need.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Image {
    pub(super) reference: ImageReference,
    /// The local copy.
    pub(super) present: Option<ImageId>,
}

/// The first step of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// An operation.
    Act { verb: &'static str, reason: String },
    /// The node matches the desired state.
    Nothing,
    /// The node stays unchanged, for this reason.
    Blocked(String),
}

/// The result of the simulation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Preview {
    pub(super) images: Vec<Image>,
    pub(super) nodes: BTreeMap<NodeName, Step>,
}

impl Preview {
    /// Number of nodes with an operation.
    pub(super) fn count(&self) -> usize {
        self.nodes.values().filter(|step| matches!(step, Step::Act { .. })).count()
    }
}

/// A running simulation: [`begin`](Self::begin), [`observe`](Self::observe), [`finish`](Self::finish).
#[derive(Debug)]
pub(super) struct Simulation {
    reconciler: Reconciler,
    revisions: HashMap<ContainerId, Revision>,
    snapshot: Snapshot,
    images: Vec<Image>,
    effects: Vec<Effect>,
}

/// Time after which a second response confirms the removal of the app.
const MUCH_LATER: Duration = Duration::from_secs(3600);
/// Image ID for the result of a pull without a local copy; no engine has such an ID.
const UNKNOWN_CONTENT: &str = "";

impl Simulation {
    /// Starts the simulation with the app; returns the images that the reconciler pulls.
    pub(super) fn begin(
        settings: &Settings,
        revisions: HashMap<ContainerId, Revision>,
        snapshot: Snapshot,
    ) -> (Self, Vec<ImageReference>) {
        // The seed only affects retry delays, and nothing is retried here.
        let mut reconciler = Reconciler::new(settings.clone(), 0);
        reconciler.on(Event::Begin, Duration::ZERO);
        let effects = reconciler.on(Event::Snapshot(Ok(snapshot.clone())), Duration::ZERO);
        let pulls = effects.into_iter().filter_map(|effect| match effect {
            Effect::Pull(image) => Some(image),
            _ => None,
        });
        let pulls = pulls.collect();
        (Self { reconciler, revisions, snapshot, images: Vec::new(), effects: Vec::new() }, pulls)
    }

    /// Applies the images and containers of the engine.
    pub(super) fn observe(&mut self, images: Vec<Image>, mut containers: Vec<Container>) {
        let absent: BTreeSet<&ImageReference> =
            images.iter().filter(|image| image.present.is_none()).map(|image| &image.reference).collect();
        for container in &mut containers {
            // Without a local copy there is nothing to compare with; the unknown ID counts as equal.
            if self.image_of(container).is_some_and(|image| absent.contains(&image)) {
                container.image_id = ImageId(UNKNOWN_CONTENT.to_owned());
            }
        }
        for image in &images {
            let id = image.present.clone().unwrap_or_else(|| ImageId(UNKNOWN_CONTENT.to_owned()));
            self.handle(Event::Pulled { image: image.reference.clone(), outcome: Pulled::Fresh(id) }, Duration::ZERO);
        }
        self.images = images;
        let mut revisions = std::mem::take(&mut self.revisions);
        let instances = containers.into_iter().filter_map(|container| {
            let revision = revisions.remove(&container.id);
            Instance::new(container, None, revision)
        });
        self.handle(Event::Listed(Ok(instances.collect())), Duration::ZERO);
        if matches!(self.snapshot, Snapshot::Gone) {
            // A second response must confirm the removal.
            self.handle(Event::Timer, MUCH_LATER);
            self.handle(Event::Snapshot(Ok(Snapshot::Gone)), MUCH_LATER);
        }
    }

    fn handle(&mut self, event: Event, now: Duration) {
        self.effects.extend(self.reconciler.on(event, now));
    }

    fn image_of(&self, container: &Container) -> Option<ImageReference> {
        let app = self.snapshot.app()?;
        let name = NodeName::new(container.labels.get(labels::NODE)?.as_str()).ok()?;
        app.nodes.get(&name)?.node_type.image_uri.parse().ok()
    }

    /// Returns the first step of each node.
    pub(super) fn finish(self) -> Preview {
        let mut nodes: BTreeMap<NodeName, Step> = BTreeMap::new();
        for status in self.reconciler.status().nodes {
            let step = match status.failure {
                Some(reason) => Step::Blocked(reason),
                None => Step::Nothing,
            };
            nodes.insert(status.name, step);
        }
        for effect in &self.effects {
            if let Effect::Operate { node, operation, reason } = effect {
                let reason = format!("{reason}{}", self.condition(operation));
                nodes.insert(node.clone(), Step::Act { verb: operation.verb(), reason: reason.to_string() });
            }
        }
        Preview { images: self.images, nodes }
    }

    fn condition(&self, operation: &Operation) -> &'static str {
        let (Operation::Create(target) | Operation::Replace { target, .. }) = operation else { return "" };
        let is_absent = |image: &Image| image.reference == target.spec.image && image.present.is_none();
        if self.images.iter().any(is_absent) { ", as soon as its image is pulled" } else { "" }
    }
}
