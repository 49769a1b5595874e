//! Owns the rules of one FIFO queue: order, groups, visibility, receipts, deduplication.
//!
//! Pure: time is an argument, and nothing here waits.
use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use tokio::time::Instant;

use super::error::SqsError;
use super::message::Draft;

/// Deduplication interval of an id.
const DEDUPLICATION: Duration = Duration::from_secs(5 * 60);

/// A message in the queue.
#[derive(Clone, Debug)]
pub(super) struct Stored {
    pub(super) id: String,
    pub(super) sequence: u64,
    pub(super) draft: Draft,
    pub(super) sent_ms: i128,
    pub(super) first_received_ms: i128,
    pub(super) receive_count: u32,
    /// Set while in flight: the time of its return.
    hidden_until: Option<Instant>,
}

impl Stored {
    fn in_flight(&self, now: Instant) -> bool {
        self.hidden_until.is_some_and(|until| until > now)
    }
}

/// A delivery of a message.
#[derive(Clone, Debug)]
pub(super) struct Delivery {
    pub(super) message: Stored,
    pub(super) receipt: String,
}

/// Both clocks: one for waits, one for timestamps (milliseconds since 1970).
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    pub(super) instant: Instant,
    pub(super) unix_ms: i128,
}

/// One FIFO queue.
#[derive(Debug)]
pub(super) struct Queue {
    name: String,
    pub(super) visibility: Duration,
    pub(super) content_based_deduplication: bool,
    pub(super) created_ms: i128,
    messages: Vec<Stored>,
    seen: HashMap<String, (Instant, String, u64)>,
    next_sequence: u64,
}

impl Queue {
    pub(super) fn new(name: &str, now: Moment) -> Self {
        Self {
            name: name.to_owned(),
            visibility: Duration::from_secs(30),
            content_based_deduplication: false,
            created_ms: now.unix_ms,
            messages: Vec::new(),
            seen: HashMap::new(),
            next_sequence: 1,
        }
    }

    /// Appends a message, unless its deduplication id was used recently; returns the id and sequence in both cases.
    pub(super) fn send(&mut self, draft: Draft, now: Moment) -> (String, u64) {
        self.seen.retain(|_, (at, _, _)| now.instant - *at < DEDUPLICATION);
        if let Some((_, id, sequence)) = self.seen.get(&draft.deduplication_id) {
            return (id.clone(), *sequence);
        }
        let deduplication_id = draft.deduplication_id.clone();
        let (id, sequence) = self.append(draft, now);
        self.seen.insert(deduplication_id, (now.instant, id.clone(), sequence));
        (id, sequence)
    }

    /// Appends a message without deduplication: simulates a late retry of a producer.
    pub(super) fn append(&mut self, draft: Draft, now: Moment) -> (String, u64) {
        let sequence = self.next_sequence;
        self.next_sequence += 1;
        let id = message_id();
        self.messages.push(Stored {
            id: id.clone(),
            sequence,
            draft,
            sent_ms: now.unix_ms,
            first_received_ms: 0,
            receive_count: 0,
            hidden_until: None,
        });
        (id, sequence)
    }

    /// Delivers up to `max` messages in order; a group with messages in flight delivers none.
    pub(super) fn receive(&mut self, max: usize, visibility: Duration, now: Moment) -> Vec<Delivery> {
        let locked: BTreeSet<String> = self.in_flight(now.instant).map(|message| message.draft.group.clone()).collect();
        let free = self.messages.iter_mut().filter(|message| !locked.contains(&message.draft.group));
        let mut deliveries = Vec::new();
        for message in free.take(max) {
            message.hidden_until = Some(now.instant + visibility);
            message.receive_count += 1;
            if message.receive_count == 1 {
                message.first_received_ms = now.unix_ms;
            }
            let receipt = receipt::encode(&self.name, &message.id, message.receive_count);
            deliveries.push(Delivery { message: message.clone(), receipt });
        }
        deliveries
    }

    /// Time at which the next message in flight becomes visible again.
    pub(super) fn next_return(&self, now: Instant) -> Option<Instant> {
        self.in_flight(now).filter_map(|message| message.hidden_until).min()
    }

    /// Deletes the message of a receipt. A second deletion succeeds, an expired or foreign receipt does not.
    pub(super) fn delete(&mut self, handle: &str, now: Instant) -> Result<(), SqsError> {
        if let Some(at) = self.position(handle, now)? {
            self.messages.remove(at);
        }
        Ok(())
    }

    /// Makes the message visible again at once, as if the deletion had been lost.
    pub(super) fn delete_in_vain(&mut self, handle: &str, now: Instant) -> Result<(), SqsError> {
        if let Some(at) = self.position(handle, now)? {
            self.messages[at].hidden_until = None;
        }
        Ok(())
    }

    /// Makes a message in flight visible after `visibility` from now; zero makes it visible at once.
    pub(super) fn change_visibility(
        &mut self,
        handle: &str,
        visibility: Duration,
        now: Instant,
    ) -> Result<(), SqsError> {
        let at = self.position(handle, now)?;
        let at = at.ok_or_else(|| SqsError::not_in_flight(handle))?;
        self.messages[at].hidden_until = Some(now + visibility);
        Ok(())
    }

    pub(super) fn purge(&mut self) {
        self.messages.clear();
    }

    /// All messages that have not been deleted, in flight or not.
    pub(super) fn pending(&self) -> usize {
        self.messages.len()
    }

    pub(super) fn count_in_flight(&self, now: Instant) -> usize {
        self.in_flight(now).count()
    }

    fn in_flight(&self, now: Instant) -> impl Iterator<Item = &Stored> {
        self.messages.iter().filter(move |message| message.in_flight(now))
    }

    /// The position of a receipt's message; `None` when it was deleted before.
    fn position(&self, handle: &str, now: Instant) -> Result<Option<usize>, SqsError> {
        let (queue, id, count) = receipt::decode(handle).ok_or_else(|| SqsError::bad_receipt(handle))?;
        if queue != self.name {
            return Err(SqsError::bad_receipt(handle));
        }
        let Some(at) = self.messages.iter().position(|message| message.id == id) else { return Ok(None) };
        let message = &self.messages[at];
        if message.receive_count == count && message.in_flight(now) {
            Ok(Some(at))
        } else {
            Err(SqsError::expired_receipt(handle))
        }
    }
}

/// A random id in the form of a UUID.
fn message_id() -> String {
    let bits: u128 = rand::random();
    let hex = format!("{bits:032x}");
    format!("{}-{}-4{}-a{}-{}", &hex[..8], &hex[8..12], &hex[13..16], &hex[17..20], &hex[20..])
}

/// Receipts contain queue, message and delivery, so that stale or foreign ones are detected.
mod receipt {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;

    pub(super) fn encode(queue: &str, id: &str, count: u32) -> String {
        STANDARD.encode(format!("AQEB|{queue}|{id}|{count}"))
    }

    pub(super) fn decode(handle: &str) -> Option<(String, String, u32)> {
        let text = String::from_utf8(STANDARD.decode(handle).ok()?).ok()?;
        let mut fields = text.strip_prefix("AQEB|")?.split('|');
        let fields = (fields.next()?, fields.next()?, fields.next()?);
        Some((fields.0.to_owned(), fields.1.to_owned(), fields.2.parse().ok()?))
    }
}

#[cfg(test)]
mod tests;
