//! Errors of registry credentials, by kind.

use std::fmt;

use crate::cloud::failure::{AwsErrorKind, Failure, refuses_keys};

/// Kind of a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RegistryErrorKind {
    /// This host has no AWS credentials.
    NoCredentials,
    /// The credentials of this host are not accepted, or have expired.
    Unauthorized,
    /// The credentials of this host lack a permission.
    AccessDenied,
    /// No connection: DNS, TCP, TLS.
    Unreachable,
    /// No complete response within the limit.
    TimedOut,
    /// The service throttles requests.
    Throttled,
    /// The service failed.
    Failed,
    /// The response has no valid token.
    InvalidResponse,
}

/// A registry token could not be requested. `Display` fits after "failed to" and names no secret.
#[derive(Debug, Clone)]
pub struct RegistryError {
    kind: RegistryErrorKind,
    permission: &'static str,
    detail: String,
}

impl RegistryError {
    /// From a failed call that needs `permission`.
    pub(super) fn of(failure: &Failure, permission: &'static str) -> Self {
        Self { kind: kind(failure), permission, detail: failure.text.clone() }
    }

    pub(super) fn invalid_response(permission: &'static str, detail: &str) -> Self {
        Self { kind: RegistryErrorKind::InvalidResponse, permission, detail: detail.to_owned() }
    }

    pub(super) fn timed_out(permission: &'static str) -> Self {
        Self { kind: RegistryErrorKind::TimedOut, permission, detail: "no answer within the limit".to_owned() }
    }

    /// The kind.
    pub fn kind(&self) -> RegistryErrorKind {
        self.kind
    }

    /// Whether a retry may succeed without a change of keys or permissions.
    pub(super) fn is_transient(&self) -> bool {
        !matches!(self.kind, RegistryErrorKind::NoCredentials | RegistryErrorKind::AccessDenied)
    }

    /// The IAM permission that the call needs, for example `ecr:GetAuthorizationToken`.
    pub fn permission(&self) -> &'static str {
        self.permission
    }
}

fn kind(failure: &Failure) -> RegistryErrorKind {
    let code = failure.code.as_str();
    match failure.kind {
        AwsErrorKind::NoCredentials => RegistryErrorKind::NoCredentials,
        AwsErrorKind::Refused if refuses_keys(code) => RegistryErrorKind::Unauthorized,
        AwsErrorKind::Refused if code.contains("AccessDenied") || code.contains("NotAuthorized") => {
            RegistryErrorKind::AccessDenied
        }
        AwsErrorKind::Refused | AwsErrorKind::Failed => RegistryErrorKind::Failed,
        AwsErrorKind::Unreachable => RegistryErrorKind::Unreachable,
        AwsErrorKind::TimedOut => RegistryErrorKind::TimedOut,
        AwsErrorKind::Throttled => RegistryErrorKind::Throttled,
        AwsErrorKind::InvalidResponse => RegistryErrorKind::InvalidResponse,
    }
}

impl fmt::Display for RegistryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            RegistryErrorKind::NoCredentials => "this host has no AWS credentials",
            RegistryErrorKind::Unauthorized => "the AWS credentials of this host are not accepted",
            RegistryErrorKind::AccessDenied => "the AWS credentials of this host lack a permission",
            RegistryErrorKind::Unreachable => "the service cannot be reached",
            RegistryErrorKind::TimedOut => "the service did not respond in time",
            RegistryErrorKind::Throttled => "the service throttles requests",
            RegistryErrorKind::Failed => "the service returned an error",
            RegistryErrorKind::InvalidResponse => "the response is invalid",
        };
        write!(f, "get a registry token ({}): {kind}: {}", self.permission, self.detail)
    }
}

impl std::error::Error for RegistryError {}
