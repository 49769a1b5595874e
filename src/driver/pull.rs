//! One pull: credentials, pull, and the local copy when it fails.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use managed_app_runtimes::{ErrorKind, ImageId, ImageReference, PullProgress};
use tracing::{info, warn};

use super::{Executor, failure};
use crate::reconciler::{Failure, Pulled};
use crate::telemetry::PROGRESS;

impl Executor {
    /// Pulls `image`; on a failure, reports whether an older copy is present.
    pub async fn pull(&self, image: &ImageReference) -> Pulled {
        let _permit = self.pulls.acquire().await.expect("the semaphore is never closed");
        let began = Instant::now();
        match self.fetch(image).await {
            Ok(id) => {
                info!(image = %image, elapsed_ms = began.elapsed().as_millis() as u64, "image is up to date");
                Pulled::Fresh(id)
            }
            Err(failure) => match self.engine.image(image).await {
                Ok(Some(id)) => {
                    warn!(image = %image, error = failure.text, "image cannot be pulled; the local copy is used");
                    Pulled::Kept { id, failure }
                }
                _ => {
                    warn!(image = %image, error = failure.text, "image cannot be pulled");
                    Pulled::Failed(failure)
                }
            },
        }
    }

    /// Content with a digest never changes: a local copy is the image. The same applies to images of `localhost`, which
    /// by Podman's convention belong to no registry. Credentials that a registry rejects may be stale, so they are
    /// requested again once.
    async fn fetch(&self, image: &ImageReference) -> Result<ImageId, Failure> {
        let is_local = image.registry() == "localhost";
        if (is_local || image.digest().is_some())
            && let Ok(Some(id)) = self.engine.image(image).await
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
        self.engine.pull(image, credentials.as_ref(), &progress).await.map_err(|error| {
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
