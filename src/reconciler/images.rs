//! The images that nodes want: which are present, which are being fetched, which failed. One pull serves all nodes of
//! an image; a registry that asks for patience gets it for all its images.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use managed_app_runtimes::{ImageId, ImageReference};

use super::event::{Failure, FailureKind, Pulled};
use super::plan::ImageView;
use super::retry::{Jitter, Retry};

/// All images that nodes want.
#[derive(Debug, Default)]
pub struct Images {
    images: BTreeMap<ImageReference, Image>,
    /// Registries that asked for patience, until when.
    cool_downs: HashMap<String, Duration>,
}

#[derive(Debug, Default)]
struct Image {
    present: Option<ImageId>,
    is_pulling: bool,
    is_wanted: bool,
    retry: Retry,
    failure: Option<Failure>,
}

impl Images {
    /// Asks for a pull of `image`: it is due at once unless one is going on.
    pub fn want(&mut self, image: &ImageReference) {
        let image = self.images.entry(image.clone()).or_default();
        if !image.is_pulling {
            image.is_wanted = true;
            image.retry.reset();
        }
    }

    /// Pulls that failed are due again at once, whatever their registries asked for.
    pub fn hurry(&mut self) {
        self.images.values_mut().for_each(|image| image.retry.hurry());
        self.cool_downs.clear();
    }

    /// Forgets images that no node wants any more.
    pub fn retain(&mut self, is_wanted: impl Fn(&ImageReference) -> bool) {
        self.images.retain(|reference, image| image.is_pulling || is_wanted(reference));
    }

    /// What is known of `image`.
    pub fn view(&self, image: &ImageReference) -> ImageView<'_> {
        match self.images.get(image) {
            Some(Image { present: Some(id), .. }) => ImageView::Present(id),
            Some(Image { failure: Some(_), .. }) => ImageView::Missing,
            _ => ImageView::Pending,
        }
    }

    /// Why `image` could not be fetched, if so.
    pub fn failure(&self, image: &ImageReference) -> Option<&Failure> {
        self.images.get(image)?.failure.as_ref()
    }

    /// Pulls that are due at `now`; each counts as begun.
    pub fn take_due(&mut self, now: Duration) -> Vec<ImageReference> {
        let mut due = Vec::new();
        for (reference, image) in &mut self.images {
            let is_cool = || self.cool_downs.get(reference.registry()).is_none_or(|until| *until <= now);
            if image.is_wanted && !image.is_pulling && image.retry.is_due(now) && is_cool() {
                image.is_pulling = true;
                image.is_wanted = false;
                due.push(reference.clone());
            }
        }
        due
    }

    /// Takes over how a pull ended.
    pub fn absorb(&mut self, reference: &ImageReference, outcome: Pulled, now: Duration, jitter: &mut Jitter) {
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
        image.is_wanted = true;
        image.retry.failed(failure.kind, now, jitter);
        if let (FailureKind::Throttled, Some(until)) = (failure.kind, image.retry.not_before()) {
            self.cool_downs.insert(reference.registry().to_owned(), until);
        }
        image.failure = Some(failure);
    }

    /// An image that was there is gone from the engine: fetch it again.
    pub fn lost(&mut self, reference: &ImageReference) {
        if let Some(image) = self.images.get_mut(reference) {
            image.present = None;
        }
        self.want(reference);
    }

    /// Whether the first attempt to pull `image` is going on or about to begin, so that its content may still change.
    /// Later attempts hold nothing up.
    pub fn is_fetching(&self, image: &ImageReference) -> bool {
        self.images.get(image).is_some_and(|i| (i.is_pulling || i.is_wanted) && i.retry.attempts() == 0)
    }

    /// Whether any pull is going on.
    pub fn is_pulling(&self) -> bool {
        self.images.values().any(|image| image.is_pulling)
    }

    /// When the next pull is due.
    pub fn deadline(&self) -> Option<Duration> {
        self.images
            .iter()
            .filter(|(_, image)| image.is_wanted && !image.is_pulling)
            .map(|(reference, image)| {
                let cool = self.cool_downs.get(reference.registry()).copied().unwrap_or_default();
                image.retry.not_before().unwrap_or_default().max(cool)
            })
            .min()
    }
}
