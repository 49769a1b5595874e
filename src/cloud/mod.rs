//! The control plane of EchoStream: what the daemon asks of it, and the live client.

mod error;

use std::fmt;

use async_trait::async_trait;

pub use error::{CloudError, CloudErrorKind};

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
