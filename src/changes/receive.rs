//! The receiving loop: long poll, decode, hand over, delete. One task; owns no thread and spawns nothing.

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
use crate::cloud::backoff::Backoff;
use crate::cloud::failure::Failure;
use crate::cloud::text::sanitize;
use crate::cloud::{AppCredentials, AuditTrail, Aws};

/// How long one poll waits for a message; the longest that SQS allows, seconds.
const POLL_SECONDS: i32 = 20;

/// Messages taken at a time; the most that SQS allows.
const MESSAGES_MAX: i32 = 10;

/// How long a received message stays hidden unless it is deleted, seconds. Deleting takes milliseconds; after a crash in
/// between, later messages of its group wait that long.
const VISIBILITY_SECONDS: i32 = 10;

/// How long a lost queue is left alone unless a new address comes.
const LOST_RETRY: Duration = Duration::from_secs(30);

/// How long deletions under way are waited for at the end.
const LINGER: Duration = Duration::from_secs(1);

/// Codes with which SQS says that the queue is gone.
pub(super) const LOST_CODES: [&str; 2] = ["QueueDoesNotExist", "AWS.SimpleQueueService.NonExistentQueue"];

/// Codes with which AWS says that the credentials are no longer good, however young they look.
const EXPIRED_CODES: [&str; 6] = [
    "ExpiredToken",
    "ExpiredTokenException",
    "RequestExpired",
    "InvalidClientTokenId",
    "UnrecognizedClientException",
    "InvalidSecurity",
];

/// Receives the change messages of one app.
#[derive(Debug)]
pub struct Changes {
    /// Makes the SQS client.
    pub aws: Arc<Aws>,
    /// The app's credentials.
    pub credentials: AppCredentials,
    /// Name of the app; messages about others are dropped.
    pub app: String,
    /// Where the messages are; `None` while that is not known.
    pub queue: watch::Receiver<Option<QueueAddress>>,
    /// Takes what was received; bounded by [`super::CHANGES_WAITING_MAX`].
    pub sender: mpsc::Sender<ChangeMessage>,
    /// Is told of each message that was handed over or dropped.
    pub audit: AuditTrail,
}

type Deletions = FuturesUnordered<Pin<Box<dyn Future<Output = ()> + Send>>>;

/// Why the loop over one queue ended.
#[derive(Debug, PartialEq, Eq)]
enum End {
    /// The address changed.
    Moved,
    /// Nobody takes changes any more.
    NoTaker,
}

impl Changes {
    /// Runs until `shutdown`, and then ends at once, apart from deletions under way (a second at most).
    ///
    /// A poll is dropped where it stands when `shutdown` or another address comes; a message that was just then on its
    /// way is delivered again by SQS.
    pub async fn run(mut self, shutdown: CancellationToken) {
        let mut deletions = Deletions::new();
        // Cancel-safe: everything that is kept between polls is in `deletions`, outside.
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = self.run_queues(&mut deletions) => {}
        }
        let rest = timeout(LINGER, async { while deletions.next().await.is_some() {} });
        if rest.await.is_err() {
            tracing::warn!("change messages stay in the queue and will come again");
        }
    }

    async fn run_queues(&mut self, deletions: &mut Deletions) {
        loop {
            let address = self.queue.borrow_and_update().clone();
            let end = match address {
                None => {
                    moved(&mut self.queue, None).await;
                    End::Moved
                }
                Some(address) => {
                    tracing::info!(queue = sanitize(&address.url), "receiving changes");
                    self.run_queue(&address, deletions).await
                }
            };
            if end == End::NoTaker {
                return;
            }
        }
    }

    async fn run_queue(&mut self, address: &QueueAddress, deletions: &mut Deletions) -> End {
        let client = self.aws.sqs(&address.region, self.credentials.provider()).await;
        let mut queue = self.queue.clone();
        let mut backoff = Backoff::default();
        loop {
            // Both arms only wait. A poll that is dropped loses nothing: SQS delivers again.
            let received = tokio::select! {
                () = moved(&mut queue, Some(address)) => return End::Moved,
                received = poll(&client, &address.url, deletions) => received,
            };
            let pause = match received {
                Ok(messages) => {
                    backoff.reset();
                    let Some(receipts) = while_deleting(self.hand_over(messages), deletions).await else {
                        return End::NoTaker;
                    };
                    for batch in receipts.chunks(BATCH_MAX) {
                        deletions.push(Box::pin(delete(client.clone(), address.url.clone(), batch.to_vec())));
                    }
                    continue;
                }
                Err(failure) => match self.after(&failure, &mut backoff).await {
                    Some(pause) => pause,
                    None => return End::NoTaker,
                },
            };
            tokio::select! {
                () = moved(&mut queue, Some(address)) => return End::Moved,
                () = while_deleting(sleep(pause), deletions) => {}
            }
        }
    }

    /// Hands all changes over; the receipts of the messages that may be deleted, or `None` when nobody takes them.
    async fn hand_over(&self, messages: Vec<Message>) -> Option<Vec<String>> {
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

    /// For the audit: without an id there is nothing to follow.
    fn record(&self, message: &Message) {
        if let Some(tracking_id) = attribute(message, "trackingId") {
            self.audit.record(tracking_id, previous_tracking_ids(message));
        }
    }

    /// What a failure means for the next try; `None` when nobody wants to know.
    async fn after(&self, failure: &Failure, backoff: &mut Backoff) -> Option<Duration> {
        if LOST_CODES.contains(&failure.code.as_str()) {
            tracing::warn!(error = failure.text, "the queue of changes does not exist");
            self.sender.send(ChangeMessage::QueueLost).await.ok()?;
            return Some(LOST_RETRY);
        }
        let is_first = backoff.failures() == 0;
        let pause = backoff.next(rand::random());
        let is_expired = EXPIRED_CODES.contains(&failure.code.as_str());
        if is_expired {
            self.credentials.expire();
        }
        // Credentials may expire in the middle of a poll: with new ones the next may start at once.
        if is_expired && is_first {
            tracing::info!(error = failure.text, "the app's AWS credentials are renewed early");
            return Some(Duration::ZERO);
        }
        let delay_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
        tracing::warn!(attempt = backoff.failures(), delay_ms, error = failure.text, "could not receive changes");
        Some(pause)
    }
}

/// Waits until the address is another one. A dropped sender means that it never will be.
async fn moved(queue: &mut watch::Receiver<Option<QueueAddress>>, from: Option<&QueueAddress>) {
    if queue.wait_for(|address| address.as_ref() != from).await.is_err() {
        std::future::pending().await
    }
}

/// One long poll; deletions under way go on meanwhile.
async fn poll(client: &Client, queue: &str, deletions: &mut Deletions) -> Result<Vec<Message>, Failure> {
    let received = client
        .receive_message()
        .queue_url(queue)
        .wait_time_seconds(POLL_SECONDS)
        .max_number_of_messages(MESSAGES_MAX)
        .visibility_timeout(VISIBILITY_SECONDS)
        .message_attribute_names("All")
        .message_system_attribute_names(MessageSystemAttributeName::All)
        // The SDK's own retries carry the same id, so that what a lost answer held comes again at once.
        .receive_request_attempt_id(format!("{:032x}", rand::random::<u128>()))
        .send();
    let received = while_deleting(received, deletions).await.map_err(|error| Failure::of(&error))?;
    Ok(received.messages.unwrap_or_default())
}

/// Awaits `work` while deletions go on. Cancel-safe if `work` is: deletions stay in their set.
async fn while_deleting<T>(work: impl Future<Output = T>, deletions: &mut Deletions) -> T {
    let mut work = std::pin::pin!(work);
    loop {
        tokio::select! {
            done = &mut work => return done,
            Some(()) = deletions.next(), if !deletions.is_empty() => {}
        }
    }
}

/// A message as a change, or `None` when there is nothing to hand over, which is logged.
fn read(message: &Message, app: &str) -> Option<ChangeMessage> {
    let message_id = sanitize(message.message_id().unwrap_or(""));
    match decode(message.body().unwrap_or(""), app) {
        Decoded::Change(change) => {
            tracing::debug!(change = %sanitize(&change.to_string()), message = message_id, "change received");
            Some(ChangeMessage::Change {
                change,
                message_id,
                tracking_id: attribute(message, "trackingId").map(sanitize),
                sent_at: sent_at(message),
            })
        }
        Decoded::Ignored(reason) => {
            tracing::debug!(message = message_id, reason, "change ignored");
            None
        }
        Decoded::Unknown(kind) => {
            tracing::warn!(message = message_id, kind = sanitize(&kind), "change of an unknown type dropped");
            None
        }
        Decoded::Malformed(reason) => {
            // Not its text: a configuration in it may hold secrets.
            let bytes = message.body().map_or(0, str::len);
            tracing::warn!(message = message_id, reason, bytes, "malformed change message dropped");
            None
        }
    }
}

fn attribute<'a>(message: &'a Message, name: &str) -> Option<&'a str> {
    message.message_attributes()?.get(name)?.string_value()
}

/// The messages that this one came from; none when the list is missing or is no list of texts.
fn previous_tracking_ids(message: &Message) -> Vec<String> {
    let list = attribute(message, "prevTrackingIds").and_then(|list| serde_json::from_str(list).ok());
    list.unwrap_or_default()
}

fn sent_at(message: &Message) -> Option<OffsetDateTime> {
    let milliseconds: i128 = message.attributes()?.get(&MessageSystemAttributeName::SentTimestamp)?.parse().ok()?;
    OffsetDateTime::from_unix_timestamp_nanos(milliseconds.checked_mul(1_000_000)?).ok()
}
