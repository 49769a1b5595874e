//! The signed-in session: one access token for all callers, renewed before it expires. Makes no calls itself.

use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use tokio::sync::watch;

use super::cognito::{Cognito, Tokens};
use super::renewing::Renewing;
use super::{CloudError, CloudErrorKind};

/// Caches the access token. Concurrent callers share one sign-in.
#[derive(Debug)]
pub(super) struct Session {
    cognito: Cognito,
    password: watch::Receiver<SecretString>,
    tokens: Renewing<Tokens, CloudError>,
}

impl Session {
    /// Signed out. Each sign-in reads the current password, so that a reload can change it.
    pub(super) fn new(cognito: Cognito, password: watch::Receiver<SecretString>) -> Self {
        Self { cognito, password, tokens: Renewing::new(Duration::ZERO) }
    }

    /// A valid access token.
    pub(super) async fn token(&self) -> Result<SecretString, CloudError> {
        let tokens = self.tokens.get(|old| self.renew(old)).await?;
        Ok(tokens.access)
    }

    /// Time until the cached token expires; `None` if there is none.
    pub(super) fn left(&self) -> Option<Duration> {
        self.tokens.inspect(Tokens::left)
    }

    /// The cloud refused this token: the next call refreshes it.
    pub(super) fn reject(&self, token: &SecretString) {
        self.tokens.reject(|tokens| tokens.access.expose_secret() == token.expose_secret());
    }

    /// The cloud refused a refreshed token too: the next call signs in with the password.
    pub(super) fn sign_out(&self) {
        self.tokens.clear();
    }

    /// Uses the refresh token if there is one, and the password if that is refused. Other failures are returned: if the
    /// cloud is unavailable, the password does not help.
    async fn renew(&self, old: Option<Tokens>) -> Result<Tokens, CloudError> {
        if let Some(old) = old.filter(Tokens::can_refresh) {
            match self.cognito.refresh(&old).await {
                Err(error) if error.kind() == CloudErrorKind::Denied => {
                    tracing::info!("refresh token refused, signing in with the password");
                }
                result => return result,
            }
        }
        let password = self.password.borrow().clone();
        self.cognito.sign_in(&password).await
    }
}
