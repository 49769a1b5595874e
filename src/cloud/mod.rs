//! The control plane of EchoStream: the calls that the daemon needs, and the live client.
//!
//! [`ControlPlane`] lists all calls. [`EchoStream`] implements it: `appsync` is the transport, `session` and `cognito`
//! sign in, `decode` converts responses. [`AppCredentials`] provides the app's AWS credentials to the SDK,
//! [`HostCredentials`] those of the host. [`Aws`] creates the SDK clients of all modules, and `aws_error` classifies
//! their failures. [`AuditTrail`] sends audit records to the tenant if the tenant enables them.

mod appsync;
mod audit;
mod aws;
pub(crate) mod aws_error;
pub(crate) mod backoff;
mod cognito;
mod credentials;
mod decode;
mod echostream;
mod endpoints;
mod error;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;
mod host_credentials;
mod operations;
mod reach;
mod registry_host;
pub(crate) mod renewing;
mod session;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
pub(crate) mod transport;

use std::fmt;

use async_trait::async_trait;

pub use audit::AuditTrail;
pub use aws::{Aws, AwsOptions};
pub use credentials::AppCredentials;
pub use echostream::{Account, EchoStream};
pub use endpoints::Service;
pub use error::{CloudError, CloudErrorKind};
pub use host_credentials::{HostCredentials, KeySource, KeysSeen, NoKeys};
pub use reach::{Reached, Step, Unreached, reach};
pub use registry_host::registry_host;

use crate::model::Snapshot;

/// The part of the control plane that the daemon needs. Object-safe; implementations sign in and refresh tokens.
#[async_trait]
pub trait ControlPlane: Send + Sync + fmt::Debug {
    /// One complete snapshot of the app.
    ///
    /// A response with errors or with missing parts is an error: it never counts as a smaller app.
    async fn app(&self) -> Result<Snapshot, CloudError>;

    /// Fresh AWS credentials of the app, for its queue. Callers keep them until shortly before they expire.
    async fn aws_credentials(&self) -> Result<aws_credential_types::Credentials, CloudError>;
}
