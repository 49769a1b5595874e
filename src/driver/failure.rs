//! Converts errors of engine, cloud and registry into failures of the reconciler.

use managed_app_runtimes::{ErrorKind, RuntimeError};

use crate::cloud::{CloudError, CloudErrorKind};
use crate::reconciler::{Failure, FailureKind};
use crate::registry::RegistryError;
use crate::text::chain;

/// The failure of an engine call.
pub fn of_runtime(error: &RuntimeError) -> Failure {
    let kind = match error.kind() {
        ErrorKind::Throttled => FailureKind::Throttled,
        ErrorKind::Refused | ErrorKind::Unauthorized => FailureKind::Permanent,
        _ => FailureKind::Transient,
    };
    Failure { kind, text: chain(error) }
}

/// The failure of a pull. An image that does not exist is a permanent failure.
pub fn of_pull(error: &RuntimeError) -> Failure {
    let failure = of_runtime(error);
    let kind = if error.kind() == ErrorKind::NotFound { FailureKind::Permanent } else { failure.kind };
    Failure { kind, ..failure }
}

/// The failure of a call to the cloud.
pub fn of_cloud(error: &CloudError) -> Failure {
    Failure { kind: of_cloud_kind(error.kind()), text: chain(error) }
}

/// The failure to get credentials for a registry.
pub fn of_registry(error: &RegistryError) -> Failure {
    Failure { kind: of_cloud_kind(error.kind()), text: chain(error) }
}

fn of_cloud_kind(kind: CloudErrorKind) -> FailureKind {
    match kind {
        CloudErrorKind::Denied => FailureKind::Permanent,
        CloudErrorKind::Throttled => FailureKind::Throttled,
        _ => FailureKind::Transient,
    }
}
