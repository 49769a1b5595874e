//! The images of the nodes: present, being pulled or failed. One pull serves all nodes of an image. A registry that
//! throttles delays the pulls of all its images.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use managed_app_runtimes::{ImageId, ImageReference};

use super::event::{Failure, FailureKind, Pulled};
use super::plan::ImageView;
use super::retry::{Jitter, Retry};

/// All images of the nodes.
#[derive(Debug, Default)]
pub struct Images {
    images: BTreeMap<ImageReference, Image>,
    /// Registries that throttle, until when.
    cool_downs: HashMap<String, Duration>,
}

#[derive(Debug, Default)]
struct Image {
    present: Option<ImageId>,
    is_pulling: bool,
    is_requested: bool,
    retry: Retry,
    failure: Option<Failure>,
}

impl Images {
    /// Requests a pull of `image`: due at once unless one is running.
    pub fn request(&mut self, image: &ImageReference) {
        let image = self.images.entry(image.clone()).or_default();
        if !image.is_pulling {
            image.is_requested = true;
            image.retry.reset();
        }
    }

    /// Failed pulls are due at once, also those of throttling registries.
    pub fn skip_delay(&mut self) {
        self.images.values_mut().for_each(|image| image.retry.skip_delay());
        self.cool_downs.clear();
    }

    /// Drops images that no node uses any more.
    pub fn retain(&mut self, is_used: impl Fn(&ImageReference) -> bool) {
        self.images.retain(|reference, image| image.is_pulling || is_used(reference));
    }

    /// The known state of `image`.
    pub fn view(&self, image: &ImageReference) -> ImageView<'_> {
        match self.images.get(image) {
            Some(Image { present: Some(id), .. }) => ImageView::Present(id),
            Some(Image { failure: Some(_), .. }) => ImageView::Missing,
            _ => ImageView::Pending,
        }
    }

    /// The failure of the last pull of `image`, if it failed.
    pub fn failure(&self, image: &ImageReference) -> Option<&Failure> {
        self.images.get(image)?.failure.as_ref()
    }

    /// Pulls that are due at `now`; each counts as started.
    pub fn take_due(&mut self, now: Duration) -> Vec<ImageReference> {
        let mut due = Vec::new();
        for (reference, image) in &mut self.images {
            let is_cool = || self.cool_downs.get(reference.registry()).is_none_or(|until| *until <= now);
            if image.is_requested && !image.is_pulling && image.retry.is_due(now) && is_cool() {
                image.is_pulling = true;
                image.is_requested = false;
                due.push(reference.clone());
            }
        }
        due
    }

    /// Applies the result of a pull.
    pub fn apply_result(&mut self, reference: &ImageReference, outcome: Pulled, now: Duration, jitter: &mut Jitter) {
        let Some(image) = self.images.get_mut(reference) else { return };
        image.is_pulling = false;
        let failure = match outcome {
            Pulled::Fresh(id) => {
                image.present = Some(id);
                image.retry.reset();
                image.failure = None;
                return;
            }
            Pulled::Kept { id, failure } => {
                image.present = Some(id);
                failure
            }
            Pulled::Failed(failure) => {
                image.present = None;
                failure
            }
        };
        image.is_requested = true;
        image.retry.failed(failure.kind, now, jitter);
        if let (FailureKind::Throttled, Some(until)) = (failure.kind, image.retry.not_before()) {
            self.cool_downs.insert(reference.registry().to_owned(), until);
        }
        image.failure = Some(failure);
    }

    /// The engine does not have the image any more: pull it again.
    pub fn lost(&mut self, reference: &ImageReference) {
        if let Some(image) = self.images.get_mut(reference) {
            image.present = None;
        }
        self.request(reference);
    }

    /// Whether the first attempt to pull `image` runs or is due, so that its content may still change. Later attempts
    /// delay nothing.
    pub fn is_fetching(&self, image: &ImageReference) -> bool {
        self.images.get(image).is_some_and(|i| (i.is_pulling || i.is_requested) && i.retry.attempts() == 0)
    }

    /// Whether any pull is running.
    pub fn is_pulling(&self) -> bool {
        self.images.values().any(|image| image.is_pulling)
    }

    /// When the next pull is due.
    pub fn deadline(&self) -> Option<Duration> {
        self.images
            .iter()
            .filter(|(_, image)| image.is_requested && !image.is_pulling)
            .map(|(reference, image)| {
                let cool = self.cool_downs.get(reference.registry()).copied().unwrap_or_default();
                image.retry.not_before().unwrap_or_default().max(cool)
            })
            .min()
    }
}
