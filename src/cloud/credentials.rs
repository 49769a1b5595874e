//! The app's AWS credentials, kept and renewed for the SDK. Asks the control plane; knows nothing of how that works.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider, future};
use tokio::time::{Instant, timeout};

use super::echostream::CREDENTIALS_LIFETIME;
use super::renewing::{Lease, Renewing};
use super::{CloudError, CloudErrorKind, ControlPlane};

/// Credentials are renewed this long before their end, or when a quarter of their life is left if that is shorter.
const RENEW_BEFORE: Duration = Duration::from_secs(600);

/// Limit for one renewal; above the client's own, so that its error is the one that shows.
const RENEWAL_LIMIT: Duration = Duration::from_secs(150);

/// The longest life AWS gives. An `expiration` further ahead means that this host's clock is wrong.
const LIFETIME_MAX: Duration = Duration::from_secs(43_200);

/// The app's credentials, renewed before they end, by one request for all who ask. Cheap to clone.
///
/// Age is measured on the monotonic clock, so that a clock that is wrong or jumps does no harm; when AWS says that they
/// have expired all the same, call [`AppCredentials::expire`].
#[derive(Clone)]
pub struct AppCredentials {
    inner: Arc<Inner>,
}

struct Inner {
    cloud: Arc<dyn ControlPlane>,
    kept: Renewing<Kept, CloudError>,
}

#[derive(Clone)]
struct Kept {
    credentials: Credentials,
    fresh_until: Instant,
    usable_until: Instant,
}

impl AppCredentials {
    /// Asks for nothing yet.
    pub fn new(cloud: Arc<dyn ControlPlane>) -> Self {
        Self { inner: Arc::new(Inner { cloud, kept: Renewing::new(Duration::ZERO) }) }
    }

    /// Credentials that are good for a while.
    pub async fn get(&self) -> Result<Credentials, CloudError> {
        let kept = self.inner.kept.get(|_| self.inner.renew()).await?;
        Ok(kept.credentials)
    }

    /// AWS says that they are no longer good: the next caller gets new ones, whatever the clocks say.
    pub fn expire(&self) {
        self.inner.kept.forget();
    }

    /// How long the credentials that are held are good; `None` while none are.
    pub fn left(&self) -> Option<Duration> {
        self.inner.kept.peek(|kept| kept.usable_until.saturating_duration_since(Instant::now()))
    }

    /// The same as the SDK wants it.
    pub fn provider(&self) -> SharedCredentialsProvider {
        SharedCredentialsProvider::new(self.clone())
    }
}

impl Inner {
    async fn renew(&self) -> Result<Kept, CloudError> {
        let credentials = timeout(RENEWAL_LIMIT, self.cloud.aws_credentials())
            .await
            .map_err(|_| CloudError::new(CloudErrorKind::TimedOut, "read the app's AWS credentials"))??;
        let lifetime = lifetime(credentials.expiry(), SystemTime::now());
        let now = Instant::now();
        let fresh_until = now + lifetime - RENEW_BEFORE.min(lifetime / 4);
        Ok(Kept { credentials, fresh_until, usable_until: now + lifetime })
    }
}

/// What is left, as far as this host's clock can be believed; else what was asked for.
fn lifetime(expiry: Option<SystemTime>, now: SystemTime) -> Duration {
    let left = expiry.and_then(|expiry| expiry.duration_since(now).ok());
    left.filter(|left| *left <= LIFETIME_MAX).unwrap_or(CREDENTIALS_LIFETIME)
}

impl Lease for Kept {
    fn is_fresh(&self) -> bool {
        Instant::now() < self.fresh_until
    }

    fn is_usable(&self) -> bool {
        Instant::now() < self.usable_until
    }
}

impl fmt::Debug for AppCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AppCredentials")
    }
}

impl ProvideCredentials for AppCredentials {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(async { self.get().await.map_err(CredentialsError::provider_error) })
    }
}

#[cfg(test)]
mod tests;
