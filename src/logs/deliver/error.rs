//! Maps failures of CloudWatch to the next step. Pure.

use crate::cloud::CloudErrorKind;

/// The next step after a failed `PutLogEvents` or `CreateLogStream`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Response {
    /// CloudWatch already has these events.
    AlreadyThere,
    /// An event is invalid: find it by halving the batch.
    BadEvents,
    /// The stream does not exist any more.
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

/// `has_stream` is false if the stream could not be created.
pub(super) fn classify(kind: CloudErrorKind, has_stream: bool) -> Response {
    match kind {
        CloudErrorKind::AlreadyExists if has_stream => Response::AlreadyThere,
        CloudErrorKind::Absent if has_stream => Response::NoStream,
        CloudErrorKind::Absent => Response::Later(DeliveryError::NoGroup),
        CloudErrorKind::Invalid => Response::BadEvents,
        CloudErrorKind::NoCredentials | CloudErrorKind::Expired => Response::Later(DeliveryError::Credentials),
        CloudErrorKind::Denied => Response::Later(DeliveryError::Denied),
        _ => Response::Later(DeliveryError::Unavailable),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_refusal_has_a_next_step() {
        use CloudErrorKind::*;
        use DeliveryError::{Credentials, NoGroup};
        let later = |error| (Response::Later(error), Response::Later(error));
        let cases = [
            (AlreadyExists, (Response::AlreadyThere, Response::Later(DeliveryError::Unavailable))),
            (Absent, (Response::NoStream, Response::Later(NoGroup))),
            (Invalid, (Response::BadEvents, Response::BadEvents)),
            (NoCredentials, later(Credentials)),
            (Expired, later(Credentials)),
            (Denied, later(DeliveryError::Denied)),
            (Refused, later(DeliveryError::Unavailable)),
            (Throttled, later(DeliveryError::Unavailable)),
            (Failed, later(DeliveryError::Unavailable)),
            (TimedOut, later(DeliveryError::Unavailable)),
            (Unreachable, later(DeliveryError::Unavailable)),
            (InvalidResponse, later(DeliveryError::Unavailable)),
        ];
        for (kind, wanted) in cases {
            assert_eq!((classify(kind, true), classify(kind, false)), wanted, "{kind:?}");
        }
    }
}
