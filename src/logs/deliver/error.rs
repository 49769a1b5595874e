//! Maps failures of CloudWatch to the next step. Pure.

use crate::cloud::failure::{AwsErrorKind, Failure, refuses_keys};

/// Replaces the code of CloudWatch if a stream cannot be created because its group does not exist.
pub(super) const NO_GROUP: &str = "NoLogGroup";

/// The next step after a failed `PutLogEvents` or `CreateLogStream`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Response {
    /// CloudWatch already has these events.
    AlreadyThere,
    /// An event is invalid: find it by halving the batch.
    BadEvents,
    /// The stream or the group does not exist.
    NoStream,
    /// Retry later.
    Later(DeliveryError),
}

/// Why logs do not reach CloudWatch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DeliveryError {
    NoGroup,
    Denied,
    Credentials,
    Unavailable,
}

impl DeliveryError {
    /// The remedy for an operator.
    pub(super) fn remedy(self) -> &'static str {
        match self {
            Self::NoGroup => "create the log group; the daemon does not create it and continues when it exists",
            Self::Denied => {
                "allow logs:CreateLogStream and logs:PutLogEvents on the group for the AWS role of this host"
            }
            Self::Credentials => "give this host valid AWS credentials and check its clock",
            Self::Unavailable => "if this lasts, check the connection of this host to CloudWatch Logs",
        }
    }
}

pub(super) fn classify(failure: &Failure) -> Response {
    let code = failure.code.as_str();
    match failure.kind {
        AwsErrorKind::NoCredentials => Response::Later(DeliveryError::Credentials),
        AwsErrorKind::Refused => match code {
            NO_GROUP => Response::Later(DeliveryError::NoGroup),
            "DataAlreadyAcceptedException" => Response::AlreadyThere,
            "ResourceNotFoundException" => Response::NoStream,
            "InvalidParameterException" | "SerializationException" | "ValidationException" => Response::BadEvents,
            _ if refuses_keys(code) => Response::Later(DeliveryError::Credentials),
            _ if code.contains("AccessDenied") => Response::Later(DeliveryError::Denied),
            _ => Response::Later(DeliveryError::Unavailable),
        },
        _ => Response::Later(DeliveryError::Unavailable),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_refusal_has_a_next_step() {
        use DeliveryError::{Credentials, Denied, NoGroup, Unavailable};
        let refused = |code: &str| Failure { kind: AwsErrorKind::Refused, code: code.to_owned(), text: String::new() };
        let cases = [
            ("DataAlreadyAcceptedException", Response::AlreadyThere),
            ("InvalidParameterException", Response::BadEvents),
            ("ResourceNotFoundException", Response::NoStream),
            (NO_GROUP, Response::Later(NoGroup)),
            ("ExpiredTokenException", Response::Later(Credentials)),
            ("UnrecognizedClientException", Response::Later(Credentials)),
            ("InvalidSignatureException", Response::Later(Credentials)),
            ("AccessDeniedException", Response::Later(Denied)),
            ("SomethingNewException", Response::Later(Unavailable)),
        ];
        for (code, wanted) in cases {
            assert_eq!(classify(&refused(code)), wanted, "{code}");
        }
        for kind in [
            AwsErrorKind::Throttled,
            AwsErrorKind::Failed,
            AwsErrorKind::TimedOut,
            AwsErrorKind::Unreachable,
            AwsErrorKind::InvalidResponse,
        ] {
            let failure = Failure { kind, code: String::new(), text: String::new() };
            assert_eq!(classify(&failure), Response::Later(Unavailable), "{kind:?}");
        }
        let missing = Failure { kind: AwsErrorKind::NoCredentials, code: String::new(), text: String::new() };
        assert_eq!(classify(&missing), Response::Later(Credentials));
    }
}
