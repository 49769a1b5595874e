//! Handles responses that refuse the keys: notifies the provider, and retries the call with keys that are read again.
//! For the clients of all services, independent of their other retries.

use std::sync::Arc;
use std::time::Duration;

use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::Intercept;
use aws_smithy_runtime_api::client::interceptors::context::{
    BeforeTransmitInterceptorContextRef, FinalizerInterceptorContextRef, InterceptorContext,
};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::retries::ErrorKind;
use aws_smithy_runtime_api::client::retries::classifiers::{ClassifyRetry, RetryAction};
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::config_bag::{ConfigBag, Storable, StoreReplace};

use super::HostCredentials;
use crate::cloud::CloudErrorKind;

/// Must be added to a client both as an interceptor and as a retry classifier.
#[derive(Debug, Clone)]
pub(crate) struct RefusedKeys {
    keys: Arc<HostCredentials>,
    /// Whether no other failures are retried.
    retries_only_refused_keys: bool,
}

/// The keys that signed a request.
#[derive(Debug)]
struct Signer {
    key_id: String,
    session_token: Option<String>,
}

impl Storable for Signer {
    type Storer = StoreReplace<Self>;
}

impl RefusedKeys {
    /// Other failures are retried by the SDK.
    pub(crate) fn new(keys: Arc<HostCredentials>) -> Self {
        Self { keys, retries_only_refused_keys: false }
    }

    /// Other failures are not retried: the caller retries.
    pub(crate) fn only_refused_keys(keys: Arc<HostCredentials>) -> Self {
        Self { keys, retries_only_refused_keys: true }
    }
}

impl Intercept for RefusedKeys {
    fn name(&self) -> &'static str {
        "RefusedKeys"
    }

    fn read_before_transmit(
        &self,
        context: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        cfg: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let headers = context.request().headers();
        if let Some(key_id) = headers.get("authorization").and_then(key_id) {
            let session_token = headers.get("x-amz-security-token").map(str::to_owned);
            cfg.interceptor_state().store_put(Signer { key_id: key_id.to_owned(), session_token });
        }
        Ok(())
    }

    fn read_after_attempt(
        &self,
        context: &FinalizerInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        cfg: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if let (Some(response), Some(signer)) = (context.response(), cfg.load::<Signer>()) {
            if is_refusal(response) {
                self.keys.refuse(&signer.key_id, signer.session_token.as_deref());
            } else if response.status().is_success() {
                self.keys.accept(&signer.key_id);
            }
        }
        Ok(())
    }
}

impl ClassifyRetry for RefusedKeys {
    fn classify_retry(&self, context: &InterceptorContext) -> RetryAction {
        if context.response().is_some_and(is_refusal) && self.keys.may_retry() {
            RetryAction::retryable_error_with_explicit_delay(ErrorKind::ClientError, Duration::ZERO)
        } else if self.retries_only_refused_keys {
            RetryAction::RetryForbidden
        } else {
            RetryAction::NoActionIndicated
        }
    }

    fn name(&self) -> &'static str {
        "RefusedKeys"
    }
}

/// `AWS4-HMAC-SHA256 Credential=<key id>/<date>/<region>/<service>/aws4_request, ...`
fn key_id(authorization: &str) -> Option<&str> {
    authorization.split_once("Credential=")?.1.split('/').next()
}

/// Whether the error code, in a header or in the JSON body, means refused keys.
fn is_refusal(response: &HttpResponse) -> bool {
    if !response.status().is_client_error() {
        return false;
    }
    let refuses_keys = |code: &str| CloudErrorKind::of_code(code) == Some(CloudErrorKind::Expired);
    if let Some(code) = response.headers().get("x-amzn-errortype") {
        return refuses_keys(code);
    }
    let body = response.body().bytes().and_then(|body| serde_json::from_slice::<serde_json::Value>(body).ok());
    body.is_some_and(|body| ["__type", "code"].iter().any(|name| body[*name].as_str().is_some_and(refuses_keys)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_id_is_read_from_the_signature() {
        let header = "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20261130/eu-west-1/ecr/aws4_request, SignedHeaders=host";
        assert_eq!(key_id(header), Some("AKIDEXAMPLE"));
        assert_eq!(key_id("Bearer x"), None);
    }
}
