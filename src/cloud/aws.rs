//! The AWS SDK as this daemon uses it: one HTTP client, one loaded configuration, a variant of it per region and
//! credentials. Makes no call of its own.
//!
//! TLS is rustls with ring; the roots are the system's, or those of SSL_CERT_FILE and SSL_CERT_DIR; proxies come from
//! the usual variables. aws-config reads what every AWS SDK reads: AWS_ENDPOINT_URL and its service forms, profiles,
//! the default chain of credentials.

use std::time::Duration;

use aws_config::identity::IdentityCache;
use aws_config::retry::RetryConfig;
use aws_config::stalled_stream_protection::StalledStreamProtectionConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::provider::SharedCredentialsProvider;
use tokio::sync::OnceCell;

use super::transport::http_client;
use crate::telemetry::Redactor;

/// Limit for one connection to be made.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);

/// Limit for one attempt of a call; above the 20 s of an SQS long poll.
const ATTEMPT_LIMIT: Duration = Duration::from_secs(30);

/// Limit for one call with its retries.
const CALL_LIMIT: Duration = Duration::from_secs(60);

/// Attempts of one call, the first included.
const ATTEMPTS_MAX: u32 = 3;

/// What to use instead of what the environment says; tests and the demo point everything at a fake cloud.
#[derive(Debug, Clone, Default)]
pub struct AwsOptions {
    /// Where all services are; `None` asks aws-config (AWS_ENDPOINT_URL, ...).
    pub endpoint_url: Option<String>,
    /// Where SQS is, if not with the others; `None` asks aws-config (AWS_ENDPOINT_URL_SQS, ...).
    pub sqs_endpoint_url: Option<String>,
    /// The host's credentials; `None` takes the SDK's default chain.
    pub host_credentials: Option<SharedCredentialsProvider>,
}

/// Makes SDK configurations. Cheap to share behind an `Arc`.
#[derive(Debug)]
pub struct Aws {
    options: AwsOptions,
    base: OnceCell<SdkConfig>,
    redactor: Redactor,
}

impl Aws {
    /// Reads nothing yet: files and environment are read at the first use, once.
    pub fn new(options: AwsOptions) -> Self {
        Self { options, base: OnceCell::new(), redactor: Redactor::default() }
    }

    /// The same; `redactor` is told of tokens and keys that are handed out, so that no log line shows them.
    #[must_use]
    pub fn with_redactor(self, redactor: Redactor) -> Self {
        Self { redactor, ..self }
    }

    /// For calls with the host's own credentials (registries, logs), by the SDK's default chain.
    pub async fn host(&self, region: &str) -> SdkConfig {
        self.base().await.into_builder().region(Region::new(region.to_owned())).build()
    }

    /// As [`Aws::host`], with environment, profiles and credentials read again: somebody may have changed them.
    pub async fn host_anew(&self, region: &str) -> SdkConfig {
        self.load().await.into_builder().region(Region::new(region.to_owned())).build()
    }

    /// A client of the app's queues. The credentials are cached by their provider alone, so that it can drop them at
    /// once.
    pub async fn sqs(&self, region: &str, credentials: SharedCredentialsProvider) -> aws_sdk_sqs::Client {
        let builder = self.base().await.into_builder().region(Region::new(region.to_owned()));
        let config = builder.identity_cache(IdentityCache::no_cache()).credentials_provider(credentials).build();
        let mut config = aws_sdk_sqs::config::Builder::from(&config);
        if let Some(url) = &self.options.sqs_endpoint_url {
            config = config.endpoint_url(url);
        }
        aws_sdk_sqs::Client::from_conf(config.build())
    }

    /// Where all services are, when that is not at AWS.
    pub(crate) async fn endpoint_url(&self) -> Option<String> {
        self.base().await.endpoint_url().map(str::to_owned)
    }

    /// Whom to tell of secrets.
    pub(crate) fn redactor(&self) -> &Redactor {
        &self.redactor
    }

    /// For calls that need no credentials (Cognito sign-in).
    pub async fn anonymous(&self, region: &str) -> SdkConfig {
        let mut builder = self.base().await.into_builder().region(Region::new(region.to_owned()));
        builder.set_credentials_provider(None);
        builder.build()
    }

    async fn base(&self) -> SdkConfig {
        self.base.get_or_init(|| self.load()).await.clone()
    }

    async fn load(&self) -> SdkConfig {
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(CONNECT_LIMIT)
            .operation_attempt_timeout(ATTEMPT_LIMIT)
            .operation_timeout(CALL_LIMIT)
            .build();
        let mut loader = aws_config::defaults(BehaviorVersion::latest())
            .http_client(http_client())
            // Every call names its own; without one here the loader would look for it on the network.
            .region(Region::from_static("us-east-1"))
            .retry_config(RetryConfig::standard().with_max_attempts(ATTEMPTS_MAX))
            .timeout_config(timeouts)
            // Each attempt has its limit. This would look at every pending call ten times a second, and the call for
            // messages is always pending: it was nearly all that an idle daemon costs.
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled());
        if let Some(url) = &self.options.endpoint_url {
            loader = loader.endpoint_url(url);
        }
        if let Some(credentials) = &self.options.host_credentials {
            loader = loader.credentials_provider(credentials.clone());
        }
        loader.load().await
    }
}
