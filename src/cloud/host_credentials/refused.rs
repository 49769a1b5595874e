//! What happens when a service says that the keys are no good: the provider hears of it, and the call is repeated with
//! keys that are read anew. For the clients of all services, whatever else they repeat.

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
use crate::cloud::failure::refuses_keys;

/// Put it into a client both as an interceptor and as a classifier of retries.
#[derive(Debug, Clone)]
pub(crate) struct RefusedKeys {
    keys: Arc<HostCredentials>,
    /// Whether no other failure is repeated.
    is_alone: bool,
}

/// Whose signature a request carries.
#[derive(Debug)]
struct Signer {
    key_id: String,
    session_token: Option<String>,
}

impl Storable for Signer {
    type Storer = StoreReplace<Self>;
}

impl RefusedKeys {
    /// Other failures are repeated as the SDK does it.
    pub(crate) fn new(keys: Arc<HostCredentials>) -> Self {
        Self { keys, is_alone: false }
    }

    /// Other failures are not repeated: whoever calls has a way of its own.
    pub(crate) fn alone(keys: Arc<HostCredentials>) -> Self {
        Self { keys, is_alone: true }
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
        if context.response().is_some_and(is_refusal) && self.keys.may_have_others() {
            RetryAction::retryable_error_with_explicit_delay(ErrorKind::ClientError, Duration::ZERO)
        } else if self.is_alone {
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

/// By the code of the error, which is in a header or in the JSON of the body.
fn is_refusal(response: &HttpResponse) -> bool {
    if !response.status().is_client_error() {
        return false;
    }
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
    fn the_key_id_stands_in_the_signature() {
        let header = "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20261130/eu-west-1/ecr/aws4_request, SignedHeaders=host";
        assert_eq!(key_id(header), Some("AKIDEXAMPLE"));
        assert_eq!(key_id("Bearer x"), None);
    }
}
