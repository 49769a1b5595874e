//! The error type of every backend: kind, operation and subject.

use std::error::Error;
use std::fmt;

/// The result of an engine call.
pub type Result<T, E = RuntimeError> = std::result::Result<T, E>;

/// The kind of a failure, independent of the engine's text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The container, image or network does not exist.
    NotFound,
    /// The name is taken by another container.
    AlreadyExists,
    /// The engine cannot do it in the current state, for example a host port is taken or an image is in use.
    Conflict,
    /// The registry rejected the credentials, or requires some.
    Unauthorized,
    /// The registry throttles requests (429, "toomanyrequests").
    Throttled,
    /// Nothing listens on the engine's socket, or the connection broke.
    Unreachable,
    /// No response within the limit; the engine may still complete the call.
    TimedOut,
    /// The engine understood the request and rejects it: an invalid spec, a start that fails every time, no permission.
    Refused,
    /// The container can never be started again, whatever its spec: the engine crashed during a start. It must be
    /// replaced.
    Broken,
    /// Any other failure, including invalid responses.
    Other,
}

/// A failed engine call.
///
/// `Display` is one fragment that fits after "failed to": `create container "web": the name is taken`. The engine's own
/// text is the [`source`](Error::source).
#[derive(Debug)]
pub struct RuntimeError {
    kind: ErrorKind,
    operation: &'static str,
    subject: String,
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl RuntimeError {
    /// An error of `kind` while doing `operation` (a verb phrase such as "start container") to `subject`.
    pub fn new(kind: ErrorKind, operation: &'static str, subject: impl Into<String>) -> Self {
        Self { kind, operation, subject: subject.into(), source: None }
    }

    /// The same error with the engine's own text as its source. The text must not contain a secret.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// The kind of the failure.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The verb phrase of the failed operation.
    pub fn operation(&self) -> &'static str {
        self.operation
    }

    /// The container, image or network of the operation.
    pub fn subject(&self) -> &str {
        &self.subject
    }
}

/// An error with its causes on one line; causes whose text is in the line already are left out.
pub fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(found) = cause {
        let message = found.to_string();
        if !text.contains(&message) {
            text = format!("{text}: {message}");
        }
        cause = found.source();
    }
    text
}

/// The remedy for a container that cannot be created or started because a mounted host path is missing, if the engine's
/// `text` reports that. The texts are those of Docker, Podman, runc and crun.
pub(crate) fn missing_source(text: &str) -> Option<String> {
    let after = |begin: &str| text.split_once(begin).map(|(_, rest)| rest);
    let until = |rest: &str, end: &str| rest.split_once(end).map(|(path, _)| path.to_owned());
    let is_missing = text.to_lowercase().contains("no such file or directory");
    let path = after("bind source path does not exist: ")
        .map(|rest| rest.trim_end().to_owned())
        .or_else(|| after("error mounting \"").filter(|_| is_missing).and_then(|rest| until(rest, "\" to rootfs")))
        .or_else(|| after("statfs ").filter(|_| is_missing).and_then(|rest| until(rest, ": no such file")))
        .or_else(|| after("cannot stat `").filter(|_| is_missing).and_then(|rest| until(rest, "`")))?;
    Some(format!("{path:?} is missing on the engine's host: create it, or correct the node's mount"))
}

impl fmt::Display for RuntimeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let reason = match self.kind {
            ErrorKind::NotFound => "it does not exist",
            ErrorKind::AlreadyExists => "the name is taken",
            ErrorKind::Conflict => "it conflicts with the present state",
            ErrorKind::Unauthorized => "the registry refused the credentials",
            ErrorKind::Throttled => "the registry throttles requests",
            ErrorKind::Unreachable => "the engine cannot be reached",
            ErrorKind::TimedOut => "the engine did not answer in time",
            ErrorKind::Refused => "the engine refused the request",
            ErrorKind::Broken => "a crash of the engine left it unusable",
            ErrorKind::Other => "the engine failed",
        };
        write!(f, "{} {:?}: {reason}", self.operation, self.subject)
    }
}

impl Error for RuntimeError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn Error + 'static))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_cause_is_in_the_line_once() {
        let error = |source| RuntimeError::new(ErrorKind::Other, "stop container", "web").with_source(source);
        assert_eq!(chain(&error("it hangs")), "stop container \"web\": the engine failed: it hangs");
        assert_eq!(chain(&error("the engine failed")), "stop container \"web\": the engine failed");
        let outer = RuntimeError::new(ErrorKind::Other, "stop container", "web").with_source(error("it hangs"));
        assert_eq!(chain(&outer), "stop container \"web\": the engine failed: it hangs");
    }

    #[test]
    fn a_missing_host_path_is_named_with_a_remedy() {
        let runc = "runc create failed: unable to start container process: error during container init: error mounting \
                    \"/srv/in box\" to rootfs at \"/data\": stat /srv/in box: no such file or directory: unknown";
        let cases = [
            ("invalid mount config for type \"bind\": bind source path does not exist: /srv/in box", true),
            (runc, true),
            ("podman answered 500: statfs /srv/in box: no such file or directory", true),
            ("crun: cannot stat `/srv/in box`: No such file or directory: OCI runtime error", true),
            ("error mounting \"/srv/in box\" to rootfs at \"/data\": permission denied", false),
            ("exec: \"/run\": stat /run: no such file or directory", false),
        ];
        let wanted = "\"/srv/in box\" is missing on the engine's host: create it, or correct the node's mount";
        for (text, is_one) in cases {
            assert_eq!(missing_source(text).as_deref(), is_one.then_some(wanted), "{text}");
        }
    }
}
