//! One pull: credentials, pull, and the local copy when it fails.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use managed_app_runtimes::{ErrorKind, ImageId, ImageReference, PullProgress};
use tracing::{info, warn};

use super::{Executor, failure};
use crate::reconciler::{Failure, Pulled};
use crate::telemetry::PROGRESS;

/// Images whose ID is known by their last pull.
const PULLED_MAX: usize = 1_000;

impl Executor {
    /// Pulls `image`; on a failure, reports whether an older copy is present.
    pub async fn pull(&self, image: &ImageReference) -> Pulled {
        let _permit = self.pulls.acquire().await.expect("the semaphore is never closed");
        let began = Instant::now();
        self.pulled().remove(image);
        let pulled = match self.fetch(image).await {
            Ok(id) => {
                info!(image = %image, elapsed_ms = began.elapsed().as_millis() as u64, "image is up to date");
                Pulled::Fresh(id)
            }
            Err(failure) => match self.runtime.image(image).await {
                Ok(Some(id)) => {
                    warn!(image = %image, error = failure.text, "image cannot be pulled; the local copy is used");
                    Pulled::Kept { id, failure }
                }
                _ => {
                    warn!(image = %image, error = failure.text, "image cannot be pulled");
                    Pulled::Failed(failure)
                }
            },
        };
        if let Pulled::Fresh(id) | Pulled::Kept { id, .. } = &pulled {
            remember(&mut self.pulled(), image.clone(), id.clone());
        }
        pulled
    }

    /// The local image by the last pull; `None` if that failed or another one runs.
    pub(super) fn last_pulled(&self, image: &ImageReference) -> Option<ImageId> {
        self.pulled().get(image).cloned()
    }

    fn pulled(&self) -> MutexGuard<'_, HashMap<ImageReference, ImageId>> {
        self.pulled.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Content with a digest never changes: a local copy is the image. The same applies to images of `localhost`, which
    /// by Podman's convention belong to no registry. Credentials that a registry rejects may be stale, so they are
    /// requested again once.
    async fn fetch(&self, image: &ImageReference) -> Result<ImageId, Failure> {
        let is_local = image.registry() == "localhost";
        if (is_local || image.digest().is_some())
            && let Ok(Some(id)) = self.runtime.image(image).await
        {
            return Ok(id);
        }
        match self.fetch_once(image).await {
            Err(PullError::Unauthorized(_)) => {
                self.registry.forget(image).await;
                self.fetch_once(image).await.map_err(PullError::into_failure)
            }
            other => other.map_err(PullError::into_failure),
        }
    }
}

/// Tags change for years: at the limit all are forgotten, and the engine is asked for their images instead.
fn remember(pulled: &mut HashMap<ImageReference, ImageId>, image: ImageReference, id: ImageId) {
    if pulled.len() >= PULLED_MAX {
        pulled.clear();
    }
    pulled.insert(image, id);
}

enum PullError {
    /// The registry rejected the credentials.
    Unauthorized(Failure),
    Other(Failure),
}

impl PullError {
    fn into_failure(self) -> Failure {
        match self {
            Self::Unauthorized(failure) | Self::Other(failure) => failure,
        }
    }
}

impl Executor {
    async fn fetch_once(&self, image: &ImageReference) -> Result<ImageId, PullError> {
        let credentials =
            self.registry.credentials(image).await.map_err(|error| PullError::Other(failure::of_registry(&error)))?;
        let report = Report::new(image);
        let progress = |progress: PullProgress| report.show(progress);
        self.runtime.pull(image, credentials.as_ref(), &progress).await.map_err(|error| {
            let failure = failure::of_pull(&error);
            match error.kind() {
                ErrorKind::Unauthorized => PullError::Unauthorized(failure),
                _ => PullError::Other(failure),
            }
        })
    }
}

/// Removes the progress bar also when the pull was cancelled.
impl Drop for Report<'_> {
    fn drop(&mut self) {
        info!(target: PROGRESS, subject = %self.image, is_over = true);
    }
}

/// How often the progress of a long pull is logged.
const REPORT_EVERY: Duration = Duration::from_secs(10);

/// Logs the progress of a long pull from time to time.
struct Report<'a> {
    image: &'a ImageReference,
    last: Mutex<Instant>,
}

impl<'a> Report<'a> {
    fn new(image: &'a ImageReference) -> Self {
        Self { image, last: Mutex::new(Instant::now()) }
    }

    fn show(&self, progress: PullProgress) {
        let (done, total) = (progress.done_bytes, progress.total_bytes);
        info!(target: PROGRESS, subject = %self.image, unit = "bytes", done, total);
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.elapsed() >= REPORT_EVERY {
            *last = Instant::now();
            info!(image = %self.image, done_bytes = progress.done_bytes, total_bytes = progress.total_bytes,
                "image is being pulled");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_known_images_is_bounded() {
        let mut pulled = HashMap::new();
        for number in 0..3 * PULLED_MAX {
            let image: ImageReference = format!("registry.test/node:{number}").parse().expect("a reference");
            remember(&mut pulled, image.clone(), ImageId(number.to_string()));
            assert!(pulled.len() <= PULLED_MAX && pulled.contains_key(&image), "{number}");
        }
    }
}
