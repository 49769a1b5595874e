//! The live control plane: sends operations over AppSync and converts responses to the model.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use aws_credential_types::Credentials;
use secrecy::SecretString;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::sync::watch;

use super::appsync::AppSync;
use super::aws::Aws;
use super::cognito::Cognito;
use super::operations::{GetApp, GetAwsCredentials, get_app, get_aws_credentials};
use super::session::Session;
use super::{CloudError, CloudErrorKind, ControlPlane, decode};
use crate::config::{Config, UserPoolId};
use crate::model::Snapshot;
use crate::telemetry::Redactor;

/// Requested lifetime of the app's AWS credentials; the default of the service, whose range is 900 s to 43,200 s.
pub(super) const CREDENTIALS_LIFETIME: Duration = Duration::from_secs(3600);

/// The same for GraphQL, seconds.
const CREDENTIALS_LIFETIME_SECONDS: i64 = 3600;

/// Names of the two operations in errors.
const READ_APP: &str = "read the app";
const READ_CREDENTIALS: &str = "read the app's AWS credentials";

/// The app's user and its endpoints.
#[derive(Debug, Clone)]
pub struct Account {
    /// Name of the app.
    pub app: String,
    /// Name of the tenant.
    pub tenant: String,
    /// URL of the AppSync API.
    pub appsync_endpoint: String,
    /// The user pool.
    pub user_pool_id: UserPoolId,
    /// Client of the pool, one without a secret.
    pub client_id: String,
    /// The app's user.
    pub user_name: String,
}

impl From<&Config> for Account {
    fn from(config: &Config) -> Self {
        Self {
            app: config.app.clone(),
            tenant: config.tenant.clone(),
            appsync_endpoint: config.appsync_endpoint.clone(),
            user_pool_id: config.user_pool_id.clone(),
            client_id: config.client_id.clone(),
            user_name: config.user_name.clone(),
        }
    }
}

/// Client of EchoStream's control plane. `Debug` shows no secret.
#[derive(Debug)]
pub struct EchoStream {
    app: String,
    tenant: String,
    appsync: AppSync,
    redactor: Redactor,
}

impl EchoStream {
    /// Makes no call; the first operation signs in. Each sign-in reads the current password.
    ///
    /// Needs rustls's process-wide crypto provider, which `main` installs. Fails if the endpoint is not a URL.
    pub async fn new(
        account: &Account,
        password: watch::Receiver<SecretString>,
        aws: &Arc<Aws>,
    ) -> Result<Self, CloudError> {
        let session = Session::new(Cognito::new(account, aws).await, password);
        let appsync = AppSync::new(&account.appsync_endpoint, session)?;
        let redactor = aws.redactor().clone();
        Ok(Self { app: account.app.clone(), tenant: account.tenant.clone(), appsync, redactor })
    }

    /// Signs in unless signed in, so that a wrong password is reported before other calls.
    pub async fn sign_in(&self) -> Result<(), CloudError> {
        self.appsync.session().token().await.map(drop)
    }

    /// Time until the cached access token expires; `None` if there is none.
    pub fn token_left(&self) -> Option<Duration> {
        self.appsync.session().left()
    }
}

#[async_trait]
impl ControlPlane for EchoStream {
    async fn app(&self) -> Result<Snapshot, CloudError> {
        let variables = get_app::Variables { name: self.app.clone(), tenant: self.tenant.clone() };
        let data = self.appsync.call::<GetApp>(READ_APP, variables).await?;
        decode::snapshot(data, &self.app, &self.tenant)
            .map_err(|why| CloudError::new(CloudErrorKind::InvalidResponse, READ_APP).with_source(why))
    }

    async fn aws_credentials(&self) -> Result<Credentials, CloudError> {
        let variables = get_aws_credentials::Variables {
            name: self.app.clone(),
            tenant: self.tenant.clone(),
            duration: CREDENTIALS_LIFETIME_SECONDS,
        };
        let data = self.appsync.call::<GetAwsCredentials>(READ_CREDENTIALS, variables).await?;
        let credentials = credentials(data)
            .map_err(|why| CloudError::new(CloudErrorKind::InvalidResponse, READ_CREDENTIALS).with_source(why))?;
        for secret in [Some(credentials.secret_access_key()), credentials.session_token()].into_iter().flatten() {
            self.redactor.add_passing(&secret.into());
        }
        Ok(credentials)
    }
}

fn credentials(data: get_aws_credentials::ResponseData) -> Result<Credentials, &'static str> {
    use get_aws_credentials::GetAwsCredentialsGetApp as App;
    let app = match data.get_app.ok_or("the app does not exist")? {
        App::ManagedApp(app) => app,
        App::Unknown => return Err("the app is not a ManagedApp"),
    };
    let wire = app.get_aws_credentials.ok_or("the response has no credentials")?;
    let key = wire.access_key_id.filter(|key| !key.is_empty()).ok_or("the access key id is missing")?;
    let secret = wire.secret_access_key.filter(|key| !key.is_empty()).ok_or("the secret access key is missing")?;
    let expiration = wire.expiration.ok_or("the expiration is missing")?;
    let expiration = OffsetDateTime::parse(&expiration, &Rfc3339).map_err(|_| "the expiration is not a timestamp")?;
    Ok(Credentials::new(key, secret, wire.session_token, Some(SystemTime::from(expiration)), "EchoStream"))
}

#[cfg(test)]
mod tests {
    use managed_app_fakes::FakeCloud;
    use secrecy::ExposeSecret;

    use super::*;
    use crate::cloud::testing::client;
    use crate::telemetry::REDACTED;

    #[tokio::test]
    async fn tokens_and_keys_are_known_to_the_redactor() {
        let fake = FakeCloud::start().await;
        let client = client(&fake).await;
        let redacted = |secret: &str| client.aws.redactor().redact(secret.to_owned()) == REDACTED;
        let token = client.cloud.appsync.session().token().await.expect("a token");
        assert!(redacted(token.expose_secret()));
        let credentials = client.cloud.aws_credentials().await.expect("credentials");
        assert!(redacted(credentials.secret_access_key()));
        assert!(credentials.session_token().is_none_or(redacted));
    }
}
