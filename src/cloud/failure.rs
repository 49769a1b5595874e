//! What a failed AWS call means, the same for every service. Keeps text only: the SDK's errors hold whole requests.

use std::error::Error;

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_sqs::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;

use super::text::{chain, clean};

/// What a failure means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Meaning {
    /// There are no credentials to call with, or they could not be had.
    NoCredentials,
    /// The service refused the request (4xx); the code says why.
    Refused,
    /// Nothing answers: DNS, TCP, TLS.
    Unreachable,
    /// No whole answer within the limit.
    TimedOut,
    /// The service asks for patience.
    Throttled,
    /// The service failed (5xx).
    Failed,
    /// The answer cannot be understood.
    Nonsense,
}

/// A failed AWS call.
#[derive(Debug, Clone)]
pub(crate) struct Failure {
    /// What it means.
    pub(crate) meaning: Meaning,
    /// The service's own code for it, without a namespace; empty when it never answered.
    pub(crate) code: String,
    /// One clean line that tells of it, with the code where there is one.
    pub(crate) text: String,
}

/// Parts of the codes with which AWS services ask for patience.
const THROTTLE_MARKS: [&str; 5] =
    ["Throttl", "TooManyRequests", "RequestLimitExceeded", "SlowDown", "LimitExceededException"];

/// Parts of the codes with which AWS services refuse keys as such: unknown, expired, or wrong.
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

/// Whether a service's code says that the keys as such are not accepted, whatever they may do.
pub(crate) fn refuses_keys(code: &str) -> bool {
    KEY_MARKS.iter().any(|mark| code.contains(mark))
}

impl Failure {
    /// Reads an error of any service.
    pub(crate) fn of<E>(error: &SdkError<E, HttpResponse>) -> Self
    where
        E: ProvideErrorMetadata + Error + 'static,
    {
        match error {
            SdkError::TimeoutError(_) => Self::silent(Meaning::TimedOut, "no answer within the limit".to_owned()),
            SdkError::ServiceError(context) => Self::told(context.err(), context.raw().status().as_u16()),
            SdkError::ResponseError(context) if context.raw().status().is_server_error() => {
                Self::silent(Meaning::Failed, format!("status {}", context.raw().status().as_u16()))
            }
            SdkError::ResponseError(_) => Self::silent(Meaning::Nonsense, chain(error)),
            _ if is_about_credentials(error) => Self::silent(Meaning::NoCredentials, chain(error)),
            SdkError::DispatchFailure(failure) if failure.is_timeout() => Self::silent(Meaning::TimedOut, chain(error)),
            SdkError::DispatchFailure(_) => Self::silent(Meaning::Unreachable, chain(error)),
            _ => Self::silent(Meaning::Nonsense, chain(error)),
        }
    }

    fn silent(meaning: Meaning, text: String) -> Self {
        Self { meaning, code: String::new(), text }
    }

    fn told(error: &impl ProvideErrorMetadata, status: u16) -> Self {
        // Older protocols put a namespace before the code, separated by '#'.
        let code = error.code().map_or("", |code| code.rsplit('#').next().unwrap_or(code));
        let message = error.message().unwrap_or("no message");
        let text = if code.is_empty() { format!("status {status}: {message}") } else { format!("{code}: {message}") };
        Self { meaning: Self::meaning_of(code, status), code: clean(code), text: clean(&text) }
    }

    fn meaning_of(code: &str, status: u16) -> Meaning {
        if status == 429 || THROTTLE_MARKS.iter().any(|mark| code.contains(mark)) {
            return Meaning::Throttled;
        }
        if status >= 500 { Meaning::Failed } else { Meaning::Refused }
    }
}

fn is_about_credentials(error: &(dyn Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        // The signer's own words for "no provider at all" have no type to match.
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
    fn codes_and_statuses_have_meanings() {
        let check = |code, status, meaning| assert_eq!(Failure::meaning_of(code, status), meaning, "{code} {status}");
        check("NotAuthorizedException", 400, Meaning::Refused);
        check("TooManyRequestsException", 400, Meaning::Throttled);
        check("ThrottlingException", 400, Meaning::Throttled);
        check("RequestThrottled", 403, Meaning::Throttled);
        check("", 429, Meaning::Throttled);
        check("InternalErrorException", 500, Meaning::Failed);
        check("", 503, Meaning::Failed);
    }

    #[test]
    fn refused_keys_are_told_from_missing_permissions() {
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
