//! Errors of the control plane, by what they mean to the daemon.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

/// What a failure means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CloudErrorKind {
    /// User name, password, client or pool were refused. Retrying at once does not help; the password may be mended.
    Refused,
    /// Nothing answers: DNS, TCP, TLS.
    Unreachable,
    /// No whole answer within the limit.
    TimedOut,
    /// The cloud asks for patience (429).
    Throttled,
    /// The cloud failed (5xx, or GraphQL errors).
    Failed,
    /// The answer cannot be understood.
    InvalidResponse,
}

/// A failed call to the cloud. `Display` fits after "failed to" and names no secret. `Clone`, because callers that share
/// one sign-in share its failure.
#[derive(Debug, Clone)]
pub struct CloudError {
    kind: CloudErrorKind,
    operation: &'static str,
    source: Option<Arc<dyn Error + Send + Sync>>,
}

impl CloudError {
    /// An error of `kind` while doing `operation` (a verb phrase such as "sign in").
    pub fn new(kind: CloudErrorKind, operation: &'static str) -> Self {
        Self { kind, operation, source: None }
    }

    /// The same error with what lies beneath it, which must hold no secret.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.source = Some(Arc::from(source.into()));
        self
    }

    /// What the failure means.
    pub fn kind(&self) -> CloudErrorKind {
        self.kind
    }
}

impl fmt::Display for CloudError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            CloudErrorKind::Refused => "the cloud refused the credentials",
            CloudErrorKind::Unreachable => "the cloud cannot be reached",
            CloudErrorKind::TimedOut => "the cloud did not answer in time",
            CloudErrorKind::Throttled => "the cloud asks to slow down",
            CloudErrorKind::Failed => "the cloud failed",
            CloudErrorKind::InvalidResponse => "the answer cannot be understood",
        };
        write!(f, "{}: {kind}", self.operation)
    }
}

impl Error for CloudError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn Error + 'static))
    }
}
