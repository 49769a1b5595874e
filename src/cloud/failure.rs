//! Classifies failed AWS calls of all services. Keeps text only: the SDK's errors contain whole requests.

use std::error::Error;

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_sqs::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;

use crate::text::{chain, excerpt};

/// Kind of a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AwsErrorKind {
    /// There are no credentials, or they could not be loaded.
    NoCredentials,
    /// The service refused the request (4xx); the code says why.
    Refused,
    /// No connection: DNS, TCP, TLS.
    Unreachable,
    /// No complete response within the limit.
    TimedOut,
    /// The service throttles requests.
    Throttled,
    /// The service failed (5xx).
    Failed,
    /// The response is invalid.
    InvalidResponse,
}

/// A failed AWS call.
#[derive(Debug, Clone)]
pub(crate) struct Failure {
    /// The kind.
    pub(crate) kind: AwsErrorKind,
    /// The code of the service, without a namespace; empty without a response.
    pub(crate) code: String,
    /// One sanitised line of text, with the code if there is one.
    pub(crate) text: String,
}

/// Parts of the codes of AWS services for throttling.
const THROTTLE_MARKS: [&str; 5] =
    ["Throttl", "TooManyRequests", "RequestLimitExceeded", "SlowDown", "LimitExceededException"];

/// Parts of the codes of AWS services for unknown, expired or wrong keys.
const KEY_MARKS: [&str; 10] = [
    "UnrecognizedClient",
    "InvalidClientTokenId",
    "InvalidAccessKeyId",
    "ExpiredToken",
    "RequestExpired",
    "InvalidToken",
    "TokenRefreshRequired",
    "Signature",
    "MissingAuthentication",
    "AuthFailure",
];

/// Whether a code means that the keys are not accepted, independent of permissions.
pub(crate) fn refuses_keys(code: &str) -> bool {
    KEY_MARKS.iter().any(|mark| code.contains(mark))
}

impl Failure {
    /// Classifies an error of any service.
    pub(crate) fn of<E>(error: &SdkError<E, HttpResponse>) -> Self
    where
        E: ProvideErrorMetadata + Error + 'static,
    {
        match error {
            SdkError::TimeoutError(_) => {
                Self::without_code(AwsErrorKind::TimedOut, "no answer within the limit".to_owned())
            }
            SdkError::ServiceError(context) => Self::from_response(context.err(), context.raw().status().as_u16()),
            SdkError::ResponseError(context) if context.raw().status().is_server_error() => {
                Self::without_code(AwsErrorKind::Failed, format!("status {}", context.raw().status().as_u16()))
            }
            SdkError::ResponseError(_) => Self::without_code(AwsErrorKind::InvalidResponse, chain(error)),
            _ if is_about_credentials(error) => Self::without_code(AwsErrorKind::NoCredentials, chain(error)),
            SdkError::DispatchFailure(failure) if failure.is_timeout() => {
                Self::without_code(AwsErrorKind::TimedOut, chain(error))
            }
            SdkError::DispatchFailure(_) => Self::without_code(AwsErrorKind::Unreachable, chain(error)),
            _ => Self::without_code(AwsErrorKind::InvalidResponse, chain(error)),
        }
    }

    fn without_code(kind: AwsErrorKind, text: String) -> Self {
        Self { kind, code: String::new(), text }
    }

    fn from_response(error: &impl ProvideErrorMetadata, status: u16) -> Self {
        // Older protocols put a namespace before the code, separated by '#'.
        let code = error.code().map_or("", |code| code.rsplit('#').next().unwrap_or(code));
        let message = error.message().unwrap_or("no message");
        let text = if code.is_empty() { format!("status {status}: {message}") } else { format!("{code}: {message}") };
        Self { kind: Self::kind_of(code, status), code: excerpt(code), text: excerpt(&text) }
    }

    fn kind_of(code: &str, status: u16) -> AwsErrorKind {
        if status == 429 || THROTTLE_MARKS.iter().any(|mark| code.contains(mark)) {
            return AwsErrorKind::Throttled;
        }
        if status >= 500 { AwsErrorKind::Failed } else { AwsErrorKind::Refused }
    }
}

fn is_about_credentials(error: &(dyn Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        // The signer's error for "no provider" has no type of its own.
        if error.is::<CredentialsError>() || error.to_string().contains("no providers in chain") {
            return true;
        }
        cause = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_and_statuses_map_to_error_kinds() {
        let check = |code, status, kind| assert_eq!(Failure::kind_of(code, status), kind, "{code} {status}");
        check("NotAuthorizedException", 400, AwsErrorKind::Refused);
        check("TooManyRequestsException", 400, AwsErrorKind::Throttled);
        check("ThrottlingException", 400, AwsErrorKind::Throttled);
        check("RequestThrottled", 403, AwsErrorKind::Throttled);
        check("", 429, AwsErrorKind::Throttled);
        check("InternalErrorException", 500, AwsErrorKind::Failed);
        check("", 503, AwsErrorKind::Failed);
    }

    #[test]
    fn refused_keys_are_not_missing_permissions() {
        for code in [
            "UnrecognizedClientException",
            "ExpiredTokenException",
            "ExpiredToken",
            "InvalidClientTokenId",
            "InvalidSignatureException",
            "com.amazonaws.ecr#ExpiredTokenException",
        ] {
            assert!(refuses_keys(code), "{code}");
        }
        for code in ["AccessDeniedException", "ThrottlingException", "RepositoryNotFoundException", ""] {
            assert!(!refuses_keys(code), "{code}");
        }
    }
}
