//! The receive loop: long poll, decode, forward, delete. One task; spawns nothing.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use aws_sdk_sqs::Client;
use aws_sdk_sqs::types::{Message, MessageSystemAttributeName};
use futures_util::stream::{FuturesUnordered, StreamExt};
use time::OffsetDateTime;
use tokio::sync::{mpsc, watch};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::delete::{BATCH_MAX, delete};
use super::{ChangeMessage, Decoded, QueueAddress, decode};
use crate::cloud::aws_error::AwsError;
use crate::cloud::backoff::Backoff;
use crate::cloud::{AppCredentials, AuditTrail, Aws, CloudErrorKind};
use crate::text::excerpt;

/// Wait time of one poll, seconds; the maximum of SQS.
const POLL_SECONDS: i32 = 20;

/// Messages per poll; the maximum of SQS.
const MESSAGES_MAX: i32 = 10;

/// Visibility timeout of a received message, seconds. The deletion takes milliseconds; after a crash before
/// it, later messages of the group wait this long.
const VISIBILITY_SECONDS: i32 = 10;

/// Delay before a lost queue is polled again, unless its address changes.
const LOST_RETRY: Duration = Duration::from_secs(30);

/// Limit for pending deletions at shutdown.
const DELETION_LIMIT: Duration = Duration::from_secs(1);

/// Receives the change messages of one app.
#[derive(Debug)]
pub struct Changes {
    /// Creates the SQS client.
    pub aws: Arc<Aws>,
    /// The app's credentials.
    pub credentials: AppCredentials,
    /// Name of the app; messages about others are dropped.
    pub app: String,
    /// The queue; `None` while it is unknown.
    pub queue: watch::Receiver<Option<QueueAddress>>,
    /// Receives the changes; its capacity is [`super::CHANGES_WAITING_MAX`].
    pub sender: mpsc::Sender<ChangeMessage>,
    /// Records each message that was forwarded or dropped.
    pub audit: AuditTrail,
}

type Deletions = FuturesUnordered<Pin<Box<dyn Future<Output = ()> + Send>>>;

/// Why the loop over one queue ended.
#[derive(Debug, PartialEq, Eq)]
enum PollEnd {
    /// The address changed.
    AddressChanged,
    /// The receiver of changes is closed.
    ReceiverClosed,
}

impl Changes {
    /// Runs until `shutdown`, then waits for pending deletions for at most one second.
    ///
    /// `shutdown` or a new address drops the current poll; SQS delivers a message that was in transit again.
    pub async fn run(mut self, shutdown: CancellationToken) {
        let mut deletions = Deletions::new();
        // Cancel-safe: all state between polls is in `deletions`.
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = self.run_queues(&mut deletions) => {}
        }
        let pending = timeout(DELETION_LIMIT, async { while deletions.next().await.is_some() {} });
        if pending.await.is_err() {
            tracing::warn!("change messages were not deleted and will be delivered again");
        }
    }

    async fn run_queues(&mut self, deletions: &mut Deletions) {
        loop {
            let address = self.queue.borrow_and_update().clone();
            let end = match address {
                None => {
                    address_changed(&mut self.queue, None).await;
                    PollEnd::AddressChanged
                }
                Some(address) => {
                    tracing::info!(queue = excerpt(&address.url), "receiving changes");
                    self.run_queue(&address, deletions).await
                }
            };
            if end == PollEnd::ReceiverClosed {
                return;
            }
        }
    }

    async fn run_queue(&mut self, address: &QueueAddress, deletions: &mut Deletions) -> PollEnd {
        let client = self.aws.sqs(&address.region, self.credentials.provider()).await;
        let mut queue = self.queue.clone();
        let mut backoff = Backoff::default();
        loop {
            // Both arms only wait. A dropped poll loses nothing: SQS delivers its messages again.
            let received = tokio::select! {
                () = address_changed(&mut queue, Some(address)) => return PollEnd::AddressChanged,
                received = poll(&client, &address.url, deletions) => received,
            };
            let pause = match received {
                Ok(messages) => {
                    backoff.reset();
                    let Some(receipts) = while_deleting(self.forward(messages), deletions).await else {
                        return PollEnd::ReceiverClosed;
                    };
                    for batch in receipts.chunks(BATCH_MAX) {
                        deletions.push(Box::pin(delete(client.clone(), address.url.clone(), batch.to_vec())));
                    }
                    continue;
                }
                Err(error) => match self.handle_failure(&error, &mut backoff).await {
                    Some(pause) => pause,
                    None => return PollEnd::ReceiverClosed,
                },
            };
            tokio::select! {
                () = address_changed(&mut queue, Some(address)) => return PollEnd::AddressChanged,
                () = while_deleting(sleep(pause), deletions) => {}
            }
        }
    }

    /// Forwards all changes. Returns the receipts of the messages to delete, or `None` if the receiver is closed.
    async fn forward(&self, messages: Vec<Message>) -> Option<Vec<String>> {
        let mut receipts = Vec::with_capacity(messages.len());
        for message in messages {
            if let Some(change) = read(&message, &self.app) {
                self.sender.send(change).await.ok()?;
            }
            self.record(&message);
            receipts.extend(message.receipt_handle);
        }
        Some(receipts)
    }

    /// Adds an audit record; a message without an id has none.
    fn record(&self, message: &Message) {
        if let Some(tracking_id) = attribute(message, "trackingId") {
            self.audit.record(tracking_id, previous_tracking_ids(message));
        }
    }

    /// Handles a failure. Returns the delay before the next poll, or `None` if the receiver is closed.
    async fn handle_failure(&self, error: &AwsError, backoff: &mut Backoff) -> Option<Duration> {
        if error.kind == CloudErrorKind::Absent {
            tracing::warn!(error = error.text, "the change queue does not exist");
            self.sender.send(ChangeMessage::QueueLost).await.ok()?;
            return Some(LOST_RETRY);
        }
        let is_first = backoff.failures() == 0;
        let pause = backoff.next(rand::random());
        let is_expired = error.kind == CloudErrorKind::Expired;
        if is_expired {
            self.credentials.expire();
        }
        // Credentials may expire during a poll: with new ones, the next poll starts at once.
        if is_expired && is_first {
            tracing::info!(error = error.text, "the app's AWS credentials were refused and are renewed");
            return Some(Duration::ZERO);
        }
        let delay_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
        tracing::warn!(
            attempt = backoff.failures(),
            delay_ms,
            error = error.text,
            "change messages cannot be received; retrying"
        );
        Some(pause)
    }
}

/// Waits until the address differs. Never returns after the sender is dropped.
async fn address_changed(queue: &mut watch::Receiver<Option<QueueAddress>>, from: Option<&QueueAddress>) {
    if queue.wait_for(|address| address.as_ref() != from).await.is_err() {
        std::future::pending().await
    }
}

/// One long poll; pending deletions continue meanwhile.
async fn poll(client: &Client, queue: &str, deletions: &mut Deletions) -> Result<Vec<Message>, AwsError> {
    let received = client
        .receive_message()
        .queue_url(queue)
        .wait_time_seconds(POLL_SECONDS)
        .max_number_of_messages(MESSAGES_MAX)
        .visibility_timeout(VISIBILITY_SECONDS)
        .message_attribute_names("All")
        .message_system_attribute_names(MessageSystemAttributeName::All)
        // Retries of the SDK have the same id, so that SQS returns the messages of a lost response again at once.
        .receive_request_attempt_id(format!("{:032x}", rand::random::<u128>()))
        .send();
    let received = while_deleting(received, deletions).await.map_err(|error| AwsError::of(&error))?;
    Ok(received.messages.unwrap_or_default())
}

/// Awaits `work` while deletions continue. Cancel-safe if `work` is: deletions stay in their set.
async fn while_deleting<T>(work: impl Future<Output = T>, deletions: &mut Deletions) -> T {
    let mut work = std::pin::pin!(work);
    loop {
        tokio::select! {
            done = &mut work => return done,
            Some(()) = deletions.next(), if !deletions.is_empty() => {}
        }
    }
}

/// Converts a message, or logs why there is nothing to forward and returns `None`.
fn read(message: &Message, app: &str) -> Option<ChangeMessage> {
    let message_id = excerpt(message.message_id().unwrap_or(""));
    match decode(message.body().unwrap_or(""), app) {
        Decoded::Change(change) => {
            tracing::debug!(change = %excerpt(&change.to_string()), message = message_id, "change received");
            Some(ChangeMessage::Change {
                change,
                message_id,
                tracking_id: attribute(message, "trackingId").map(excerpt),
                sent_at: sent_at(message),
            })
        }
        Decoded::Ignored(reason) => {
            tracing::debug!(message = message_id, reason, "change ignored");
            None
        }
        Decoded::Unknown(kind) => {
            tracing::warn!(message = message_id, kind = excerpt(&kind), "change of an unknown type dropped");
            None
        }
        Decoded::Malformed(reason) => {
            // Without its text, which may contain secrets in a configuration.
            let bytes = message.body().map_or(0, str::len);
            tracing::warn!(message = message_id, reason, bytes, "malformed change message dropped");
            None
        }
    }
}

fn attribute<'a>(message: &'a Message, name: &str) -> Option<&'a str> {
    message.message_attributes()?.get(name)?.string_value()
}

/// The ids of the messages that this one originates from; empty if the attribute is missing or invalid.
fn previous_tracking_ids(message: &Message) -> Vec<String> {
    let list = attribute(message, "prevTrackingIds").and_then(|list| serde_json::from_str(list).ok());
    list.unwrap_or_default()
}

fn sent_at(message: &Message) -> Option<OffsetDateTime> {
    let milliseconds: i128 = message.attributes()?.get(&MessageSystemAttributeName::SentTimestamp)?.parse().ok()?;
    OffsetDateTime::from_unix_timestamp_nanos(milliseconds.checked_mul(1_000_000)?).ok()
}
