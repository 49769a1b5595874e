//! Classifies the failures of all AWS services by their codes and HTTP statuses. No other file lists these. Keeps text
//! only: the SDK's errors contain whole requests.

use std::error::Error;

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_sqs::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;

use super::CloudErrorKind;
use super::CloudErrorKind::{
    Absent, AlreadyExists, Denied, Expired, Failed, Invalid, InvalidResponse, NoCredentials, Refused, Throttled,
    TimedOut, Unreachable,
};
use crate::text::{chain, excerpt};

/// Parts of the codes of AWS services and of AppSync's error types; the first one that matches counts.
const CODES: &[(&str, CloudErrorKind)] = &[
    ("Throttl", Throttled),
    ("TooManyRequests", Throttled),
    ("LimitExceeded", Throttled),
    ("SlowDown", Throttled),
    ("ExpiredToken", Expired),
    ("RequestExpired", Expired),
    ("TokenRefreshRequired", Expired),
    ("InvalidToken", Expired),
    ("UnrecognizedClient", Expired),
    ("InvalidClientTokenId", Expired),
    ("InvalidAccessKeyId", Expired),
    ("InvalidSecurity", Expired),
    ("MissingAuthentication", Expired),
    ("AuthFailure", Expired),
    ("Signature", Expired),
    ("UnauthorizedException", Expired),
    ("AccessDenied", Denied),
    ("NotAuthorized", Denied),
    ("Forbidden", Denied),
    ("PasswordResetRequired", Denied),
    ("UserNotConfirmed", Denied),
    ("NotFound", Absent),
    ("QueueDoesNotExist", Absent),
    ("NonExistentQueue", Absent),
    ("AlreadyExists", AlreadyExists),
    ("AlreadyAccepted", AlreadyExists),
    // A trigger of the user pool failed, whatever the reason.
    ("UserLambda", Refused),
    ("InvalidParameter", Invalid),
    ("InvalidUserPoolConfiguration", Invalid),
    ("SerializationException", Invalid),
    ("UnsupportedOperation", Invalid),
    ("ValidationException", Invalid),
];

impl CloudErrorKind {
    /// The kind of an error code; `None` for an unknown one.
    pub(crate) fn of_code(code: &str) -> Option<Self> {
        CODES.iter().find(|(part, _)| code.contains(part)).map(|(_, kind)| *kind)
    }

    /// The kind of a response without a code by its HTTP status; `None` if the status is not an error.
    pub(crate) fn of_status(status: u16) -> Option<Self> {
        match status {
            401 => Some(Expired),
            403 => Some(Denied),
            400 | 413 | 422 => Some(Invalid),
            429 => Some(Throttled),
            400..500 => Some(Refused),
            500.. => Some(Failed),
            _ => None,
        }
    }

    fn of_response(code: &str, status: u16) -> Self {
        match (Self::of_code(code), Self::of_status(status)) {
            (Some(Throttled), _) | (_, Some(Throttled)) => Throttled,
            (_, Some(Failed)) => Failed,
            (Some(kind), _) => kind,
            // Without a code it may be the response of a proxy, whose status tells nothing about the object.
            (None, _) => Refused,
        }
    }
}

/// A failed AWS call.
#[derive(Debug, Clone)]
pub(crate) struct AwsError {
    /// The kind.
    pub(crate) kind: CloudErrorKind,
    /// One sanitized line of text, with the code if there is one.
    pub(crate) text: String,
}

impl AwsError {
    /// Classifies an error of any service.
    pub(crate) fn of<E>(error: &SdkError<E, HttpResponse>) -> Self
    where
        E: ProvideErrorMetadata + Error + 'static,
    {
        let (kind, text) = match error {
            SdkError::TimeoutError(_) => (TimedOut, "no answer within the limit".to_owned()),
            SdkError::ServiceError(context) => of_service(context.err(), context.raw().status().as_u16()),
            SdkError::ResponseError(context) if context.raw().status().is_server_error() => {
                (Failed, format!("status {}", context.raw().status().as_u16()))
            }
            SdkError::ResponseError(_) => (InvalidResponse, chain(error)),
            _ if is_about_credentials(error) => (NoCredentials, chain(error)),
            SdkError::DispatchFailure(failure) if failure.is_timeout() => (TimedOut, chain(error)),
            SdkError::DispatchFailure(_) => (Unreachable, chain(error)),
            _ => (InvalidResponse, chain(error)),
        };
        Self { kind, text }
    }
}

fn of_service(error: &impl ProvideErrorMetadata, status: u16) -> (CloudErrorKind, String) {
    // Older protocols put a namespace before the code, separated by '#'.
    let code = error.code().map_or("", |code| code.rsplit('#').next().unwrap_or(code));
    let message = error.message().unwrap_or("no message");
    let text = if code.is_empty() { format!("status {status}: {message}") } else { format!("{code}: {message}") };
    (CloudErrorKind::of_response(code, status), excerpt(&text))
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
        let cases = [
            // All services.
            ("UnrecognizedClientException", 400, Expired),
            ("ExpiredTokenException", 400, Expired),
            ("com.amazonaws.ecr#ExpiredTokenException", 400, Expired),
            ("ExpiredToken", 403, Expired),
            ("RequestExpired", 400, Expired),
            ("InvalidClientTokenId", 403, Expired),
            ("InvalidSignatureException", 400, Expired),
            ("SignatureDoesNotMatch", 403, Expired),
            ("MissingAuthenticationTokenException", 400, Expired),
            ("AccessDeniedException", 400, Denied),
            ("AccessDenied", 403, Denied),
            ("ThrottlingException", 400, Throttled),
            ("RequestThrottled", 403, Throttled),
            ("RequestLimitExceeded", 503, Throttled),
            ("", 429, Throttled),
            ("ValidationException", 400, Invalid),
            ("SomethingNewException", 400, Refused),
            ("AccessDeniedException", 500, Failed),
            ("InternalErrorException", 500, Failed),
            ("", 503, Failed),
            // A proxy.
            ("", 400, Refused),
            ("", 403, Refused),
            ("", 404, Refused),
            // SQS.
            ("QueueDoesNotExist", 400, Absent),
            ("AWS.SimpleQueueService.NonExistentQueue", 400, Absent),
            ("InvalidSecurity", 403, Expired),
            // CloudWatch Logs.
            ("ResourceNotFoundException", 400, Absent),
            ("ResourceAlreadyExistsException", 400, AlreadyExists),
            ("DataAlreadyAcceptedException", 400, AlreadyExists),
            ("InvalidParameterException", 400, Invalid),
            ("SerializationException", 400, Invalid),
            ("LimitExceededException", 400, Throttled),
            ("OperationAbortedException", 400, Refused),
            ("InvalidSequenceTokenException", 400, Refused),
            ("ServiceUnavailableException", 500, Failed),
            // ECR.
            ("RepositoryNotFoundException", 400, Absent),
            ("LayersNotFoundException", 400, Absent),
            // Cognito.
            ("NotAuthorizedException", 400, Denied),
            ("UserNotFoundException", 400, Absent),
            ("PasswordResetRequiredException", 400, Denied),
            ("UserNotConfirmedException", 400, Denied),
            ("ForbiddenException", 403, Denied),
            ("InvalidUserPoolConfigurationException", 400, Invalid),
            ("UnsupportedOperationException", 400, Invalid),
            ("TooManyRequestsException", 400, Throttled),
            ("UserLambdaValidationException", 400, Refused),
        ];
        for (code, status, kind) in cases {
            assert_eq!(CloudErrorKind::of_response(code, status), kind, "{code} {status}");
        }
    }

    #[test]
    fn statuses_without_a_code_map_to_error_kinds() {
        let cases = [
            (200, None),
            (302, None),
            (400, Some(Invalid)),
            (401, Some(Expired)),
            (403, Some(Denied)),
            (404, Some(Refused)),
            (413, Some(Invalid)),
            (422, Some(Invalid)),
            (429, Some(Throttled)),
            (500, Some(Failed)),
            (503, Some(Failed)),
        ];
        for (status, kind) in cases {
            assert_eq!(CloudErrorKind::of_status(status), kind, "{status}");
        }
    }
}
