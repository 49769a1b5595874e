//! The signed-in session: one access token for all who need it, renewed before it ends. Does no wire work itself.

use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use tokio::sync::watch;

use super::cognito::{Cognito, Tokens};
use super::renewing::Renewing;
use super::{CloudError, CloudErrorKind};

/// Keeps the access token. Callers that need one at the same time share one sign-in.
#[derive(Debug)]
pub(super) struct Session {
    cognito: Cognito,
    password: watch::Receiver<SecretString>,
    tokens: Renewing<Tokens, CloudError>,
}

impl Session {
    /// Signed out. The password is read whenever it is needed, so that a reload can change it.
    pub(super) fn new(cognito: Cognito, password: watch::Receiver<SecretString>) -> Self {
        Self { cognito, password, tokens: Renewing::new(Duration::ZERO) }
    }

    /// An access token that is good for a while.
    pub(super) async fn token(&self) -> Result<SecretString, CloudError> {
        let tokens = self.tokens.get(|old| self.renew(old)).await?;
        Ok(tokens.access)
    }

    /// How long the token that is held is good; `None` when none is.
    pub(super) fn left(&self) -> Option<Duration> {
        self.tokens.peek(Tokens::left)
    }

    /// The cloud refused this token: the next one is a refreshed one.
    pub(super) fn reject(&self, token: &SecretString) {
        self.tokens.reject(|tokens| tokens.access.expose_secret() == token.expose_secret());
    }

    /// The cloud refused a refreshed token too: the next one comes from the password.
    pub(super) fn sign_out(&self) {
        self.tokens.forget();
    }

    /// By refresh token where there is one; where that is refused, by password. Any other failure is the answer: a
    /// cloud that is down needs no second kind of request.
    async fn renew(&self, old: Option<Tokens>) -> Result<Tokens, CloudError> {
        if let Some(old) = old.filter(Tokens::can_refresh) {
            match self.cognito.refresh(&old).await {
                Err(error) if error.kind() == CloudErrorKind::Refused => {
                    tracing::info!("refresh token refused, signing in with the password");
                }
                result => return result,
            }
        }
        let password = self.password.borrow().clone();
        self.cognito.sign_in(&password).await
    }
}
