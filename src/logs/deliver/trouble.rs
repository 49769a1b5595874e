//! What a refusal of CloudWatch asks for. Pure.

use crate::cloud::failure::{Failure, Meaning, refuses_keys};

/// The code put in place of CloudWatch's when making a stream fails because there is no group.
pub(super) const NO_GROUP: &str = "NoLogGroup";

/// What to do after a failed `PutLogEvents` or `CreateLogStream`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    /// CloudWatch has these very events already.
    AlreadyThere,
    /// The events themselves are refused: find the one that is bad.
    BadEvents,
    /// The stream is gone, or the group is.
    NoStream,
    /// Try again later.
    Later(Trouble),
}

/// Why logs do not reach CloudWatch for now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trouble {
    NoGroup,
    Denied,
    Credentials,
    Unavailable,
}

impl Trouble {
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

pub(super) fn answer(failure: &Failure) -> Answer {
    let code = failure.code.as_str();
    match failure.meaning {
        Meaning::NoCredentials => Answer::Later(Trouble::Credentials),
        Meaning::Refused => match code {
            NO_GROUP => Answer::Later(Trouble::NoGroup),
            "DataAlreadyAcceptedException" => Answer::AlreadyThere,
            "ResourceNotFoundException" => Answer::NoStream,
            "InvalidParameterException" | "SerializationException" | "ValidationException" => Answer::BadEvents,
            _ if refuses_keys(code) => Answer::Later(Trouble::Credentials),
            _ if code.contains("AccessDenied") => Answer::Later(Trouble::Denied),
            _ => Answer::Later(Trouble::Unavailable),
        },
        _ => Answer::Later(Trouble::Unavailable),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_refusal_has_an_answer() {
        use Trouble::{Credentials, Denied, NoGroup, Unavailable};
        let refused = |code: &str| Failure { meaning: Meaning::Refused, code: code.to_owned(), text: String::new() };
        let cases = [
            ("DataAlreadyAcceptedException", Answer::AlreadyThere),
            ("InvalidParameterException", Answer::BadEvents),
            ("ResourceNotFoundException", Answer::NoStream),
            (NO_GROUP, Answer::Later(NoGroup)),
            ("ExpiredTokenException", Answer::Later(Credentials)),
            ("UnrecognizedClientException", Answer::Later(Credentials)),
            ("InvalidSignatureException", Answer::Later(Credentials)),
            ("AccessDeniedException", Answer::Later(Denied)),
            ("SomethingNewException", Answer::Later(Unavailable)),
        ];
        for (code, wanted) in cases {
            assert_eq!(answer(&refused(code)), wanted, "{code}");
        }
        for meaning in [Meaning::Throttled, Meaning::Failed, Meaning::TimedOut, Meaning::Unreachable, Meaning::Nonsense]
        {
            let failure = Failure { meaning, code: String::new(), text: String::new() };
            assert_eq!(answer(&failure), Answer::Later(Unavailable), "{meaning:?}");
        }
        let missing = Failure { meaning: Meaning::NoCredentials, code: String::new(), text: String::new() };
        assert_eq!(answer(&missing), Answer::Later(Credentials));
    }
}
