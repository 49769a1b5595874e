//! Caches and renews the app's AWS credentials for the SDK. Gets them from the control plane.

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

/// Credentials are renewed this long before they expire, or when a quarter of their lifetime is left if that is
/// shorter.
const RENEW_BEFORE: Duration = Duration::from_secs(600);

/// Limit for one renewal; above the client's limit, so that the error of the client is reported.
const RENEWAL_LIMIT: Duration = Duration::from_secs(150);

/// The longest lifetime of AWS. A later `expiration` means that this host's clock is wrong.
const LIFETIME_MAX: Duration = Duration::from_secs(43_200);

/// The app's credentials, renewed before they expire, by one request for all callers. Cheap to clone.
///
/// Age is measured on the monotonic clock, so a wrong or jumping clock has no effect. If AWS reports that the
/// credentials have expired, call [`AppCredentials::expire`].
#[derive(Clone)]
pub struct AppCredentials {
    inner: Arc<Inner>,
}

struct Inner {
    cloud: Arc<dyn ControlPlane>,
    cached: Renewing<CachedCredentials, CloudError>,
}

#[derive(Clone)]
struct CachedCredentials {
    credentials: Credentials,
    fresh_until: Instant,
    usable_until: Instant,
}

impl AppCredentials {
    /// Makes no request.
    pub fn new(cloud: Arc<dyn ControlPlane>) -> Self {
        Self { inner: Arc::new(Inner { cloud, cached: Renewing::new(Duration::ZERO) }) }
    }

    /// Valid credentials.
    pub async fn get(&self) -> Result<Credentials, CloudError> {
        let cached = self.inner.cached.get(|_| self.inner.renew()).await?;
        Ok(cached.credentials)
    }

    /// AWS refused the credentials: the next caller gets new ones, independent of their expiry.
    pub fn expire(&self) {
        self.inner.cached.clear();
    }

    /// Time until the cached credentials expire; `None` if there are none.
    pub fn left(&self) -> Option<Duration> {
        self.inner.cached.inspect(|cached| cached.usable_until.saturating_duration_since(Instant::now()))
    }

    /// A provider for the SDK.
    pub fn provider(&self) -> SharedCredentialsProvider {
        SharedCredentialsProvider::new(self.clone())
    }
}

impl Inner {
    async fn renew(&self) -> Result<CachedCredentials, CloudError> {
        let credentials = timeout(RENEWAL_LIMIT, self.cloud.aws_credentials())
            .await
            .map_err(|_| CloudError::new(CloudErrorKind::TimedOut, "read the app's AWS credentials"))??;
        let lifetime = lifetime(credentials.expiry(), SystemTime::now());
        let now = Instant::now();
        let fresh_until = now + lifetime - RENEW_BEFORE.min(lifetime / 4);
        Ok(CachedCredentials { credentials, fresh_until, usable_until: now + lifetime })
    }
}

/// The remaining lifetime if this host's clock is plausible, otherwise the requested one.
fn lifetime(expiry: Option<SystemTime>, now: SystemTime) -> Duration {
    let left = expiry.and_then(|expiry| expiry.duration_since(now).ok());
    left.filter(|left| *left <= LIFETIME_MAX).unwrap_or(CREDENTIALS_LIFETIME)
}

impl Lease for CachedCredentials {
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
