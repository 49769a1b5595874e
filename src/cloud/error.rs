//! The kinds of failures of the cloud, and the error of the control plane.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

/// Kind of a failure of EchoStream's API or of an AWS service. `aws_error` derives it from codes and statuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CloudErrorKind {
    /// There are no AWS credentials, or they could not be loaded.
    NoCredentials,
    /// The AWS credentials or the token are not accepted: expired, unknown, or the signature is wrong. New ones may help.
    Expired,
    /// A permission is missing, or user name, password, client or pool were refused. Retry after a delay: both may be
    /// corrected.
    Denied,
    /// The service throttles requests (429).
    Throttled,
    /// The object of the request does not exist.
    Absent,
    /// The object or the data of the request is there already.
    AlreadyExists,
    /// The content of the request is invalid: a retry cannot succeed.
    Invalid,
    /// The service refused the request for another reason (4xx).
    Refused,
    /// No connection: DNS, TCP, TLS.
    Unreachable,
    /// No complete response within the limit.
    TimedOut,
    /// The service failed (5xx, or GraphQL errors).
    Failed,
    /// The response is invalid.
    InvalidResponse,
}

impl CloudErrorKind {
    /// Whether the service did not decide about the request, so that a retry may succeed without any change.
    pub fn is_passing(self) -> bool {
        matches!(self, Self::Throttled | Self::Unreachable | Self::TimedOut | Self::Failed | Self::InvalidResponse)
    }
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
            CloudErrorKind::Denied => "the cloud refused the credentials",
            CloudErrorKind::Unreachable => "the cloud cannot be reached",
            CloudErrorKind::TimedOut => "the cloud did not respond in time",
            CloudErrorKind::Throttled => "the cloud throttles requests",
            CloudErrorKind::InvalidResponse => "the response is invalid",
            _ => "the cloud returned an error",
        };
        write!(f, "{}: {kind}", self.operation)
    }
}

impl Error for CloudError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn Error + 'static))
    }
}
