//! Creates clients of the AWS SDK from one HTTP client, one loaded configuration and one provider of the host's keys,
//! per region and credentials. Makes no call itself.
//!
//! TLS is rustls with ring. The root certificates are those of the system, or of SSL_CERT_FILE and SSL_CERT_DIR.
//! Proxies come from the usual variables. aws-config reads the settings of all AWS SDKs once: AWS_ENDPOINT_URL and its
//! service forms, profiles. The keys are read again when they change: see [`HostCredentials`].

use std::sync::Arc;
use std::time::Duration;

use aws_config::identity::IdentityCache;
use aws_config::retry::RetryConfig;
use aws_config::stalled_stream_protection::StalledStreamProtectionConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};
use tokio::sync::OnceCell;

use super::host_credentials::{HostCredentials, ProfilePaths, RefusedKeys};
use super::transport::http_client;
use crate::telemetry::Redactor;

/// Limit for opening a connection.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);

/// Limit for one attempt of a call; above the 20 s of an SQS long poll.
const ATTEMPT_LIMIT: Duration = Duration::from_secs(30);

/// Limit for one call with its retries.
const CALL_LIMIT: Duration = Duration::from_secs(60);

/// Attempts of one call, the first included.
const ATTEMPTS_MAX: u32 = 3;

/// Overrides of the environment; tests and the demo use a fake cloud.
#[derive(Debug, Clone, Default)]
pub struct AwsOptions {
    /// Endpoint of all services; `None` uses aws-config (AWS_ENDPOINT_URL, ...).
    pub endpoint_url: Option<String>,
    /// Endpoint of SQS if it differs; `None` uses aws-config (AWS_ENDPOINT_URL_SQS, ...).
    pub sqs_endpoint_url: Option<String>,
    /// The host's credentials; `None` uses the SDK's default chain.
    pub host_credentials: Option<SharedCredentialsProvider>,
}

/// Makes SDK configurations. Cheap to share behind an `Arc`.
#[derive(Debug)]
pub struct Aws {
    options: AwsOptions,
    /// The shared files; `None` uses those of the process.
    paths: Option<ProfilePaths>,
    loaded: OnceCell<Loaded>,
    redactor: Redactor,
}

#[derive(Debug)]
struct Loaded {
    /// Without credentials.
    config: SdkConfig,
    keys: Arc<HostCredentials>,
}

impl Aws {
    /// Reads nothing yet: files and environment are read at the first use, once.
    pub fn new(options: AwsOptions) -> Self {
        Self { options, paths: None, loaded: OnceCell::new(), redactor: Redactor::default() }
    }

    /// Adds all tokens and keys to `redactor`, so that no log line shows them.
    #[must_use]
    pub fn with_redactor(self, redactor: Redactor) -> Self {
        Self { redactor, ..self }
    }

    /// The host's keys, which the clients below use.
    pub async fn host_credentials(&self) -> Arc<HostCredentials> {
        self.loaded().await.keys.clone()
    }

    /// A client of private registries.
    pub async fn ecr(&self, region: &str) -> aws_sdk_ecr::Client {
        let (config, refused) = self.host(region).await;
        let config = aws_sdk_ecr::config::Builder::from(&config).interceptor(refused.clone()).retry_classifier(refused);
        aws_sdk_ecr::Client::from_conf(config.build())
    }

    /// A client of ECR Public.
    pub async fn ecr_public(&self, region: &str) -> aws_sdk_ecrpublic::Client {
        let (config, refused) = self.host(region).await;
        let config = aws_sdk_ecrpublic::config::Builder::from(&config);
        let config = config.interceptor(refused.clone()).retry_classifier(refused);
        aws_sdk_ecrpublic::Client::from_conf(config.build())
    }

    /// A client of CloudWatch Logs.
    pub async fn logs(&self, region: &str) -> aws_sdk_cloudwatchlogs::Client {
        let (config, refused) = self.host(region).await;
        Self::logs_with(&config, refused)
    }

    /// A client of CloudWatch Logs that only retries calls whose keys were refused.
    pub(crate) async fn logs_without_retries(&self, region: &str) -> aws_sdk_cloudwatchlogs::Client {
        let (config, _) = self.host(region).await;
        Self::logs_with(&config, RefusedKeys::only_refused_keys(self.host_credentials().await))
    }

    fn logs_with(config: &SdkConfig, refused: RefusedKeys) -> aws_sdk_cloudwatchlogs::Client {
        let config = aws_sdk_cloudwatchlogs::config::Builder::from(config);
        let config = config.interceptor(refused.clone()).retry_classifier(refused);
        aws_sdk_cloudwatchlogs::Client::from_conf(config.build())
    }

    /// Only the provider caches keys, so that it can drop them at once.
    async fn host(&self, region: &str) -> (SdkConfig, RefusedKeys) {
        let Loaded { config, keys } = self.loaded().await;
        let builder = config.clone().into_builder().region(Region::new(region.to_owned()));
        let builder = builder.identity_cache(IdentityCache::no_cache());
        let provider = SharedCredentialsProvider::from(keys.clone() as Arc<dyn ProvideCredentials>);
        (builder.credentials_provider(provider).build(), RefusedKeys::new(keys.clone()))
    }

    /// A client of the app's queues. Only the provider caches the credentials, so that it can drop them at once.
    pub async fn sqs(&self, region: &str, credentials: SharedCredentialsProvider) -> aws_sdk_sqs::Client {
        let builder = self.loaded().await.config.clone().into_builder().region(Region::new(region.to_owned()));
        let config = builder.identity_cache(IdentityCache::no_cache()).credentials_provider(credentials).build();
        let mut config = aws_sdk_sqs::config::Builder::from(&config);
        if let Some(url) = &self.options.sqs_endpoint_url {
            config = config.endpoint_url(url);
        }
        aws_sdk_sqs::Client::from_conf(config.build())
    }

    /// The endpoint of all services, if it is configured.
    pub(crate) async fn endpoint_url(&self) -> Option<String> {
        self.loaded().await.config.endpoint_url().map(str::to_owned)
    }

    /// The redactor of secrets.
    pub(crate) fn redactor(&self) -> &Redactor {
        &self.redactor
    }

    /// Uses other shared files than those of the process.
    #[cfg(test)]
    pub(crate) fn with_profile_files(self, paths: ProfilePaths) -> Self {
        Self { paths: Some(paths), ..self }
    }

    /// For calls that need no credentials (Cognito sign-in).
    pub async fn anonymous(&self, region: &str) -> SdkConfig {
        self.loaded().await.config.clone().into_builder().region(Region::new(region.to_owned())).build()
    }

    async fn loaded(&self) -> &Loaded {
        self.loaded.get_or_init(|| self.load()).await
    }

    async fn load(&self) -> Loaded {
        let config = self.load_config().await;
        let redactor = self.redactor.clone();
        let keys = match &self.options.host_credentials {
            Some(given) => HostCredentials::given(given.clone(), redactor),
            None => {
                let paths = self.paths.clone().unwrap_or_else(ProfilePaths::of_process);
                HostCredentials::new(config.clone(), paths, redactor)
            }
        };
        Loaded { config, keys: Arc::new(keys) }
    }

    async fn load_config(&self) -> SdkConfig {
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(CONNECT_LIMIT)
            .operation_attempt_timeout(ATTEMPT_LIMIT)
            .operation_timeout(CALL_LIMIT)
            .build();
        let mut loader = aws_config::defaults(BehaviorVersion::latest())
            .http_client(http_client())
            // Each client sets its own region. Without a region here, the loader would request it over the network.
            .region(Region::from_static("us-east-1"))
            .retry_config(RetryConfig::standard().with_max_attempts(ATTEMPTS_MAX))
            .timeout_config(timeouts)
            // Each attempt has a limit. This protection would check each pending call ten times per second, and the
            // long poll is always pending: it took nearly all processor time of an idle daemon.
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled());
        if let Some(url) = &self.options.endpoint_url {
            loader = loader.endpoint_url(url);
        }
        loader.no_credentials().load().await
    }
}
