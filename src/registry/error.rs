//! The error of registry credentials.

use std::fmt;

use crate::cloud::CloudErrorKind;
use crate::cloud::aws_error::AwsError;

/// A registry token could not be requested. `Display` fits after "failed to" and names no secret.
#[derive(Debug, Clone)]
pub struct RegistryError {
    kind: CloudErrorKind,
    permission: &'static str,
    detail: String,
}

impl RegistryError {
    /// From a failed call that needs `permission`.
    pub(super) fn of(error: AwsError, permission: &'static str) -> Self {
        Self { kind: error.kind, permission, detail: error.text }
    }

    pub(super) fn invalid_response(permission: &'static str, detail: &str) -> Self {
        Self { kind: CloudErrorKind::InvalidResponse, permission, detail: detail.to_owned() }
    }

    pub(super) fn timed_out(permission: &'static str) -> Self {
        Self { kind: CloudErrorKind::TimedOut, permission, detail: "no answer within the limit".to_owned() }
    }

    /// The kind.
    pub fn kind(&self) -> CloudErrorKind {
        self.kind
    }

    /// Whether a retry may succeed without a change of keys or permissions.
    pub(super) fn is_transient(&self) -> bool {
        !matches!(self.kind, CloudErrorKind::NoCredentials | CloudErrorKind::Denied)
    }

    /// The IAM permission that the call needs, for example `ecr:GetAuthorizationToken`.
    pub fn permission(&self) -> &'static str {
        self.permission
    }
}

impl fmt::Display for RegistryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            CloudErrorKind::NoCredentials => "this host has no AWS credentials",
            CloudErrorKind::Expired => "the AWS credentials of this host are not accepted",
            CloudErrorKind::Denied => "the AWS credentials of this host lack a permission",
            CloudErrorKind::Unreachable => "the service cannot be reached",
            CloudErrorKind::TimedOut => "the service did not respond in time",
            CloudErrorKind::Throttled => "the service throttles requests",
            CloudErrorKind::InvalidResponse => "the response is invalid",
            _ => "the service returned an error",
        };
        write!(f, "get a registry token ({}): {kind}: {}", self.permission, self.detail)
    }
}

impl std::error::Error for RegistryError {}
