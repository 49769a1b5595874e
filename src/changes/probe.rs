//! Tests for `check` whether the change queue can be read, with one attempt. Removes no message.

use super::QueueAddress;
use crate::cloud::aws_error::AwsError;
use crate::cloud::{AppCredentials, Aws, CloudError, CloudErrorKind};

/// Why the queue cannot be read.
#[derive(Debug, Clone)]
pub enum ProbeError {
    /// The app's AWS credentials cannot be loaded.
    Credentials(CloudError),
    /// The queue does not exist.
    Lost(String),
    /// The queue, or AWS, refuses the app's credentials.
    Refused(String),
    /// No response, or an invalid one.
    Unavailable(String),
}

/// Receives from `address` without waiting and with a visibility timeout of zero, so that a running daemon still gets
/// the message.
pub async fn probe(aws: &Aws, credentials: &AppCredentials, address: &QueueAddress) -> Result<(), ProbeError> {
    credentials.get().await.map_err(ProbeError::Credentials)?;
    let client = aws.sqs(&address.region, credentials.provider()).await;
    let request = client.receive_message().queue_url(&address.url).max_number_of_messages(1);
    match request.wait_time_seconds(0).visibility_timeout(0).send().await {
        Ok(_) => Ok(()),
        Err(error) => {
            let AwsError { kind, text } = AwsError::of(&error);
            Err(match kind {
                CloudErrorKind::Absent => ProbeError::Lost(text),
                kind if kind.is_passing() => ProbeError::Unavailable(text),
                _ => ProbeError::Refused(text),
            })
        }
    }
}
