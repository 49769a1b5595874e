//! Receives change messages from SQS and converts them to typed changes.
//!
//! [`decode()`] converts a message. [`Changes`] receives, forwards and deletes messages. A message is deleted as soon
//! as it is forwarded, before it takes effect, because later messages of its group wait for the deletion. A change that
//! is lost in a crash is found by the comparison at the next start.

mod decode;
mod delete;
mod probe;
mod receive;
#[cfg(test)]
mod tests;

use time::OffsetDateTime;

pub use decode::{Decoded, decode};
pub use probe::{ProbeError, probe};
pub use receive::Changes;

pub use crate::model::QueueAddress;

use crate::model::Change;

/// Changes that may wait for the reconciler before receiving pauses; the capacity of the channel.
pub const CHANGES_WAITING_MAX: usize = 256;

/// A message to the reconciler.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChangeMessage {
    /// A change. It may be delivered again, also much later.
    Change {
        /// What changed.
        change: Change,
        /// SQS's id of the message, for logs.
        message_id: String,
        /// EchoStream's id, which identifies a message within the tenant.
        tracking_id: Option<String>,
        /// When it was sent, by the cloud's clock.
        sent_at: Option<OffsetDateTime>,
    },
    /// The queue does not exist (any more): read the edge again. Sent repeatedly until the queue exists.
    QueueLost,
}
