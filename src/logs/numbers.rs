//! What became of the output of each node since the daemon started: plain numbers behind a cheap handle.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::clock::now_ms;
use super::event::Volume;
use crate::model::NodeName;

/// The numbers of one node, counted since the daemon started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct NodeNumbers {
    /// Read from the engine.
    pub read: Volume,
    /// Accepted by CloudWatch.
    pub shipped: Volume,
    /// Sent once more because CloudWatch did not take it the first time; counted each time.
    pub retried: Volume,
    /// Known to be lost: in the engine's log when its container was removed, or in memory when the daemon ended.
    pub lost: Volume,
    /// Not taken by CloudWatch for good: older than 14 days or than the group keeps events, or too far ahead.
    pub rejected: Volume,
    /// How often the engine's log no longer had the place where reading was to go on: what was there between has rotated
    /// away. How many lines that were nobody knows: engines number none, and to count them the daemon would have to read
    /// all that it cannot ship. Also a container that was removed before its log was read to the end.
    pub gaps: u64,
    /// How long the output was written that rotated away, all gaps together: from the last line that was read to the
    /// first that was still there, by the times the engine gives them.
    pub gap: Duration,
    /// Age of the oldest output that was read and is not in CloudWatch, seconds. 0 when all is.
    pub lag_seconds: u64,
}

/// The numbers of all nodes whose output the daemon ships. Cheap to clone; all clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Numbers(Arc<Mutex<BTreeMap<NodeName, Arc<Mutex<Counts>>>>>);

#[derive(Debug, Default)]
struct Counts {
    numbers: NodeNumbers,
    /// Time of the oldest output of each counter that is not shipped, milliseconds since 1970.
    oldest_ms: BTreeMap<u64, i64>,
    /// Counters made so far.
    counters: u64,
}

/// Where the numbers of one node are counted. A node may have several: two containers, for a moment.
#[derive(Debug)]
pub struct Counter {
    counts: Arc<Mutex<Counts>>,
    number: u64,
}

impl Numbers {
    /// The numbers of each node as they are now.
    pub fn snapshot(&self) -> BTreeMap<NodeName, NodeNumbers> {
        let now = now_ms();
        let all = lock(&self.0);
        all.iter().map(|(node, counts)| (node.clone(), lock(counts).at(now))).collect()
    }

    /// A counter of a node; its numbers begin at zero when it is new.
    pub fn counter(&self, node: &NodeName) -> Counter {
        let counts = lock(&self.0).entry(node.clone()).or_default().clone();
        Counter::of(counts)
    }

    /// Forgets all nodes but those that `is_known` names.
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

    /// Says from when the oldest output is that is not shipped; `None` when all is.
    pub fn set_oldest(&self, at_ms: Option<i64>) {
        let mut counts = lock(&self.counts);
        match at_ms {
            Some(at_ms) => counts.oldest_ms.insert(self.number, at_ms),
            None => counts.oldest_ms.remove(&self.number),
        };
    }
}

impl Default for Counter {
    /// A counter of nobody.
    fn default() -> Self {
        Self::of(Arc::default())
    }
}

impl Drop for Counter {
    fn drop(&mut self) {
        self.set_oldest(None);
    }
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
