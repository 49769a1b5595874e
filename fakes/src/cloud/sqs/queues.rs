//! Owns the set of queues behind one cheap handle, and the waits for messages. Knows no HTTP.
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use time::OffsetDateTime;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::error::SqsError;
use super::faults::Faults;
use super::message::{Attribute, Draft};
use super::queue::{Delivery, Moment, Queue};

/// The account that all queues belong to.
pub(super) const ACCOUNT: &str = "123456789012";

/// A message to send, with text attributes only.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outgoing {
    /// The body, not empty.
    pub body: String,
    /// Message attributes of the data type `String`.
    pub attributes: BTreeMap<String, String>,
    /// The message group; messages of one group are delivered in order, one delivery at a time.
    pub group: String,
    /// A message whose id was used within five minutes is treated as the earlier one and dropped.
    pub deduplication_id: String,
}

/// The FIFO queues of one region; a cheap handle that tests and the server share.
///
/// Direct calls on it are never signed, stalled or failed: faults apply only on the wire. Queue URLs are resolved by
/// their last path segment, whatever their host.
#[derive(Clone)]
pub struct FifoQueues(pub(super) Arc<Shared>);

pub(super) struct Shared {
    pub(super) region: String,
    pub(super) faults: Faults,
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Default)]
struct State {
    endpoint: Option<String>,
    queues: HashMap<String, Queue>,
    calls: HashMap<String, usize>,
    waiting: usize,
}

impl fmt::Debug for FifoQueues {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FifoQueues").field("region", &self.0.region).finish_non_exhaustive()
    }
}

impl FifoQueues {
    /// No queues yet, in a region that calls on the wire must be signed for.
    pub fn new(region: &str) -> Self {
        Self(Arc::new(Shared {
            region: region.to_owned(),
            faults: Faults::default(),
            state: Mutex::default(),
            changed: Notify::new(),
        }))
    }

    /// Creates a queue, or finds it, and returns its URL: at the server's endpoint once served, else in AWS's form.
    pub fn create(&self, name: &str) -> String {
        let mut state = self.lock();
        state.queues.entry(name.to_owned()).or_insert_with(|| Queue::new(name, moment()));
        self.url(&state, name)
    }

    /// Creates the queue of an edge, or finds it. Nodes send no deduplication ids, so its messages are deduplicated by
    /// their content.
    pub fn create_edge(&self, name: &str) -> String {
        let url = self.create(name);
        self.with(&url, |queue| queue.content_based_deduplication = true).expect("it was just made");
        url
    }

    /// Deletes a queue; calls that wait on it fail with the error for an unknown queue.
    pub fn delete(&self, url: &str) {
        self.lock().queues.remove(name_of(url));
        self.wake();
    }

    /// Sends a message and returns its id, or the id of the earlier one with the same deduplication id.
    ///
    /// # Panics
    /// When the queue does not exist: a mistake of the test.
    pub fn send(&self, url: &str, message: Outgoing) -> String {
        let attributes = message.attributes.into_iter().map(|(name, text)| (name, Attribute::text(text))).collect();
        let (body, group, deduplication_id) = (message.body, message.group, message.deduplication_id);
        let sent = self.post(url, Draft { body, attributes, group, deduplication_id });
        sent.expect("the queue must exist before a message is sent").0
    }

    /// Number of messages that have not been deleted, in flight or not; 0 for an unknown queue.
    pub fn pending(&self, url: &str) -> usize {
        self.with(url, |queue| queue.pending()).unwrap_or(0)
    }

    /// Number of messages in flight; 0 for an unknown queue.
    pub fn in_flight(&self, url: &str) -> usize {
        self.with(url, |queue| queue.count_in_flight(Instant::now())).unwrap_or(0)
    }

    /// Receives and deletes the next message of a queue, as body and text attributes; waits up to `wait` for one. Also
    /// `None` for an unknown queue.
    pub async fn take(&self, url: &str, wait: Duration) -> Option<Outgoing> {
        let found = self.receive(url, 1, None, wait).await.ok()?.pop()?;
        self.with(url, |queue| queue.delete(&found.receipt, Instant::now())).ok()?.ok()?;
        self.wake();
        let draft = found.message.draft;
        let attributes =
            draft.attributes.into_iter().filter_map(|(name, attribute)| Some((name, attribute.into_text()?)));
        let attributes = attributes.collect();
        Some(Outgoing { body: draft.body, attributes, group: draft.group, deduplication_id: draft.deduplication_id })
    }

    /// Drops all messages of a queue.
    pub fn purge(&self, url: &str) {
        // An unknown queue has no messages.
        let _ = self.with(url, Queue::purge);
    }

    /// Default visibility timeout of received messages; 30 s at first.
    pub fn set_visibility(&self, url: &str, visibility: Duration) {
        let _ = self.with(url, |queue| queue.visibility = visibility);
    }

    /// Number of calls of an operation on the wire, rejected calls included; the name as `ReceiveMessage`.
    pub fn calls(&self, operation: &str) -> usize {
        self.lock().calls.get(operation).copied().unwrap_or(0)
    }

    /// Number of long polls that wait now.
    pub fn waiting(&self) -> usize {
        self.lock().waiting
    }

    /// Responds to the next `count` calls with an error of this status and code.
    pub fn fail_next(&self, count: usize, status: u16, code: &str) {
        self.0.faults.fail_next(count, status, code);
    }

    /// Holds all new calls without a response, until [`Self::release`].
    pub fn stall(&self) {
        self.0.faults.stall(true);
    }

    /// Resumes stalled calls.
    pub fn release(&self) {
        self.0.faults.stall(false);
    }

    /// Reports the next `count` entries of `DeleteMessageBatch` as `Failed` and keeps their messages.
    pub fn fail_next_deletes(&self, count: usize) {
        self.0.faults.fail_next_deletes(count);
    }

    /// Confirms the next `count` deletions, but delivers their messages again at once.
    pub fn redeliver_next(&self, count: usize) {
        self.0.faults.lose_next_deletes(count);
    }

    /// Puts each of the next `count` messages into its queue twice, with two ids, like a late retry of a producer.
    pub fn duplicate_next(&self, count: usize) {
        self.0.faults.double_next_sends(count);
    }

    /// Removes all faults.
    pub fn clear_faults(&self) {
        self.0.faults.clear();
    }

    pub(super) fn post(&self, url: &str, draft: Draft) -> Result<(String, u64), SqsError> {
        let sent = self.with(url, |queue| {
            if self.0.faults.take_doubled_send() {
                queue.append(draft.clone(), moment());
            }
            queue.send(draft, moment())
        });
        self.wake();
        sent
    }

    /// Receives, and waits up to `wait` for the first message when there is none.
    ///
    /// Cancel-safe: a message is received and returned in one step, so a caller that is dropped while it waits takes
    /// none.
    pub(super) async fn receive(
        &self,
        url: &str,
        max: usize,
        visibility: Option<Duration>,
        wait: Duration,
    ) -> Result<Vec<Delivery>, SqsError> {
        let deadline = Instant::now() + wait;
        let _waiting = (!wait.is_zero()).then(|| Waiting::new(self));
        loop {
            let mut changed = pin!(self.0.changed.notified());
            // Register before the check: a message sent in between is not missed.
            changed.as_mut().enable();
            let (found, next_return) = self.with(url, |queue| {
                let visibility = visibility.unwrap_or(queue.visibility);
                let found = queue.receive(max, visibility, moment());
                (found, queue.next_return(Instant::now()))
            })?;
            if !found.is_empty() || Instant::now() >= deadline {
                return Ok(found);
            }
            tokio::select! {
                () = changed => {}
                () = tokio::time::sleep_until(next_return.map_or(deadline, |at| at.min(deadline))) => {}
            }
        }
    }

    /// Runs `act` on a queue under the lock. A caller that makes messages visible must call [`Self::wake`] afterwards.
    pub(super) fn with<T>(&self, url: &str, act: impl FnOnce(&mut Queue) -> T) -> Result<T, SqsError> {
        self.lock().queues.get_mut(name_of(url)).map(act).ok_or_else(SqsError::no_such_queue)
    }

    pub(super) fn wake(&self) {
        self.0.changed.notify_waiters();
    }

    pub(super) fn find_url(&self, name: &str) -> Result<String, SqsError> {
        let state = self.lock();
        if state.queues.contains_key(name) { Ok(self.url(&state, name)) } else { Err(SqsError::no_such_queue()) }
    }

    pub(crate) fn set_endpoint(&self, endpoint: &str) {
        self.lock().endpoint = Some(endpoint.to_owned());
    }

    pub(super) fn count_call(&self, operation: &str) {
        *self.lock().calls.entry(operation.to_owned()).or_default() += 1;
    }

    fn url(&self, state: &State, name: &str) -> String {
        let aws = || format!("https://sqs.{}.amazonaws.com", self.0.region);
        format!("{}/{ACCOUNT}/{name}", state.endpoint.clone().unwrap_or_else(aws))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Counts a long poll while it exists, also when it is dropped.
struct Waiting<'a>(&'a FifoQueues);

impl<'a> Waiting<'a> {
    fn new(queues: &'a FifoQueues) -> Self {
        queues.lock().waiting += 1;
        Self(queues)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.lock().waiting -= 1;
    }
}

pub(super) fn moment() -> Moment {
    Moment { instant: Instant::now(), unix_ms: OffsetDateTime::now_utc().unix_timestamp_nanos() / 1_000_000 }
}

/// The name of the queue in a URL: its last path segment.
pub(crate) fn name_of(url: &str) -> &str {
    url.trim_end_matches('/').rsplit('/').next().unwrap_or(url)
}
