//! Errors of the control plane, by kind.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

/// Kind of a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CloudErrorKind {
    /// User name, password, client or pool were refused. Retry after a delay: the password may be corrected.
    Refused,
    /// No connection: DNS, TCP, TLS.
    Unreachable,
    /// No complete response within the limit.
    TimedOut,
    /// The cloud throttles requests (429).
    Throttled,
    /// The cloud failed (5xx, or GraphQL errors).
    Failed,
    /// The response is invalid.
    InvalidResponse,
}

/// A failed call to the cloud. `Display` fits after "failed to" and names no secret. `Clone`, because callers that
/// share one sign-in share its failure.
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

    /// The error with its cause, which must contain no secret.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.source = Some(Arc::from(source.into()));
        self
    }

    /// The kind.
    pub fn kind(&self) -> CloudErrorKind {
        self.kind
    }
}

impl fmt::Display for CloudError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            CloudErrorKind::Refused => "the cloud refused the credentials",
            CloudErrorKind::Unreachable => "the cloud cannot be reached",
            CloudErrorKind::TimedOut => "the cloud did not respond in time",
            CloudErrorKind::Throttled => "the cloud throttles requests",
            CloudErrorKind::Failed => "the cloud returned an error",
            CloudErrorKind::InvalidResponse => "the response is invalid",
        };
        write!(f, "{}: {kind}", self.operation)
    }
}

impl Error for CloudError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn Error + 'static))
    }
}
