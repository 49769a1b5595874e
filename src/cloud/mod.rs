//! The control plane of EchoStream: what the daemon asks of it, and the live client.
//!
//! [`ControlPlane`] is the whole vocabulary. [`EchoStream`] speaks it: `appsync` carries, `session` and `cognito` sign
//! in, `decode` reads. [`AppCredentials`] are the app's AWS credentials for the SDK, [`HostCredentials`] the host's own, and
//! [`Aws`] is how every other module comes to an SDK client. [`AuditTrail`] tells the tenant which messages were taken, if it wants to know.

mod appsync;
mod audit;
mod aws;
pub(crate) mod backoff;
mod cognito;
mod credentials;
mod decode;
mod echostream;
mod endpoints;
mod error;
pub(crate) mod failure;
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
pub(crate) mod text;
pub(crate) mod transport;

use std::fmt;

use async_trait::async_trait;

pub use audit::{AuditNumbers, AuditTrail};
pub use aws::{Aws, AwsOptions};
pub use credentials::AppCredentials;
pub use echostream::{Account, EchoStream};
pub use endpoints::Service;
pub use error::{CloudError, CloudErrorKind};
pub use host_credentials::{HostCredentials, KeySource, KeysSeen, NoKeys};
pub use reach::{Reached, Step, Unreached, reach};
pub use registry_host::registry_host;

use crate::model::Snapshot;

/// The control plane, as far as the daemon needs it. Object-safe; sign-in and token refresh are inside.
#[async_trait]
pub trait ControlPlane: Send + Sync + fmt::Debug {
    /// One whole snapshot of the app.
    ///
    /// An answer with errors, or without what makes a snapshot whole, is an error: it is never taken for a smaller app.
    async fn app(&self) -> Result<Snapshot, CloudError>;

    /// Fresh AWS credentials of the app, for its queue. Callers keep them until shortly before they expire.
    async fn aws_credentials(&self) -> Result<aws_credential_types::Credentials, CloudError>;
}
