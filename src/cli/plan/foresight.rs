//! The real planner, asked without carrying out what it says. Pure: what it wants to know is handed in.
//!
//! Pulls are taken to bring what is here already, because what they bring is not known before. Only the first step of
//! each node is told: what follows depends on how that goes.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use managed_app_runtimes::{Container, ContainerId, ImageId, ImageReference, labels};

use crate::model::{NodeName, Snapshot};
use crate::reconciler::{Effect, Event, Listing, Operation, Pulled, Reconciler, Revision, Settings};

/// An image that nodes want.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Image {
    pub(super) reference: ImageReference,
    /// The copy that is here.
    pub(super) present: Option<ImageId>,
}

/// What would happen to a node first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// This.
    Do { verb: &'static str, reason: String },
    /// It is as wanted.
    Nothing,
    /// It stays as it is, for this reason.
    Left(String),
}

/// All that would happen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Foreseen {
    pub(super) images: Vec<Image>,
    pub(super) nodes: BTreeMap<NodeName, Step>,
}

impl Foreseen {
    /// How many nodes something would be done to.
    pub(super) fn count(&self) -> usize {
        self.nodes.values().filter(|step| matches!(step, Step::Do { .. })).count()
    }
}

/// A planner on its way: [`begin`](Self::begin), [`absorb`](Self::absorb), [`finish`](Self::finish).
#[derive(Debug)]
pub(super) struct Foresight {
    reconciler: Reconciler,
    remembered: HashMap<ContainerId, Revision>,
    snapshot: Snapshot,
    images: Vec<Image>,
    effects: Vec<Effect>,
}

/// Any time after which the second answer that the app is gone counts.
const MUCH_LATER: Duration = Duration::from_secs(3600);
/// What a pull of an image that is not here brings; no engine has such an id.
const UNKNOWN_CONTENT: &str = "";

impl Foresight {
    /// A planner that knows the app, and the images that it wants to pull.
    pub(super) fn begin(
        settings: &Settings,
        remembered: HashMap<ContainerId, Revision>,
        snapshot: Snapshot,
    ) -> (Self, Vec<ImageReference>) {
        // The seed only spreads retries, and nothing is retried here.
        let mut reconciler = Reconciler::new(settings.clone(), 0);
        reconciler.on(Event::Begin, Duration::ZERO);
        let effects = reconciler.on(Event::Snapshot(Ok(snapshot.clone())), Duration::ZERO);
        let pulls = effects.into_iter().filter_map(|effect| match effect {
            Effect::Pull(image) => Some(image),
            _ => None,
        });
        let pulls = pulls.collect();
        (Self { reconciler, remembered, snapshot, images: Vec::new(), effects: Vec::new() }, pulls)
    }

    /// Takes in what the engine has.
    pub(super) fn absorb(&mut self, images: Vec<Image>, mut containers: Vec<Container>) {
        let absent: BTreeSet<&ImageReference> =
            images.iter().filter(|image| image.present.is_none()).map(|image| &image.reference).collect();
        for container in &mut containers {
            // Without a copy there is nothing to compare with; an id that is not known counts as the same.
            if self.image_of(container).is_some_and(|image| absent.contains(&image)) {
                container.image_id = ImageId(UNKNOWN_CONTENT.to_owned());
            }
        }
        for image in &images {
            let id = image.present.clone().unwrap_or_else(|| ImageId(UNKNOWN_CONTENT.to_owned()));
            self.tell(Event::Pulled { image: image.reference.clone(), outcome: Pulled::Fresh(id) }, Duration::ZERO);
        }
        self.images = images;
        let revisions = std::mem::take(&mut self.remembered);
        self.tell(Event::Listed(Ok(Listing { containers, revisions })), Duration::ZERO);
        if matches!(self.snapshot, Snapshot::Gone) {
            // The daemon asks twice before it believes that.
            self.tell(Event::Timer, MUCH_LATER);
            self.tell(Event::Snapshot(Ok(Snapshot::Gone)), MUCH_LATER);
        }
    }

    fn tell(&mut self, event: Event, now: Duration) {
        self.effects.extend(self.reconciler.on(event, now));
    }

    fn image_of(&self, container: &Container) -> Option<ImageReference> {
        let app = self.snapshot.app()?;
        let name = NodeName::new(container.labels.get(labels::NODE)?.as_str()).ok()?;
        app.nodes.get(&name)?.node_type.image_uri.parse().ok()
    }

    /// What would happen.
    pub(super) fn finish(self) -> Foreseen {
        let mut nodes: BTreeMap<NodeName, Step> = BTreeMap::new();
        for status in self.reconciler.status().nodes {
            let step = match status.failure {
                Some(reason) => Step::Left(reason),
                None => Step::Nothing,
            };
            nodes.insert(status.name, step);
        }
        for effect in &self.effects {
            if let Effect::Operate { node, operation, reason } = effect {
                let reason = format!("{reason}{}", self.condition(operation));
                nodes.insert(node.clone(), Step::Do { verb: operation.verb(), reason: reason.to_string() });
            }
        }
        Foreseen { images: self.images, nodes }
    }

    fn condition(&self, operation: &Operation) -> &'static str {
        let (Operation::Create(target) | Operation::Replace { target, .. }) = operation else { return "" };
        let is_absent = |image: &Image| image.reference == target.spec.image && image.present.is_none();
        if self.images.iter().any(is_absent) { ", as soon as its image is here" } else { "" }
    }
}
