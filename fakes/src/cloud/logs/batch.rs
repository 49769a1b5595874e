//! Owns the limits of a `PutLogEvents` batch and the check of its timestamps. Pure; stores nothing.
use std::ops::Range;

use serde_json::{Value as Json, json};

use crate::cloud::awsjson::invalid;
use crate::cloud::faults::Failure;

const EVENTS_MAX: usize = 10_000;
const BATCH_BYTES_MAX: usize = 1_048_576;
/// Bytes that AWS adds to each event's text.
const EVENT_OVERHEAD_BYTES: usize = 26;
const HOUR_MS: i64 = 60 * 60 * 1000;
const SPAN_MAX_MS: i64 = 24 * HOUR_MS;
const AGE_MAX_MS: i64 = 14 * 24 * HOUR_MS;
const AHEAD_MAX_MS: i64 = 2 * HOUR_MS;

/// A log event as it was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogEvent {
    /// Milliseconds since 1970.
    pub timestamp_ms: i64,
    /// The text, possibly several lines.
    pub message: String,
}

pub(super) fn parse(json: &Json) -> Result<Vec<LogEvent>, Failure> {
    let list = json.as_array().ok_or_else(|| invalid("Value at 'logEvents' must not be null"))?;
    list.iter().map(|event| parse_one(event).ok_or_else(|| invalid("a member of 'logEvents' is not valid"))).collect()
}

fn parse_one(json: &Json) -> Option<LogEvent> {
    let timestamp_ms = json["timestamp"].as_i64().filter(|timestamp| *timestamp >= 0)?;
    let message = json["message"].as_str().filter(|message| !message.is_empty())?;
    Some(LogEvent { timestamp_ms, message: message.to_owned() })
}

/// Checks all reasons for which AWS rejects a whole batch, and returns the batch's size in bytes.
pub(super) fn check(events: &[LogEvent], event_bytes_max: usize) -> Result<usize, Failure> {
    let (Some(first), Some(last)) = (events.first(), events.last()) else {
        return Err(invalid("Value '[]' at 'logEvents' must have length greater than or equal to 1"));
    };
    if events.len() > EVENTS_MAX {
        return Err(invalid("Value at 'logEvents' must have length less than or equal to 10000"));
    }
    if !events.is_sorted_by_key(|event| event.timestamp_ms) {
        return Err(invalid("Log events in a single PutLogEvents request must be in chronological order."));
    }
    if last.timestamp_ms - first.timestamp_ms > SPAN_MAX_MS {
        return Err(invalid(
            "The batch of log events in a single PutLogEvents request cannot span more than 24 hours.",
        ));
    }
    let size = |event: &LogEvent| event.message.len() + EVENT_OVERHEAD_BYTES;
    if let Some(bytes) = events.iter().map(size).find(|bytes| *bytes > event_bytes_max) {
        return Err(invalid(format!("Log event too large: {bytes} bytes exceeds limit of {event_bytes_max}")));
    }
    let bytes = events.iter().map(size).sum();
    if bytes > BATCH_BYTES_MAX {
        return Err(invalid(format!("Upload too large: {bytes} bytes exceeds limit of {BATCH_BYTES_MAX}")));
    }
    Ok(bytes)
}

/// The accepted events of an ordered batch: those before are too old, those after too new.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    old_end: usize,
    new_start: usize,
    count: usize,
}

impl Verdict {
    pub(super) fn accepted(&self) -> Range<usize> {
        self.old_end..self.new_start
    }

    /// `rejectedLogEventsInfo`, if events are rejected: the end of the old ones is exclusive, the start of the new
    /// inclusive.
    pub(super) fn rejected(&self) -> Option<Json> {
        let mut json = json!({});
        if self.old_end > 0 {
            json["tooOldLogEventEndIndex"] = json!(self.old_end);
        }
        if self.new_start < self.count {
            json["tooNewLogEventStartIndex"] = json!(self.new_start);
        }
        json.as_object().is_some_and(|fields| !fields.is_empty()).then_some(json)
    }
}

/// Checks the events of a valid batch by their age at `now_ms`.
pub(super) fn check_age(events: &[LogEvent], now_ms: i64) -> Verdict {
    let old_end = events.partition_point(|event| event.timestamp_ms < now_ms - AGE_MAX_MS);
    let new_start = events.partition_point(|event| event.timestamp_ms <= now_ms + AHEAD_MAX_MS);
    Verdict { old_end, new_start, count: events.len() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_800_000_000_000;

    fn event(timestamp_ms: i64, bytes: usize) -> LogEvent {
        LogEvent { timestamp_ms, message: "x".repeat(bytes) }
    }

    fn refusal(events: &[LogEvent]) -> Option<String> {
        check(events, 262_144).err().map(|failure| failure.message)
    }

    #[test]
    fn a_batch_is_accepted_up_to_each_limit() {
        let many = |count: usize| vec![event(NOW, 1); count];
        let sized = |last: usize| vec![event(NOW, 262_118), event(NOW, 262_118), event(NOW, 262_118), event(NOW, last)];
        let spanning = |span: i64| vec![event(NOW, 1), event(NOW + span, 1)];
        let cases = [
            (many(10_000), None),
            (many(10_001), Some("less than or equal to 10000")),
            (many(0), Some("greater than or equal to 1")),
            (sized(262_118), None),
            ([sized(262_118), many(1)].concat(), Some("Upload too large: 1048603")),
            (sized(262_119), Some("Log event too large: 262145")),
            (spanning(SPAN_MAX_MS), None),
            (spanning(SPAN_MAX_MS + 1), Some("24 hours")),
            (spanning(-1), Some("chronological")),
        ];
        for (number, (events, expected)) in cases.iter().enumerate() {
            match (refusal(events), expected) {
                (None, None) => {}
                (Some(message), Some(part)) if message.contains(part) => {}
                (got, _) => panic!("case {number}: {got:?} instead of {expected:?}"),
            }
        }
    }

    #[test]
    fn old_and_new_events_are_rejected_by_index() {
        let old = NOW - AGE_MAX_MS;
        let new = NOW + AHEAD_MAX_MS;
        let times = |times: &[i64]| times.iter().map(|time| event(*time, 1)).collect::<Vec<_>>();
        let verdict = check_age(&times(&[old - 2, old - 1, old, NOW, new, new + 1]), NOW);
        assert_eq!(verdict.accepted(), 2..5);
        assert_eq!(verdict.rejected(), Some(json!({"tooOldLogEventEndIndex": 2, "tooNewLogEventStartIndex": 5})));
        let verdict = check_age(&times(&[old, new]), NOW);
        assert_eq!((verdict.accepted(), verdict.rejected()), (0..2, None));
        assert_eq!(check_age(&times(&[old - 1]), NOW).accepted(), 1..1);
        assert_eq!(check_age(&times(&[new + 1]), NOW).accepted(), 0..0);
    }
}
