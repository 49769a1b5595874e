//! Resolves the endpoint of a service with the rules of the AWS SDK: AWS_ENDPOINT_URL and its service forms, profiles,
//! AWS_USE_FIPS_ENDPOINT, AWS_USE_DUALSTACK_ENDPOINT, the region's partition. Sends no request.

use std::sync::{Arc, Mutex, PoisonError};

use aws_config::identity::IdentityCache;
use aws_config::retry::RetryConfig;
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_sdk_cloudwatchlogs::config::endpoint::{DefaultResolver, Params, ResolveEndpoint};
use aws_sdk_cognitoidentityprovider::types::AuthFlowType;
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;

use futures_util::FutureExt;

use super::Aws;
use crate::text::chain;

/// A service of AWS that the daemon calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Service {
    Cognito,
    CloudWatchLogs,
    Ecr,
    Sqs,
}

impl Service {
    /// Its display name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cognito => "Cognito",
            Self::CloudWatchLogs => "CloudWatch Logs",
            Self::Ecr => "ECR",
            Self::Sqs => "SQS",
        }
    }
}

impl Aws {
    /// The URL of a call of `service` in `region`. Fails with the SDK's reason if endpoint settings contradict each
    /// other.
    pub async fn endpoint(&self, service: Service, region: &str) -> Result<String, String> {
        let recorder = RecordingClient::default();
        let placeholder = Credentials::new("none", "none", None, None, "endpoint");
        let config = self.anonymous(region).await.into_builder();
        let config = config.http_client(SharedHttpClient::new(recorder.clone())).retry_config(RetryConfig::disabled());
        let config = config.identity_cache(IdentityCache::no_cache());
        let config = config.credentials_provider(SharedCredentialsProvider::new(placeholder)).build();
        // All calls fail: the HTTP client below sends nothing.
        let failed = match service {
            Service::Cognito => {
                let client = aws_sdk_cognitoidentityprovider::Client::new(&config);
                let call = client.initiate_auth().auth_flow(AuthFlowType::UserSrpAuth).client_id("none");
                call.send().await.err().map(|error| chain(&error))
            }
            Service::CloudWatchLogs => {
                let call = aws_sdk_cloudwatchlogs::Client::new(&config).create_log_stream();
                call.log_group_name("none").log_stream_name("none").send().await.err().map(|error| chain(&error))
            }
            Service::Ecr => {
                let call = aws_sdk_ecr::Client::new(&config).get_authorization_token();
                call.send().await.err().map(|error| chain(&error))
            }
            Service::Sqs => {
                let call = aws_sdk_sqs::Client::new(&config).receive_message().queue_url("https://none/");
                call.send().await.err().map(|error| chain(&error))
            }
        };
        let url = recorder.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        url.ok_or_else(|| failed.unwrap_or_default())
    }
}

impl Aws {
    /// The endpoint of CloudWatch Logs, if it is not the default endpoint of the region.
    pub async fn special_logs_endpoint(&self, region: &str) -> Option<String> {
        let params = Params::builder().region(region).use_fips(false).use_dual_stack(false).build().ok()?;
        let default = DefaultResolver::new();
        let default = ResolveEndpoint::resolve_endpoint(&default, &params).now_or_never()?.ok()?;
        let used = self.endpoint(Service::CloudWatchLogs, region).await.ok()?;
        let origin = |url: &str| Some(reqwest::Url::parse(url).ok()?.origin().ascii_serialization());
        let used = origin(&used)?;
        (Some(&used) != origin(default.url()).as_ref()).then_some(used)
    }
}

/// An HTTP client that records the URL of a request and sends nothing.
#[derive(Debug, Clone, Default)]
struct RecordingClient(Arc<Mutex<Option<String>>>);

impl HttpClient for RecordingClient {
    fn http_connector(&self, _: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}

impl HttpConnector for RecordingClient {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).replace(request.uri().to_owned());
        HttpConnectorFuture::ready(Err(ConnectorError::user("this client sends no requests".into())))
    }
}
