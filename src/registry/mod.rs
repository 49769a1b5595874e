//! Image reference to registry credentials, for ECR and ECR Public. Pulls nothing; other registries have none here.

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

pub use error::{RegistryError, RegistryErrorKind};
pub use probe::{ImageProbe, Missing, probe, public_token};

use crate::cloud::renewing::Renewing;
use crate::cloud::{Aws, registry_host};
pub use crate::model::RegistryHost;
use token::{PRIVATE_PERMISSION, PUBLIC_PERMISSION, Token};

/// The one region of ECR Public's API.
const PUBLIC_REGION: &str = "us-east-1";

/// Limit for one token; above the SDK's own for a call, for finding the host's credentials takes time too.
const TOKEN_LIMIT: Duration = Duration::from_secs(90);

/// The same for one attempt at the public gallery, where pulling works without a token too.
const PUBLIC_LIMIT: Duration = Duration::from_secs(15);

/// All attempts at the public gallery end within this.
const PUBLIC_ATTEMPTS_LIMIT: Duration = Duration::from_secs(25);

/// Pauses between the attempts at the public gallery, where the failure may pass. Without a token a pull counts against the
/// lower limit of everybody.
const PUBLIC_PAUSES: [Duration; 3] = [Duration::from_secs(1), Duration::from_secs(2), Duration::from_secs(4)];

/// How long a public pull is not held up by asking again for a token that could not be had.
const PUBLIC_FAILURE_KEPT: Duration = Duration::from_secs(60);

/// Tokens by registry. A registry is an account in a region, so there are as many as the tenant's node types name.
type Tokens = HashMap<RegistryHost, Arc<Renewing<Token, RegistryError>>>;

/// Credentials for registries, asked for with the host's own AWS credentials and kept until shortly before they end.
#[derive(Debug)]
pub struct Registry {
    aws: Arc<Aws>,
    tokens: Mutex<Tokens>,
}

impl Registry {
    /// Asks for nothing yet.
    pub fn new(aws: Arc<Aws>) -> Self {
        Self { aws, tokens: Mutex::default() }
    }

    /// What to pull `image` with. `None` means without credentials: the registry is not AWS's, or it is the public
    /// gallery and no token can be had, which is logged: the host may not have one, or attempts for some seconds failed.
    ///
    /// Many images of one registry at the same time cost one request. Ends within 90 s.
    pub async fn credentials(&self, image: &ImageReference) -> Result<Option<RegistryCredentials>, RegistryError> {
        let Some(host) = registry_host(image.registry()) else { return Ok(None) };
        let token = self.kept(&host).get(|_| self.renew(&host)).await;
        match (token, &host) {
            (Ok(token), _) => Ok(Some(token.credentials)),
            (Err(error), RegistryHost::Ecr { .. }) => Err(error),
            (Err(error), RegistryHost::EcrPublic) => {
                tracing::warn!(image = %image, error = %error, "pulling without credentials");
                Ok(None)
            }
        }
    }

    /// A registry refused what it was given for this image: the next call asks for new credentials, with AWS keys that are
    /// compared with their source first.
    pub async fn forget(&self, image: &ImageReference) {
        if let Some(host) = registry_host(image.registry()) {
            self.kept(&host).clear();
            self.aws.host_credentials().await.compare();
        }
    }

    fn kept(&self, host: &RegistryHost) -> Arc<Renewing<Token, RegistryError>> {
        let failure_kept = match host {
            RegistryHost::Ecr { .. } => Duration::ZERO,
            RegistryHost::EcrPublic => PUBLIC_FAILURE_KEPT,
        };
        let mut tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(tokens.entry(host.clone()).or_insert_with(|| Arc::new(Renewing::new(failure_kept))))
    }

    async fn renew(&self, host: &RegistryHost) -> Result<Token, RegistryError> {
        let token = self.ask(host).await?;
        self.aws.redactor().add_passing(&token.credentials.password);
        Ok(token)
    }

    async fn ask(&self, host: &RegistryHost) -> Result<Token, RegistryError> {
        match host {
            RegistryHost::Ecr { account, region } => {
                let asked = async { token::private(&self.aws.ecr(region).await, account).await };
                timeout(TOKEN_LIMIT, asked).await.unwrap_or_else(|_| Err(RegistryError::timed_out(PRIVATE_PERMISSION)))
            }
            RegistryHost::EcrPublic => {
                let attempts = self.ask_gallery_patiently();
                let late = |_| Err(RegistryError::timed_out(PUBLIC_PERMISSION));
                timeout(PUBLIC_ATTEMPTS_LIMIT, attempts).await.unwrap_or_else(late)
            }
        }
    }

    /// A host that may not have a token, or has no keys, is told so at once: it pulls without.
    async fn ask_gallery_patiently(&self) -> Result<Token, RegistryError> {
        for pause in PUBLIC_PAUSES {
            match self.ask_gallery().await {
                Err(error) if error.may_pass() => sleep(pause).await,
                answer => return answer,
            }
        }
        self.ask_gallery().await
    }

    async fn ask_gallery(&self) -> Result<Token, RegistryError> {
        let asked = async { token::public(&self.aws.ecr_public(PUBLIC_REGION).await).await };
        timeout(PUBLIC_LIMIT, asked).await.unwrap_or_else(|_| Err(RegistryError::timed_out(PUBLIC_PERMISSION)))
    }
}
