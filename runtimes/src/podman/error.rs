//! Translates Podman's failures into kinds, by status code and text; makes no calls.
//!
//! Podman reports most failures as status 500 with a text, so the text decides. The texts are from Podman 4.3.1 and
//! 5.4.2 and are listed in the table of the tests.

use podman_api::conn::Error as ConnError;
use thiserror::Error;

use crate::error::missing_source;
use crate::{ErrorKind, RuntimeError};

/// Operation and subject of a call: the first half of every error.
#[derive(Debug, Clone, Copy)]
pub(super) struct Context<'a> {
    /// Verb phrase, such as "start container".
    pub(super) operation: &'static str,
    /// Container, image or network.
    pub(super) subject: &'a str,
}

impl Context<'_> {
    /// An error without a source.
    pub(super) fn error(self, kind: ErrorKind) -> RuntimeError {
        RuntimeError::new(kind, self.operation, self.subject)
    }

    /// The error for a response of the engine with a failure status.
    pub(super) fn fault(self, status: u16, text: &str) -> RuntimeError {
        let text: String = text.chars().take(FAULT_CHARS_MAX).collect();
        let text = missing_source(&text).map_or(text.clone(), |remedy| format!("{remedy} ({text})"));
        self.error(kind_of(status, &text)).with_source(Fault { status, text })
    }

    /// The error for an invalid response.
    pub(super) fn invalid_response(self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> RuntimeError {
        self.error(ErrorKind::Other).with_source(source)
    }

    /// The error for a broken or refused connection.
    pub(super) fn connection(self, error: ConnError) -> RuntimeError {
        match error {
            ConnError::Fault { code, message } => self.fault(code.as_u16(), &message),
            ConnError::SerdeJsonError(error) => self.invalid_response(error),
            ConnError::Hyper(_) | ConnError::IO(_) => self.error(ErrorKind::Unreachable).with_source(error),
            other => self.invalid_response(other),
        }
    }

    /// The error for a failed call of the crate.
    pub(super) fn crate_error(self, error: podman_api::Error) -> RuntimeError {
        match error {
            podman_api::Error::Fault { code, message } => self.fault(code.as_u16(), &message),
            podman_api::Error::Error(error) => self.connection(error),
            podman_api::Error::IO(error) => self.error(ErrorKind::Unreachable).with_source(error),
            other => self.invalid_response(other),
        }
    }
}

/// Longest text of the engine that is kept.
const FAULT_CHARS_MAX: usize = 2_000;

/// The engine's own text.
#[derive(Debug, Error)]
#[error("podman answered {status}: {text}")]
struct Fault {
    status: u16,
    text: String,
}

/// Fragments of Podman's texts, in lower case; the first match decides.
const TEXTS: [(&str, ErrorKind); 17] = [
    ("that name is already in use", ErrorKind::AlreadyExists),
    ("container already exists", ErrorKind::AlreadyExists),
    ("already in use, cannot rename", ErrorKind::AlreadyExists),
    ("unique constraint failed: containerconfig.name", ErrorKind::AlreadyExists),
    ("network already exists", ErrorKind::AlreadyExists),
    ("image not known", ErrorKind::NotFound),
    ("network not found", ErrorKind::NotFound),
    ("no such container", ErrorKind::NotFound),
    ("address already in use", ErrorKind::Conflict),
    ("is in use by a container", ErrorKind::Conflict),
    ("please force removal", ErrorKind::Conflict),
    ("container state improper", ErrorKind::Conflict),
    ("cannot expose privileged port", ErrorKind::Refused),
    ("permission denied", ErrorKind::Refused),
    ("invalid argument", ErrorKind::Refused),
    ("oci runtime", ErrorKind::Refused),
    ("no such file or directory", ErrorKind::Refused),
];

/// The kind of a response with `status` and `text`.
fn kind_of(status: u16, text: &str) -> ErrorKind {
    let text = text.to_ascii_lowercase();
    let by_text = TEXTS.iter().find(|(fragment, _)| text.contains(fragment)).map(|(_, kind)| *kind);
    by_text.unwrap_or(match status {
        404 => ErrorKind::NotFound,
        409 => ErrorKind::Conflict,
        400 | 403 | 405 | 422 => ErrorKind::Refused,
        _ => ErrorKind::Other,
    })
}

/// Fragments of registries' errors in a pull, in lower case; the first match decides.
const PULL_TEXTS: [(&str, ErrorKind); 16] = [
    ("toomanyrequests", ErrorKind::Throttled),
    ("too many requests", ErrorKind::Throttled),
    ("rate exceeded", ErrorKind::Throttled),
    ("manifest unknown", ErrorKind::NotFound),
    ("name unknown", ErrorKind::NotFound),
    ("name_unknown", ErrorKind::NotFound),
    ("not known to registry", ErrorKind::NotFound),
    ("status 404", ErrorKind::NotFound),
    ("unauthorized", ErrorKind::Unauthorized),
    ("authentication required", ErrorKind::Unauthorized),
    ("no basic auth credentials", ErrorKind::Unauthorized),
    ("invalid username/password", ErrorKind::Unauthorized),
    ("access denied", ErrorKind::Unauthorized),
    ("denied:", ErrorKind::Unauthorized),
    ("authorization token has expired", ErrorKind::Unauthorized),
    ("403 (forbidden)", ErrorKind::Unauthorized),
];

/// The kind of a pull's error text; [`ErrorKind::Other`] covers a registry that does not respond.
pub(super) fn pull_error_kind(text: &str) -> ErrorKind {
    let text = text.to_ascii_lowercase();
    PULL_TEXTS.iter().find(|(fragment, _)| text.contains(fragment)).map_or(ErrorKind::Other, |(_, kind)| *kind)
}
