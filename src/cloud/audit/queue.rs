//! Audit records that wait to be sent: limited in number and bytes, one reader. Adding a record never waits.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use time::OffsetDateTime;
use tokio::sync::Notify;

use crate::status::AuditNumbers;

/// Records that may wait: 2.5 messages per second during an outage of two hours.
pub(super) const WAITING_MAX: usize = 20_000;

/// Size of all waiting records, bytes.
const WAITING_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Size of a record without its texts, in memory and on the wire, bytes; estimated high.
const OVERHEAD: usize = 256;

/// The record of one message.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Record {
    /// When it was handled, by this host's clock.
    pub(super) at: OffsetDateTime,
    /// EchoStream's id of the message.
    pub(super) tracking_id: String,
    /// The ids of the messages that it came from.
    pub(super) previous_tracking_ids: Vec<String>,
    /// The node that sent it.
    pub(super) source_node: String,
}

impl Record {
    fn bytes(&self) -> usize {
        let previous: usize = self.previous_tracking_ids.iter().map(|id| id.len() + 3).sum();
        OVERHEAD + self.tracking_id.len() + self.source_node.len() + previous
    }
}

/// The queue.
#[derive(Default)]
pub(super) struct Queue {
    state: Mutex<State>,
    filled: Notify,
}

#[derive(Default)]
struct State {
    records: VecDeque<Arc<Record>>,
    bytes: usize,
    numbers: AuditNumbers,
    /// Whether the loss of records is logged, until one is kept again.
    is_loss_logged: bool,
}

impl State {
    /// True when this loss is the first one since a record was kept.
    fn count_dropped(&mut self, count: usize) -> bool {
        self.numbers.dropped += count as u64;
        !std::mem::replace(&mut self.is_loss_logged, true)
    }

    fn remove(&mut self, count: usize) {
        let removed: usize = self.records.drain(..count).map(|record| record.bytes()).sum();
        self.bytes -= removed;
    }
}

impl Queue {
    /// Keeps a record, or drops it if the queue is full; true if it is the first one dropped.
    pub(super) fn push(&self, record: Record) -> bool {
        let mut state = self.lock();
        let bytes = record.bytes();
        if state.records.len() >= WAITING_MAX || state.bytes + bytes > WAITING_BYTES_MAX {
            return state.count_dropped(1);
        }
        state.is_loss_logged = false;
        state.bytes += bytes;
        state.records.push_back(Arc::new(record));
        drop(state);
        self.filled.notify_one();
        false
    }

    /// Counts a record that has no endpoint; true if it is the first one dropped.
    pub(super) fn drop_unsendable(&self) -> bool {
        self.lock().count_dropped(1)
    }

    /// Waits until there is a record. Cancel-safe.
    pub(super) async fn filled(&self) {
        while self.lock().records.is_empty() {
            self.filled.notified().await;
        }
    }

    /// The oldest records, without removing them: at most `count_max` and about `bytes_max`, but at least one if any.
    pub(super) fn front(&self, count_max: usize, bytes_max: usize) -> Vec<Arc<Record>> {
        let state = self.lock();
        let mut bytes = 0;
        let fits = |record: &&Arc<Record>| {
            let is_first = bytes == 0;
            bytes += record.bytes();
            is_first || bytes <= bytes_max
        };
        state.records.iter().take(count_max).take_while(fits).cloned().collect()
    }

    /// The oldest `count` were accepted.
    pub(super) fn accepted(&self, count: usize) {
        let mut state = self.lock();
        state.remove(count);
        state.numbers.sent += count as u64;
    }

    /// The oldest `count` must be sent again.
    pub(super) fn retried(&self, count: usize) {
        self.lock().numbers.retried += count as u64;
    }

    /// The oldest `count` are dropped.
    pub(super) fn refused(&self, count: usize) {
        let mut state = self.lock();
        state.remove(count);
        state.numbers.dropped += count as u64;
    }

    /// Drops all waiting records; returns their number.
    pub(super) fn drop_all(&self) -> usize {
        let count = self.lock().records.len();
        self.refused(count);
        count
    }

    pub(super) fn numbers(&self) -> AuditNumbers {
        let state = self.lock();
        AuditNumbers { waiting: state.records.len(), ..state.numbers }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(tracking_id: &str) -> Record {
        let (at, source_node) = (OffsetDateTime::UNIX_EPOCH, "router".to_owned());
        Record { at, tracking_id: tracking_id.to_owned(), previous_tracking_ids: vec![], source_node }
    }

    fn ids(records: &[Arc<Record>]) -> Vec<&str> {
        records.iter().map(|record| record.tracking_id.as_str()).collect()
    }

    #[test]
    fn records_leave_in_order_and_only_when_accepted_or_refused() {
        let queue = Queue::default();
        for id in ["a", "b", "c"] {
            assert!(!queue.push(record(id)));
        }
        assert_eq!(ids(&queue.front(2, usize::MAX)), ["a", "b"]);
        assert_eq!(ids(&queue.front(2, 1)), ["a"], "one record is returned, also a large one");
        queue.accepted(1);
        queue.retried(1);
        queue.refused(1);
        assert_eq!(ids(&queue.front(2, usize::MAX)), ["c"]);
        let numbers = AuditNumbers { is_on: false, waiting: 1, sent: 1, retried: 1, dropped: 1 };
        assert_eq!(queue.numbers(), numbers);
        assert_eq!(queue.drop_all(), 1);
        assert_eq!(queue.numbers(), AuditNumbers { waiting: 0, dropped: 2, ..numbers });
    }

    #[test]
    fn records_over_the_limit_are_dropped_and_reported_once() {
        let queue = Queue::default();
        for _ in 0..WAITING_MAX {
            assert!(!queue.push(record("id")));
        }
        assert!(queue.push(record("too many")));
        assert!(!queue.push(record("too many")));
        assert_eq!((queue.numbers().waiting, queue.numbers().dropped), (WAITING_MAX, 2));
        queue.accepted(1);
        assert!(!queue.push(record("fits")));
        assert!(queue.push(record("too many again")));
    }

    #[test]
    fn large_records_are_bounded_by_their_bytes() {
        let queue = Queue::default();
        let large = "x".repeat(WAITING_BYTES_MAX / 3);
        assert!(!queue.push(record(&large)));
        assert!(!queue.push(record(&large)));
        assert!(queue.push(record(&large)));
        assert!(!queue.push(record("a small one fits")));
        assert_eq!(queue.front(9, 1_000).len(), 1);
    }
}
