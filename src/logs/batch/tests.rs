//! Tests of each limit of PutLogEvents, at and above it.

use proptest::prelude::*;

use super::*;

const NOW: i64 = 1_800_000_000_000;
const HOUR_MS: i64 = 3_600_000;

fn event(at_ms: i64, bytes: usize) -> LogEvent<()> {
    LogEvent::record(at_ms, "x".repeat(bytes))
}

/// Sizes of the batches of `events`.
fn sizes(events: impl IntoIterator<Item = LogEvent<()>>) -> Vec<usize> {
    batches(events).iter().map(|batch| batch.events.len()).collect()
}

fn batches(events: impl IntoIterator<Item = LogEvent<()>>) -> Vec<Batch<()>> {
    let mut batcher = Batcher::new(BATCH_BYTES_MAX);
    for event in events {
        batcher.push(event, NOW).expect("it is not too old");
    }
    std::iter::from_fn(|| batcher.pop()).collect()
}

#[test]
fn a_batch_is_full_exactly_at_each_limit() {
    let many = |count: usize| vec![event(NOW, 1); count];
    assert_eq!(sizes(many(10_000)), [10_000]);
    assert_eq!(sizes(many(10_001)), [10_000, 1]);
    let large = |last: usize| [vec![event(NOW, EVENT_TEXT_BYTES_MAX); 3], vec![event(NOW, last)]].concat();
    assert_eq!(sizes(large(EVENT_TEXT_BYTES_MAX)), [4]);
    assert_eq!(batches(large(EVENT_TEXT_BYTES_MAX))[0].bytes, BATCH_BYTES_MAX);
    assert_eq!(sizes([large(EVENT_TEXT_BYTES_MAX), many(1)].concat()), [4, 1]);
    let spanning = |span: i64| [event(NOW - 30 * HOUR_MS, 1), event(NOW - 30 * HOUR_MS + span, 1)];
    assert_eq!(sizes(spanning(24 * HOUR_MS)), [2]);
    assert_eq!(sizes(spanning(24 * HOUR_MS + 1)), [1, 1]);
}

#[test]
fn only_large_steps_back_in_time_start_a_new_batch() {
    let times = |second: i64| {
        let batches = batches([event(NOW - 10_000, 1), event(second, 1)]);
        batches.iter().map(|batch| batch.events.iter().map(|event| event.at_ms - NOW).collect()).collect()
    };
    let found: [Vec<Vec<i64>>; 3] = [times(NOW - 9_000), times(NOW - 12_000), times(NOW - 12_001)];
    assert_eq!(found, [vec![vec![-10_000, -9_000]], vec![vec![-10_000, -10_000]], vec![vec![-10_000], vec![-12_001]]]);
}

#[test]
fn old_events_are_returned_and_future_ones_get_the_time_now() {
    let mut batcher = Batcher::new(BATCH_BYTES_MAX);
    let fortnight = 14 * 24 * HOUR_MS;
    assert!(batcher.push(event(NOW - fortnight, 1), NOW).is_err());
    assert!(batcher.is_empty());
    assert!(batcher.push(event(NOW - fortnight + 60_000, 1), NOW).is_ok());
    assert!(batcher.push(event(NOW + 1, 1), NOW).is_ok());
    let times: Vec<i64> = std::iter::from_fn(|| batcher.pop()).flat_map(|b| b.events).map(|e| e.at_ms).collect();
    assert_eq!(times, [NOW - fortnight + 60_000, NOW]);
}

#[test]
fn an_event_that_is_too_long_becomes_several() {
    let batches = batches([event(NOW, 3 * EVENT_TEXT_BYTES_MAX + 5)]);
    let lengths: Vec<usize> = batches.iter().flat_map(|batch| &batch.events).map(|event| event.text.len()).collect();
    assert_eq!(lengths, [EVENT_TEXT_BYTES_MAX, EVENT_TEXT_BYTES_MAX, EVENT_TEXT_BYTES_MAX, 5]);
    let total: Volume = batches.iter().map(Batch::volume).sum();
    assert_eq!(total, Volume { lines: 1, bytes: 3 * EVENT_TEXT_BYTES_MAX as u64 + 6 });
}

#[test]
fn a_small_batch_limit_still_accepts_the_largest_event() {
    let mut batcher = Batcher::new(1);
    for _ in 0..2 {
        batcher.push(event(NOW, EVENT_TEXT_BYTES_MAX), NOW).expect("it is not too old");
    }
    assert_eq!(batcher.pop_full().map(|batch| batch.events.len()), Some(1));
    assert!(batcher.pop_full().is_none() && !batcher.is_empty());
}

proptest! {
    #[test]
    fn batches_keep_all_limits_all_events_and_their_order(
        events in prop::collection::vec((-40_000_000_i64..4_000_000, prop_oneof![0_usize..99, 200_000_usize..300_000]), 1..60),
        bytes_max in 0_usize..2_000_000,
    ) {
        let mut batcher = Batcher::new(bytes_max);
        let mut wanted = String::new();
        for (number, (offset, bytes)) in events.iter().enumerate() {
            let text = format!("{number}{}", "x".repeat(*bytes));
            wanted.push_str(&text);
            batcher.push(LogEvent::record(NOW + offset, text), NOW).expect("it is not too old");
        }
        let batches: Vec<Batch<()>> = std::iter::from_fn(|| batcher.pop()).collect();
        for batch in &batches {
            prop_assert!((1..=BATCH_EVENTS_MAX).contains(&batch.events.len()));
            prop_assert_eq!(batch.bytes, batch.events.iter().map(LogEvent::bytes).sum::<usize>());
            prop_assert!(batch.bytes <= BATCH_BYTES_MAX);
            prop_assert!(batch.events.is_sorted_by_key(|event| event.at_ms));
            prop_assert!(batch.events[batch.events.len() - 1].at_ms - batch.events[0].at_ms <= SPAN_MAX_MS);
            prop_assert!(batch.events.iter().all(|event| event.at_ms <= NOW));
        }
        let found: String = batches.iter().flat_map(|batch| &batch.events).map(|event| event.text.as_str()).collect();
        prop_assert!(found == wanted);
    }
}
