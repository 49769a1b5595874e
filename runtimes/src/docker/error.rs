//! Translates bollard's errors into kinds. Pure: makes no calls.
//!
//! Docker reports most failures as status 500 with a text, so the text decides, and its meaning depends on the
//! operation. The texts are those of Docker 20.10 and later.

use std::error::Error as _;
use std::io;

use bollard::errors::Error;

use crate::error::{chain, missing_source};
use crate::{ErrorKind, RuntimeError};

pub(super) const CREATE: &str = "create container";
pub(super) const START: &str = "start container";
pub(super) const RESTART: &str = "restart container";
pub(super) const PULL: &str = "pull image";

/// The error of `operation` on `subject`, with the engine's own text as its source.
pub(super) fn translate(operation: &'static str, subject: &str, error: Error) -> RuntimeError {
    let (kind, message) = match error {
        Error::DockerResponseServerError { status_code, message } => {
            (kind_of(operation, subject, Some(status_code), &message), message)
        }
        Error::DockerStreamError { error } => (kind_of(operation, subject, None, &error), error),
        Error::RequestTimeoutError => (ErrorKind::TimedOut, "no response in time".to_owned()),
        // hyper's own texts are too short without their causes.
        other => (broken(&other), chain(&other)),
    };
    let remedy = missing_source(&message).filter(|_| matches!(operation, CREATE | START | RESTART));
    let message = remedy.map_or(message.clone(), |remedy| format!("{remedy} ({message})"));
    RuntimeError::new(kind, operation, subject).with_source(message)
}

/// The kind of the engine's response; `status` is `None` for an error inside a 200 stream.
fn kind_of(operation: &'static str, subject: &str, status: Option<u16>, message: &str) -> ErrorKind {
    // The subject may contain any text that is searched below.
    let message = message.replace(subject, "").to_lowercase();
    match operation {
        PULL => pulling(status, &message),
        CREATE | START | RESTART => running(status.unwrap_or(500), &message),
        _ => plain(status.unwrap_or(500), &message),
    }
}

fn plain(status: u16, message: &str) -> ErrorKind {
    match status {
        404 => ErrorKind::NotFound,
        409 if message.contains("is already in use by container") => ErrorKind::AlreadyExists,
        409 => ErrorKind::Conflict,
        400 | 401 | 403 | 405 | 501 => ErrorKind::Refused,
        _ => ErrorKind::Other,
    }
}

/// A failure to create or start a container persists until something changes, with few exceptions.
fn running(status: u16, message: &str) -> ErrorKind {
    const TAKEN: [&str; 2] = ["port is already allocated", "address already in use"];
    const PASSING: [&str; 4] =
        ["no space left on device", "context deadline exceeded", "context canceled", "connection refused"];
    if contains_any(message, &TAKEN) {
        return ErrorKind::Conflict;
    }
    // The leftover of a container that containerd was about to run when it was killed blocks every later start (seen
    // with 20.10).
    if message.contains("failed to start shim") && message.contains("file exists") {
        return ErrorKind::Broken;
    }
    match plain(status, message) {
        // A log or volume driver is missing, reported as 404: it is not the container that is missing.
        ErrorKind::NotFound if message.contains("plugin") => ErrorKind::Refused,
        ErrorKind::Other if !contains_any(message, &PASSING) => ErrorKind::Refused,
        kind => kind,
    }
}

fn pulling(status: Option<u16>, message: &str) -> ErrorKind {
    const THROTTLED: [&str; 4] = ["toomanyrequests", "too many requests", "rate exceeded", "status: 429"];
    const UNAUTHORIZED: [&str; 5] =
        ["denied", "no basic auth credentials", "unauthorized", "authentication required", "authorization token"];
    const NOT_FOUND: [&str; 4] = ["not found", "manifest unknown", "name unknown", "no such image"];
    // A file of the host, not the registry.
    let message = &message.replace("permission denied", "");
    if status == Some(429) || contains_any(message, &THROTTLED) {
        ErrorKind::Throttled
    } else if status == Some(401) || contains_any(message, &UNAUTHORIZED) {
        ErrorKind::Unauthorized
    } else if status == Some(404) || contains_any(message, &NOT_FOUND) {
        ErrorKind::NotFound
    } else if status == Some(400) {
        ErrorKind::Refused
    } else {
        ErrorKind::Other
    }
}

fn contains_any(message: &str, texts: &[&str]) -> bool {
    texts.iter().any(|text| message.contains(text))
}

/// The kind of a failed connection or decoding.
fn broken(error: &Error) -> ErrorKind {
    // bollard's I/O error is transparent: it is not a cause of itself.
    let mut cause: Option<&(dyn std::error::Error + 'static)> = match error {
        Error::IOError { err } => Some(err),
        other => other.source(),
    };
    while let Some(found) = cause {
        if found.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::PermissionDenied) {
            return ErrorKind::Refused;
        }
        cause = found.source();
    }
    match error {
        Error::HyperLegacyError { .. } | Error::HyperResponseError { .. } | Error::IOError { .. } => {
            ErrorKind::Unreachable
        }
        _ => ErrorKind::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn engine_errors_map_to_kinds() {
        use ErrorKind::{AlreadyExists, Broken, Conflict, NotFound, Other, Refused, Throttled, Unauthorized};
        let in_use = "Conflict. The container name \"/web\" is already in use by container \"abc\".";
        let allocated = "driver failed programming external connectivity on endpoint web: Bind for 0.0.0.0:80 failed: \
                         port is already allocated";
        let bound = "Error starting userland proxy: listen tcp4 0.0.0.0:80: bind: address already in use";
        let hub = "pull access denied for a.b/x, repository does not exist or may require 'docker login': denied: no";
        let cases = [
            ("list containers", Some(500), "boom", Other),
            ("rename container", Some(409), in_use, AlreadyExists),
            ("remove image", Some(409), "conflict: unable to delete", Conflict),
            ("rename container", Some(404), "No such container: x", NotFound),
            (CREATE, Some(409), in_use, AlreadyExists),
            (CREATE, Some(404), "No such image: a.b/x:latest", NotFound),
            (CREATE, Some(400), "invalid mount config for type \"bind\"", Refused),
            (START, Some(500), allocated, Conflict),
            (RESTART, Some(500), bound, Conflict),
            (START, Some(500), "OCI runtime create failed: protocol not supported", Refused),
            (START, Some(500), "mkdir /x: no space left on device", Other),
            (START, Some(500), "failed to start shim: mkdir /run/moby/x: file exists: unknown", Broken),
            (START, Some(500), "mkdir /data: file exists", Refused),
            (START, Some(404), "network x not found", NotFound),
            (START, Some(404), "error looking up logging plugin x: plugin \"x\" not found", Refused),
            (PULL, Some(404), "manifest for a.b/x:1 not found: manifest unknown", NotFound),
            (PULL, Some(500), "no basic auth credentials", Unauthorized),
            (PULL, Some(500), "unauthorized: authentication required", Unauthorized),
            (PULL, Some(404), hub, Unauthorized),
            (PULL, Some(500), "toomanyrequests: Rate exceeded", Throttled),
            (PULL, Some(429), "", Throttled),
            (PULL, None, "received unexpected HTTP status: 429 Too Many Requests", Throttled),
            (PULL, None, "unexpected EOF", Other),
            (PULL, None, "open /var/lib/docker/tmp/x: permission denied", Other),
            (PULL, Some(500), "x509: certificate signed by unknown authority", Other),
            (PULL, Some(500), "a.b/denied: unexpected EOF", Other),
        ];
        for (operation, status, message, kind) in cases {
            assert_eq!(kind_of(operation, "a.b/denied", status, message), kind, "{operation} {status:?} {message}");
        }
    }

    #[test]
    fn permission_denied_is_refused_and_no_socket_is_unreachable() {
        let io = |kind: io::ErrorKind| Error::IOError { err: io::Error::from(kind) };
        assert_eq!(broken(&io(io::ErrorKind::PermissionDenied)), ErrorKind::Refused);
        assert_eq!(broken(&io(io::ErrorKind::NotFound)), ErrorKind::Unreachable);
    }

    #[test]
    fn the_engines_text_is_the_error_source() {
        let error = Error::DockerResponseServerError { status_code: 409, message: "is in use".to_owned() };
        let error = translate("remove image", "sha256:1", error);
        assert_eq!(error.to_string(), "remove image \"sha256:1\": it conflicts with the present state");
        assert_eq!(error.source().map(ToString::to_string).as_deref(), Some("is in use"));
    }
}
