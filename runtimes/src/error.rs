//! The one error of every backend: what went wrong by meaning, during which operation, on what.

use std::error::Error;
use std::fmt;

/// The result of an engine call.
pub type Result<T, E = RuntimeError> = std::result::Result<T, E>;

/// What a failure means to the caller, whatever the engine called it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The container, image or network does not exist.
    NotFound,
    /// The name is taken by another container.
    AlreadyExists,
    /// The engine cannot do it in the present state, for example a host port is taken or an image is in use.
    Conflict,
    /// The registry refused the credentials, or wants some.
    Unauthorized,
    /// The registry asks for patience (429, "toomanyrequests").
    Throttled,
    /// Nothing answers at the engine's socket, or the connection broke.
    Unreachable,
    /// No answer within the limit; the engine may still carry the call out.
    TimedOut,
    /// The engine understood and will not do it: an invalid spec, a start that fails every time, no permission.
    Refused,
    /// The container can never be started again, whatever it is made of: the engine crashed in the middle of a start. Only
    /// another container helps.
    Broken,
    /// Anything else, including answers that make no sense.
    Other,
}

/// A failed engine call.
///
/// `Display` is one fragment that fits after "failed to": `create container "web": the name is taken`. The engine's own
/// words are the [`source`](Error::source).
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

    /// The same error with the engine's own words as its source. They must hold no secret.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// What the failure means.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The verb phrase of the failed operation.
    pub fn operation(&self) -> &'static str {
        self.operation
    }

    /// The container, image or network it was done to.
    pub fn subject(&self) -> &str {
        &self.subject
    }
}

/// What to do about a container that cannot be made or started because a path of the host that it mounts is missing, if the
/// engine's `words` say that. The texts are those of Docker, Podman, runc and crun.
pub(crate) fn missing_source(words: &str) -> Option<String> {
    let after = |begin: &str| words.split_once(begin).map(|(_, rest)| rest);
    let until = |rest: &str, end: &str| rest.split_once(end).map(|(path, _)| path.to_owned());
    let is_missing = words.to_lowercase().contains("no such file or directory");
    let path = after("bind source path does not exist: ")
        .map(|rest| rest.trim_end().to_owned())
        .or_else(|| after("error mounting \"").filter(|_| is_missing).and_then(|rest| until(rest, "\" to rootfs")))
        .or_else(|| after("statfs ").filter(|_| is_missing).and_then(|rest| until(rest, ": no such file")))
        .or_else(|| after("cannot stat `").filter(|_| is_missing).and_then(|rest| until(rest, "`")))?;
    Some(format!("{path:?} is missing on the engine's host: create it, or correct the node's mount"))
}

impl fmt::Display for RuntimeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let meaning = match self.kind {
            ErrorKind::NotFound => "it does not exist",
            ErrorKind::AlreadyExists => "the name is taken",
            ErrorKind::Conflict => "it conflicts with the present state",
            ErrorKind::Unauthorized => "the registry refused the credentials",
            ErrorKind::Throttled => "the registry asks to slow down",
            ErrorKind::Unreachable => "the engine cannot be reached",
            ErrorKind::TimedOut => "the engine did not answer in time",
            ErrorKind::Refused => "the engine refused",
            ErrorKind::Broken => "a crash of the engine has spoiled it",
            ErrorKind::Other => "the engine failed",
        };
        write!(f, "{} {:?}: {meaning}", self.operation, self.subject)
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
    fn a_missing_path_of_the_host_is_named_with_what_to_do() {
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
        for (words, is_one) in cases {
            assert_eq!(missing_source(words).as_deref(), is_one.then_some(wanted), "{words}");
        }
    }
}
