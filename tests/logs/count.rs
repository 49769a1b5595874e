//! What has come of a node that counts: how much so far, and whether every number is there, once and in order.

use std::ops::Range;

use managed_app_fakes::FakeCloud;
use managed_app_fakes::cloud::logs::LogEvent;

/// How many lines of one event the node prints.
pub const LINES_OF_AN_EVENT: usize = 10;

/// What there is of the numbers.
#[derive(Debug)]
pub struct Count {
    /// For each stream with numbers, those that are in it, by their first one.
    pub stretches: Vec<Range<usize>>,
    /// Numbers that are in two streams.
    pub doubles: usize,
    /// Pairs of streams that share numbers.
    pub overlaps: usize,
}

/// Events of a node that CloudWatch has taken so far.
pub fn events(cloud: &FakeCloud, node: &str) -> usize {
    let group = cloud.node_log_group(node);
    let batches = cloud.cloudwatch.batches();
    batches.iter().filter(|batch| batch.group == group).map(|batch| batch.accepted).sum()
}

/// Events of the largest batch of a node.
pub fn largest_batch(cloud: &FakeCloud, node: &str) -> usize {
    let group = cloud.node_log_group(node);
    let batches = cloud.cloudwatch.batches();
    batches.iter().filter(|batch| batch.group == group).map(|batch| batch.accepted).max().unwrap_or(0)
}

/// Whether the last number has come.
pub fn has(cloud: &FakeCloud, node: &str, last: usize) -> bool {
    let (region, group) = (cloud.world().tenant.region.clone(), cloud.node_log_group(node));
    let wanted = format!("number {last}");
    let streams = cloud.cloudwatch.streams_with_events(&region, &group);
    streams
        .iter()
        .any(|(_, events)| events.iter().rev().take(3).any(|event| event.message.lines().any(|line| line == wanted)))
}

/// Reads all streams of a node.
///
/// # Panics
/// When a stream has a number out of order or leaves one out, or when one of 1 to `last` is in no stream.
pub fn count(cloud: &FakeCloud, node: &str, last: usize) -> Count {
    let (region, group) = (cloud.world().tenant.region.clone(), cloud.node_log_group(node));
    let streams = cloud.cloudwatch.streams_with_events(&region, &group);
    let stretches = streams.iter().filter_map(|(stream, events)| stretch(stream, events));
    let mut stretches: Vec<Range<usize>> = stretches.collect();
    stretches.sort_by_key(|stretch| (stretch.start, stretch.end));
    let (mut next, mut doubles, mut overlaps) = (1, 0, 0);
    for stretch in &stretches {
        assert!(stretch.start <= next, "{next} to {} are lost; stretches {stretches:?}", stretch.start - 1);
        let double = next.min(stretch.end) - stretch.start;
        doubles += double;
        overlaps += usize::from(double > 0);
        next = next.max(stretch.end);
    }
    assert_eq!(next, last + 1, "the end is lost; stretches {stretches:?}");
    Count { stretches, doubles, overlaps }
}

/// The numbers of one stream, which must follow one another; `None` when there are none.
fn stretch(stream: &str, events: &[LogEvent]) -> Option<Range<usize>> {
    assert!(events.is_sorted_by_key(|event| event.timestamp_ms), "{stream} is out of order");
    let mut stretch: Option<Range<usize>> = None;
    for line in events.iter().flat_map(|event| event.message.lines()) {
        let text = line.strip_prefix("[INFO] ").unwrap_or(line);
        let Some(number) = text.strip_prefix("number ") else { continue };
        let number: usize = number.parse().unwrap_or_else(|_| panic!("{stream}: a broken line {line:?}"));
        let is_head = number % LINES_OF_AN_EVENT == 1;
        assert_eq!(is_head, line.starts_with('['), "{stream}: {line:?}");
        let range = stretch.get_or_insert(number..number);
        assert_eq!(number, range.end, "{stream}: {number} comes after {}", range.end - 1);
        range.end += 1;
    }
    stretch
}
