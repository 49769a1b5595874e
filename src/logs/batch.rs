//! Groups events into batches that `PutLogEvents` accepts. Pure: the caller passes the time.
//!
//! Limits (AWS): 10,000 events, 1,048,576 bytes with 26 for each event, a span of 24 hours, in order of time, no event
//! older than 14 days or more than two hours ahead.

use std::collections::VecDeque;

use super::event::{EVENT_OVERHEAD_BYTES, EVENT_TEXT_BYTES_MAX, LogEvent, parts};
use crate::status::Volume;

/// Events in a batch.
pub const BATCH_EVENTS_MAX: usize = 10_000;
/// Bytes of a batch, as CloudWatch counts them.
pub const BATCH_BYTES_MAX: usize = 1_048_576;
/// Time between the first and the last event of a batch.
const SPAN_MAX_MS: i64 = 24 * 3_600_000;
/// CloudWatch rejects events older than 14 days. One minute less, for the time until the event arrives.
const AGE_MAX_MS: i64 = 14 * 24 * 3_600_000 - 60_000;
/// An event may be earlier than the one before it by this much and keeps its order: engines read the clock before they
/// serialise writes. A larger step means that the clock was set.
const DISORDER_MAX_MS: i64 = 2_000;

/// Events for one `PutLogEvents`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch<M> {
    /// At least one, in order of time.
    pub events: Vec<LogEvent<M>>,
    /// Its size as CloudWatch counts it.
    pub bytes: usize,
}

impl<M> Batch<M> {
    /// Amount of output in it.
    pub fn volume(&self) -> Volume {
        self.events.iter().map(|event| event.volume).sum()
    }

    fn of(event: LogEvent<M>) -> Self {
        Self { bytes: event.bytes(), events: vec![event] }
    }
}

/// Collects events of one stream.
#[derive(Debug)]
pub struct Batcher<M> {
    bytes_max: usize,
    filling: Option<Batch<M>>,
    full: VecDeque<Batch<M>>,
}

impl<M: Clone> Batcher<M> {
    /// A batcher whose batches have at most `bytes_max` bytes, clamped to the range from the largest event to the limit
    /// of CloudWatch.
    pub fn new(bytes_max: usize) -> Self {
        Self { bytes_max: bounded(bytes_max), filling: None, full: VecDeque::new() }
    }

    /// Adds the next event. `now_ms` is the host's time, which replaces the time of an event from the future. Returns
    /// an event that is too old for CloudWatch.
    pub fn push(&mut self, event: LogEvent<M>, now_ms: i64) -> Result<(), LogEvent<M>> {
        if event.at_ms < now_ms - AGE_MAX_MS {
            return Err(event);
        }
        let event = LogEvent { at_ms: event.at_ms.min(now_ms).max(0), ..event };
        if event.text.len() <= EVENT_TEXT_BYTES_MAX {
            self.add(event);
            return Ok(());
        }
        let mut volume = event.volume;
        for part in parts(&event.text, EVENT_TEXT_BYTES_MAX) {
            let (text, volume) = (part.to_owned(), std::mem::take(&mut volume));
            self.add(LogEvent { at_ms: event.at_ms, text, volume, mark: event.mark.clone() });
        }
        Ok(())
    }

    /// The next full batch.
    pub fn pop_full(&mut self) -> Option<Batch<M>> {
        self.full.pop_front()
    }

    /// The next batch, full or not.
    pub fn pop(&mut self) -> Option<Batch<M>> {
        self.full.pop_front().or_else(|| self.filling.take())
    }

    /// Whether there is a full batch.
    pub fn has_full(&self) -> bool {
        !self.full.is_empty()
    }

    /// Sets the limit of later batches, clamped as in [`Batcher::new`].
    pub fn set_bytes_max(&mut self, bytes_max: usize) {
        self.bytes_max = bounded(bytes_max);
    }

    /// The time of the first event in it.
    pub fn oldest_ms(&self) -> Option<i64> {
        self.full.front().or(self.filling.as_ref()).map(|batch| batch.events[0].at_ms)
    }

    /// Whether there is no event in it.
    pub fn is_empty(&self) -> bool {
        self.full.is_empty() && self.filling.is_none()
    }

    fn add(&mut self, mut event: LogEvent<M>) {
        let Some(batch) = &mut self.filling else {
            self.filling = Some(Batch::of(event));
            return;
        };
        let (first, last) = (batch.events[0].at_ms, batch.events[batch.events.len() - 1].at_ms);
        if (1..=DISORDER_MAX_MS).contains(&(last - event.at_ms)) {
            event.at_ms = last;
        }
        let has_room = batch.events.len() < BATCH_EVENTS_MAX && batch.bytes + event.bytes() <= self.bytes_max;
        if has_room && event.at_ms >= last && event.at_ms - first <= SPAN_MAX_MS {
            batch.bytes += event.bytes();
            batch.events.push(event);
        } else {
            self.full.extend(self.filling.replace(Batch::of(event)));
        }
    }
}

/// A batch must have room for the largest event.
fn bounded(bytes_max: usize) -> usize {
    bytes_max.clamp(EVENT_TEXT_BYTES_MAX + EVENT_OVERHEAD_BYTES, BATCH_BYTES_MAX)
}

#[cfg(test)]
mod tests;
