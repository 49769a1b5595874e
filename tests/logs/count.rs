//! The arrived output of a counting node: its amount so far, and whether every number arrived once and in order.

use std::ops::Range;

use managed_app_fakes::FakeCloud;
use managed_app_fakes::cloud::logs::LogEvent;

/// Lines per event of the node.
pub const LINES_OF_AN_EVENT: usize = 10;

/// The arrived numbers.
#[derive(Debug)]
pub struct Count {
    /// The numbers of each stream, ordered by the first number.
    pub ranges: Vec<Range<usize>>,
    /// Count of numbers in two streams.
    pub doubles: usize,
    /// Count of pairs of streams that share numbers.
    pub overlaps: usize,
}

/// Number of events of a node that CloudWatch accepted so far.
pub fn events(cloud: &FakeCloud, node: &str) -> usize {
    let group = cloud.node_log_group(node);
    let batches = cloud.cloudwatch.batches();
    batches.iter().filter(|batch| batch.group == group).map(|batch| batch.accepted).sum()
}

/// Number of events in the largest batch of a node.
pub fn largest_batch(cloud: &FakeCloud, node: &str) -> usize {
    let group = cloud.node_log_group(node);
    let batches = cloud.cloudwatch.batches();
    batches.iter().filter(|batch| batch.group == group).map(|batch| batch.accepted).max().unwrap_or(0)
}

/// Whether the last number has arrived.
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
/// If a stream has numbers out of order or with gaps, or if a number of 1 to `last` is missing.
pub fn count(cloud: &FakeCloud, node: &str, last: usize) -> Count {
    let (region, group) = (cloud.world().tenant.region.clone(), cloud.node_log_group(node));
    let streams = cloud.cloudwatch.streams_with_events(&region, &group);
    let ranges = streams.iter().filter_map(|(stream, events)| range_of(stream, events));
    let mut ranges: Vec<Range<usize>> = ranges.collect();
    ranges.sort_by_key(|range| (range.start, range.end));
    let (mut next, mut doubles, mut overlaps) = (1, 0, 0);
    for range in &ranges {
        assert!(range.start <= next, "{next} to {} are lost; ranges {ranges:?}", range.start - 1);
        let double = next.min(range.end) - range.start;
        doubles += double;
        overlaps += usize::from(double > 0);
        next = next.max(range.end);
    }
    assert_eq!(next, last + 1, "the end is lost; ranges {ranges:?}");
    Count { ranges, doubles, overlaps }
}

/// The numbers of one stream, which must be consecutive; `None` without numbers.
fn range_of(stream: &str, events: &[LogEvent]) -> Option<Range<usize>> {
    assert!(events.is_sorted_by_key(|event| event.timestamp_ms), "{stream} is out of order");
    let mut found: Option<Range<usize>> = None;
    for line in events.iter().flat_map(|event| event.message.lines()) {
        let text = line.strip_prefix("[INFO] ").unwrap_or(line);
        let Some(number) = text.strip_prefix("number ") else { continue };
        let number: usize = number.parse().unwrap_or_else(|_| panic!("{stream}: a broken line {line:?}"));
        let is_head = number % LINES_OF_AN_EVENT == 1;
        assert_eq!(is_head, line.starts_with('['), "{stream}: {line:?}");
        let range = found.get_or_insert(number..number);
        assert_eq!(number, range.end, "{stream}: {number} comes after {}", range.end - 1);
        range.end += 1;
    }
    found
}
