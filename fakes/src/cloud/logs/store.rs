//! Owns the groups, streams and events. It does not validate batches.
use std::collections::{BTreeMap, HashMap, VecDeque};

use super::batch::LogEvent;
use crate::cloud::faults::Failure;

/// Events kept per stream.
const EVENTS_KEPT: usize = 1_000_000;
const BATCHES_KEPT: usize = 10_000;
const EVENT_BYTES_MAX: usize = 262_144;

/// Content of one `PutLogEvents`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// The region it was signed for.
    pub region: String,
    /// The log group.
    pub group: String,
    /// The stream in the group.
    pub stream: String,
    /// Number of accepted events.
    pub accepted: usize,
    /// Its size as AWS counts it, with 26 bytes for each event.
    pub bytes: usize,
}

#[derive(Debug, Default)]
struct Stream {
    created_ms: i64,
    /// Its number in its group.
    number: usize,
    events: VecDeque<LogEvent>,
}

type Streams = BTreeMap<String, Stream>;

#[derive(Debug)]
pub(super) struct Store {
    pub(super) event_bytes_max: usize,
    /// Offset of the clock that the age of events is compared with.
    pub(super) clock_offset: time::Duration,
    groups: BTreeMap<(String, String), Streams>,
    batches: VecDeque<Batch>,
    calls: HashMap<String, usize>,
}

impl Default for Store {
    fn default() -> Self {
        Self {
            event_bytes_max: EVENT_BYTES_MAX,
            clock_offset: time::Duration::ZERO,
            groups: BTreeMap::new(),
            batches: VecDeque::new(),
            calls: HashMap::new(),
        }
    }
}

impl Store {
    pub(super) fn create_group(&mut self, region: &str, group: &str) {
        self.groups.entry(key(region, group)).or_default();
    }

    pub(super) fn delete_group(&mut self, region: &str, group: &str) {
        self.groups.remove(&key(region, group));
    }

    pub(super) fn create_stream(&mut self, region: &str, group: &str, name: &str, now_ms: i64) -> Result<(), Failure> {
        let streams = self.groups.get_mut(&key(region, group)).ok_or_else(no_group)?;
        if streams.contains_key(name) {
            let message = "The specified log stream already exists";
            return Err(Failure::new(400, "ResourceAlreadyExistsException", message));
        }
        let number = streams.len();
        streams.insert(name.to_owned(), Stream { created_ms: now_ms, number, events: VecDeque::new() });
        Ok(())
    }

    pub(super) fn put(
        &mut self,
        region: &str,
        group: &str,
        name: &str,
        events: Vec<LogEvent>,
        bytes: usize,
    ) -> Result<(), Failure> {
        let streams = self.groups.get_mut(&key(region, group)).ok_or_else(no_group)?;
        let stream = streams.get_mut(name).ok_or_else(no_stream)?;
        let (region, group, name) = (region.to_owned(), group.to_owned(), name.to_owned());
        keep(&mut self.batches, [Batch { region, group, stream: name, accepted: events.len(), bytes }], BATCHES_KEPT);
        keep(&mut stream.events, events, EVENTS_KEPT);
        Ok(())
    }

    pub(super) fn require_group(&self, region: &str, group: &str) -> Result<(), Failure> {
        self.groups.get(&key(region, group)).map(|_| ()).ok_or_else(no_group)
    }

    pub(super) fn groups(&self, region: &str) -> Vec<String> {
        self.groups.keys().filter(|(there, _)| there == region).map(|(_, group)| group.clone()).collect()
    }

    pub(super) fn streams(&self, region: &str, group: &str) -> Vec<String> {
        self.groups.get(&key(region, group)).map(|streams| streams.keys().cloned().collect()).unwrap_or_default()
    }

    pub(super) fn events(&self, region: &str, group: &str) -> Vec<LogEvent> {
        let streams = self.groups.get(&key(region, group));
        let mut streams: Vec<&Stream> = streams.into_iter().flat_map(BTreeMap::values).collect();
        // Events of one millisecond stay in the order of their streams' creation.
        streams.sort_by_key(|stream| stream.created_ms);
        let mut events: Vec<LogEvent> = streams.into_iter().flat_map(|stream| stream.events.iter().cloned()).collect();
        events.sort_by_key(|event| event.timestamp_ms);
        events
    }

    pub(super) fn stream_events(&self, region: &str, group: &str, name: &str) -> Vec<LogEvent> {
        let stream = self.groups.get(&key(region, group)).and_then(|streams| streams.get(name));
        stream.map(|stream| stream.events.iter().cloned().collect()).unwrap_or_default()
    }

    pub(super) fn streams_with_events(&self, region: &str, group: &str) -> Vec<(String, Vec<LogEvent>)> {
        let streams = self.groups.get(&key(region, group));
        let mut streams: Vec<(&String, &Stream)> = streams.into_iter().flatten().collect();
        streams.sort_by_key(|(_, stream)| stream.number);
        let events = |stream: &Stream| stream.events.iter().cloned().collect();
        streams.into_iter().map(|(name, stream)| (name.clone(), events(stream))).collect()
    }

    pub(super) fn batches(&self) -> Vec<Batch> {
        self.batches.iter().cloned().collect()
    }

    pub(super) fn count_call(&mut self, operation: &str) {
        *self.calls.entry(operation.to_owned()).or_default() += 1;
    }

    pub(super) fn calls(&self, operation: &str) -> usize {
        self.calls.get(operation).copied().unwrap_or(0)
    }
}

fn keep<T>(kept: &mut VecDeque<T>, new: impl IntoIterator<Item = T>, most: usize) {
    kept.extend(new);
    let excess = kept.len().saturating_sub(most);
    kept.drain(..excess);
}

fn key(region: &str, group: &str) -> (String, String) {
    (region.to_owned(), group.to_owned())
}

fn no_group() -> Failure {
    Failure::new(400, "ResourceNotFoundException", "The specified log group does not exist.")
}

fn no_stream() -> Failure {
    Failure::new(400, "ResourceNotFoundException", "The specified log stream does not exist.")
}
