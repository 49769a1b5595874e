//! Counts output and audit records since the daemon started. The clients count, the metrics and the status show.

use std::collections::BTreeMap;
use std::ops::{Add, AddAssign};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::model::NodeName;

/// Numbers of audit records since the daemon started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AuditNumbers {
    /// Whether the tenant enables audit now and has a valid endpoint.
    pub is_on: bool,
    /// Waiting to be sent.
    pub waiting: usize,
    /// Accepted by the endpoint.
    pub sent: u64,
    /// Sent again, counted for each further attempt.
    pub retried: u64,
    /// Lost: the buffer was full, the endpoint refused them, or the daemon ended.
    pub dropped: u64,
}

/// An amount of output. A line is counted at its end; bytes are those of the container, newlines included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Volume {
    /// Lines.
    pub lines: u64,
    /// Bytes.
    pub bytes: u64,
}

impl Volume {
    /// The difference to `other`, at least zero.
    pub fn less(self, other: Self) -> Self {
        let (lines, bytes) = (self.lines.saturating_sub(other.lines), self.bytes.saturating_sub(other.bytes));
        Self { lines, bytes }
    }
}

impl Add for Volume {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { lines: self.lines + other.lines, bytes: self.bytes + other.bytes }
    }
}

impl AddAssign for Volume {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl std::iter::Sum for Volume {
    fn sum<I: Iterator<Item = Self>>(volumes: I) -> Self {
        volumes.fold(Self::default(), Add::add)
    }
}

/// The numbers of one node, counted since the daemon started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct NodeNumbers {
    /// Read from the engine.
    pub read: Volume,
    /// Accepted by CloudWatch.
    pub shipped: Volume,
    /// Sent again because CloudWatch did not accept it; counted each time.
    pub retried: Volume,
    /// Lost: not read when its container was removed, or in memory when the daemon ended.
    pub lost: Volume,
    /// Rejected by CloudWatch: older than 14 days or than the retention of the group, or too far in the future.
    pub rejected: Volume,
    /// How often the engine's log no longer had the position where reading should continue, because the output rotated
    /// away. The number of lines is unknown: engines do not number lines, and to count them the daemon would have to
    /// read output that it cannot ship. Also counts a container that was removed before its log was read to the end.
    pub gaps: u64,
    /// Length of all gaps together: from the last line that was read to the first line that still existed, by the
    /// timestamps of the engine.
    pub gap: Duration,
    /// Age of the oldest output that was read and is not in CloudWatch, seconds; 0 if there is none.
    pub lag_seconds: u64,
}

/// The numbers of all nodes whose output the daemon ships. Cheap to clone; clones share the numbers.
#[derive(Debug, Clone, Default)]
pub struct Numbers(Arc<Mutex<BTreeMap<NodeName, Arc<Mutex<Counts>>>>>);

#[derive(Debug, Default)]
struct Counts {
    numbers: NodeNumbers,
    /// Time of the oldest output of each counter that is not shipped, milliseconds since 1970.
    oldest_ms: BTreeMap<u64, i64>,
    /// Counters created so far.
    counters: u64,
}

/// Updates the numbers of one node. A node has several counters while it has two containers.
#[derive(Debug)]
pub struct Counter {
    counts: Arc<Mutex<Counts>>,
    number: u64,
}

impl Numbers {
    /// The current numbers of each node.
    pub fn snapshot(&self) -> BTreeMap<NodeName, NodeNumbers> {
        let now = now_ms();
        let all = lock(&self.0);
        all.iter().map(|(node, counts)| (node.clone(), lock(counts).at(now))).collect()
    }

    /// A counter of a node. The numbers of a new node begin at zero.
    pub fn counter(&self, node: &NodeName) -> Counter {
        let counts = lock(&self.0).entry(node.clone()).or_default().clone();
        Counter::of(counts)
    }

    /// Removes all nodes for which `is_known` is false.
    pub fn retain(&self, is_known: impl Fn(&NodeName) -> bool) {
        lock(&self.0).retain(|node, _| is_known(node));
    }
}

impl Counts {
    fn at(&self, now_ms: i64) -> NodeNumbers {
        let age = self.oldest_ms.values().min().map_or(0, |oldest| now_ms.saturating_sub(*oldest).max(0) / 1_000);
        NodeNumbers { lag_seconds: age.unsigned_abs(), ..self.numbers }
    }
}

impl Counter {
    fn of(counts: Arc<Mutex<Counts>>) -> Self {
        let number = {
            let mut counts = lock(&counts);
            counts.counters += 1;
            counts.counters
        };
        Self { counts, number }
    }

    /// Another counter of the same node.
    pub fn another(&self) -> Self {
        Self::of(self.counts.clone())
    }

    /// Changes the numbers of the node.
    pub fn count(&self, change: impl FnOnce(&mut NodeNumbers)) {
        change(&mut lock(&self.counts).numbers);
    }

    /// Sets the time of the oldest output that is not shipped; `None` if all is shipped.
    pub fn set_oldest(&self, at_ms: Option<i64>) {
        let mut counts = lock(&self.counts);
        match at_ms {
            Some(at_ms) => counts.oldest_ms.insert(self.number, at_ms),
            None => counts.oldest_ms.remove(&self.number),
        };
    }
}

impl Default for Counter {
    /// A counter without a node.
    fn default() -> Self {
        Self::of(Arc::default())
    }
}

impl Drop for Counter {
    fn drop(&mut self) {
        self.set_oldest(None);
    }
}

/// The host's time, milliseconds since 1970.
pub fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clones_see_the_same_numbers_and_forgotten_nodes_are_gone() {
        let (numbers, node) = (Numbers::default(), NodeName::new("a").expect("a good name"));
        let clone = numbers.clone();
        let (old, new) = (numbers.counter(&node), numbers.counter(&node));
        old.count(|numbers| numbers.read += Volume { lines: 2, bytes: 10 });
        new.count(|numbers| numbers.gaps += 1);
        old.set_oldest(Some(now_ms() - 5_500));
        new.set_oldest(Some(now_ms()));
        let seen = clone.snapshot()[&node];
        assert_eq!((seen.read, seen.gaps), (Volume { lines: 2, bytes: 10 }, 1));
        assert!((5..60).contains(&seen.lag_seconds), "{seen:?}");
        drop((old, new));
        assert_eq!(clone.snapshot()[&node].lag_seconds, 0);
        numbers.retain(|_| false);
        assert!(clone.snapshot().is_empty());
    }
}
