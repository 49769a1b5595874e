//! What a refusal of CloudWatch asks for. Pure.

use crate::cloud::failure::{AwsErrorKind, Failure, refuses_keys};

/// The code put in place of CloudWatch's when making a stream fails because there is no group.
pub(super) const NO_GROUP: &str = "NoLogGroup";

/// What to do after a failed `PutLogEvents` or `CreateLogStream`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Response {
    /// CloudWatch has these very events already.
    AlreadyThere,
    /// The events themselves are refused: find the one that is bad.
    BadEvents,
    /// The stream is gone, or the group is.
    NoStream,
    /// Try again later.
    Later(DeliveryError),
}

/// Why logs do not reach CloudWatch for now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DeliveryError {
    NoGroup,
    Denied,
    Credentials,
    Unavailable,
}

impl DeliveryError {
    /// What an operator can do about it.
    pub(super) fn remedy(self) -> &'static str {
        match self {
            Self::NoGroup => "make the log group; the daemon may not, and goes on by itself once it is there",
            Self::Denied => "allow this host's AWS role logs:CreateLogStream and logs:PutLogEvents on the group",
            Self::Credentials => "give this host valid AWS credentials, and see that its clock is right",
            Self::Unavailable => "none is needed if this passes; else see whether this host reaches CloudWatch Logs",
        }
    }
}

pub(super) fn answer(failure: &Failure) -> Response {
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
    fn each_refusal_has_an_answer() {
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
            assert_eq!(answer(&refused(code)), wanted, "{code}");
        }
        for kind in [
            AwsErrorKind::Throttled,
            AwsErrorKind::Failed,
            AwsErrorKind::TimedOut,
            AwsErrorKind::Unreachable,
            AwsErrorKind::InvalidResponse,
        ] {
            let failure = Failure { kind, code: String::new(), text: String::new() };
            assert_eq!(answer(&failure), Response::Later(Unavailable), "{kind:?}");
        }
        let missing = Failure { kind: AwsErrorKind::NoCredentials, code: String::new(), text: String::new() };
        assert_eq!(answer(&missing), Response::Later(Credentials));
    }
}
