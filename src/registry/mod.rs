//! Provides registry credentials for images of ECR and ECR Public; none for other registries. Pulls nothing.

mod error;
mod probe;
mod public;
#[cfg(test)]
mod tests;
mod token;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use managed_app_runtimes::{ImageReference, RegistryCredentials};
use tokio::time::{sleep, timeout};

pub use error::RegistryError;
pub use probe::{ImageProbe, Missing, probe, public_token};

use crate::cloud::renewing::Renewing;
use crate::cloud::{Aws, registry_host};
pub use crate::model::RegistryHost;
use token::{PRIVATE_PERMISSION, PUBLIC_PERMISSION, Token};

/// The one region of ECR Public's API.
const PUBLIC_REGION: &str = "us-east-1";

/// Limit for one token; above the limit of the SDK for a call, because loading the host's credentials takes time too.
const TOKEN_LIMIT: Duration = Duration::from_secs(90);

/// The same for one attempt at ECR Public, where pulls also work without a token.
const PUBLIC_LIMIT: Duration = Duration::from_secs(15);

/// Limit for all attempts at ECR Public.
const PUBLIC_ATTEMPTS_LIMIT: Duration = Duration::from_secs(25);

/// Delays between attempts at ECR Public after a transient failure. A pull without a token counts against the lower
/// limit for anonymous pulls.
const PUBLIC_DELAYS: [Duration; 3] = [Duration::from_secs(1), Duration::from_secs(2), Duration::from_secs(4)];

/// Time for which a failed request for a public token is not repeated, so that it does not delay pulls.
const PUBLIC_FAILURE_TTL: Duration = Duration::from_secs(60);

/// Tokens by registry. A registry is an account in a region, so there are at most as many as node types of the tenant.
type Tokens = HashMap<RegistryHost, Arc<Renewing<Token, RegistryError>>>;

/// Credentials for registries, requested with the host's AWS credentials and cached until shortly before they expire.
#[derive(Debug)]
pub struct Registry {
    aws: Arc<Aws>,
    tokens: Mutex<Tokens>,
}

impl Registry {
    /// Makes no request.
    pub fn new(aws: Arc<Aws>) -> Self {
        Self { aws, tokens: Mutex::default() }
    }

    /// Credentials to pull `image`. `None` means without credentials: the registry is not AWS's, or it is ECR Public
    /// and no token is available, which is logged: the host lacks the permission, or all attempts failed.
    ///
    /// Concurrent calls for one registry share one request. Returns within 90 s.
    pub async fn credentials(&self, image: &ImageReference) -> Result<Option<RegistryCredentials>, RegistryError> {
        let Some(host) = registry_host(image.registry()) else { return Ok(None) };
        let token = self.cache(&host).get(|_| self.renew(&host)).await;
        match (token, &host) {
            (Ok(token), _) => Ok(Some(token.credentials)),
            (Err(error), RegistryHost::Ecr { .. }) => Err(error),
            (Err(error), RegistryHost::EcrPublic) => {
                tracing::warn!(image = %image, error = %error, "pulling without credentials");
                Ok(None)
            }
        }
    }

    /// The registry refused the credentials for this image: the next call requests new ones, with AWS keys that are
    /// compared with their source first.
    pub async fn forget(&self, image: &ImageReference) {
        if let Some(host) = registry_host(image.registry()) {
            self.cache(&host).clear();
            self.aws.host_credentials().await.compare();
        }
    }

    fn cache(&self, host: &RegistryHost) -> Arc<Renewing<Token, RegistryError>> {
        let failure_ttl = match host {
            RegistryHost::Ecr { .. } => Duration::ZERO,
            RegistryHost::EcrPublic => PUBLIC_FAILURE_TTL,
        };
        let mut tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(tokens.entry(host.clone()).or_insert_with(|| Arc::new(Renewing::new(failure_ttl))))
    }

    async fn renew(&self, host: &RegistryHost) -> Result<Token, RegistryError> {
        let token = self.request_token(host).await?;
        self.aws.redactor().add_passing(&token.credentials.password);
        Ok(token)
    }

    async fn request_token(&self, host: &RegistryHost) -> Result<Token, RegistryError> {
        match host {
            RegistryHost::Ecr { account, region } => {
                let requested = async { token::private(&self.aws.ecr(region).await, account).await };
                timeout(TOKEN_LIMIT, requested)
                    .await
                    .unwrap_or_else(|_| Err(RegistryError::timed_out(PRIVATE_PERMISSION)))
            }
            RegistryHost::EcrPublic => {
                let attempts = self.public_token_with_retries();
                let timed_out = |_| Err(RegistryError::timed_out(PUBLIC_PERMISSION));
                timeout(PUBLIC_ATTEMPTS_LIMIT, attempts).await.unwrap_or_else(timed_out)
            }
        }
    }

    /// Retries only transient failures. A host without keys or permission pulls without credentials at once.
    async fn public_token_with_retries(&self) -> Result<Token, RegistryError> {
        for delay in PUBLIC_DELAYS {
            match self.request_public_token().await {
                Err(error) if error.is_transient() => sleep(delay).await,
                result => return result,
            }
        }
        self.request_public_token().await
    }

    async fn request_public_token(&self) -> Result<Token, RegistryError> {
        let requested = async { token::public(&self.aws.ecr_public(PUBLIC_REGION).await).await };
        timeout(PUBLIC_LIMIT, requested).await.unwrap_or_else(|_| Err(RegistryError::timed_out(PUBLIC_PERMISSION)))
    }
}
