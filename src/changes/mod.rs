//! Change messages: SQS long poll to typed changes.
//!
//! [`decode()`] reads a message, [`Changes`] receives, hands over and deletes. A message is deleted as soon as it is handed
//! over, before anything was done about it: later messages of its group wait for that, and what is lost in a crash is
//! found again by comparing at start-up.

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

/// Changes that may wait for the reconciler before receiving pauses; the bound for the channel that takes them.
pub const CHANGES_WAITING_MAX: usize = 256;

/// What receiving tells the reconciler.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChangeMessage {
    /// A change. The same one may come again, also long after.
    Change {
        /// What changed.
        change: Change,
        /// SQS's id of the message, for logs.
        message_id: String,
        /// EchoStream's id, by which a message is followed through the tenant.
        tracking_id: Option<String>,
        /// When it was sent, by the cloud's clock.
        sent_at: Option<OffsetDateTime>,
    },
    /// The queue does not exist (any more): look the edge up again. Repeated while that stays so.
    QueueLost,
}
