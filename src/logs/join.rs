//! Joins chunks of output to log events. Pure: no clock, no I/O.
//!
//! Chunks become lines, separately for each source. Lines become events by the contract: a line that matches
//! [`LOG_EVENT_PATTERN`](crate::reconciler::LOG_EVENT_PATTERN) begins one, other lines belong to the event before. An
//! event ends early when it has the maximum length of CloudWatch, and when [`Joiner::flush`] is called because no
//! output arrived for a while. Each byte that is not UTF-8 becomes U+FFFD. Nothing else is changed. Only the newline at
//! the end of an event and empty lines before its first text are omitted.

use std::collections::VecDeque;

use managed_app_runtimes::LogSource;

use super::event::{EVENT_TEXT_BYTES_MAX, LogEvent, boundary, parts};
use crate::status::Volume;

/// Levels that begin an event in square brackets. A list for speed; a test compares it with the contract's pattern.
const LEVELS: [&[u8]; 5] = [b"INFO]", b"DEBUG]", b"WARNING]", b"ERROR]", b"CRITICAL]"];
/// Bytes of a line that decide whether it begins an event.
const HEAD_BYTES: usize = 10;

/// Joins the output of one container.
///
/// `M` marks positions in the output. Each event has the mark where reading must continue once this event and all
/// before it are delivered.
#[derive(Debug)]
pub struct Joiner<M> {
    /// Incomplete lines, by source.
    open: [Option<Line<M>>; 2],
    event: Option<Pending<M>>,
    ready: VecDeque<LogEvent<M>>,
    /// Number of the last chunk; `mark` is its mark.
    chunks: u64,
    mark: M,
    /// Events begun so far.
    begun: u64,
    /// Empty lines that are in no event yet.
    empty: Volume,
}

/// The start of a line.
#[derive(Debug)]
struct Line<M> {
    at_ms: i64,
    bytes: Vec<u8>,
    /// Whether the start of this long line is already in an event.
    is_rest: bool,
    /// The chunk before its first one.
    before: Boundary<M>,
}

/// An event that may get more lines.
#[derive(Debug)]
struct Pending<M> {
    at_ms: i64,
    bytes: Vec<u8>,
    volume: Volume,
    /// Its last chunk.
    end: Boundary<M>,
}

#[derive(Debug, Clone)]
struct Boundary<M> {
    chunk: u64,
    mark: M,
}

impl<M: Clone> Joiner<M> {
    /// A joiner of output that begins at `mark`.
    pub fn new(mark: M) -> Self {
        Self {
            open: [None, None],
            event: None,
            ready: VecDeque::new(),
            chunks: 0,
            mark,
            begun: 0,
            empty: Volume::default(),
        }
    }

    /// Adds the next chunk: at most one line, read by the engine at `at_ms`. `mark` is the position after it.
    pub fn push(&mut self, at_ms: i64, source: LogSource, bytes: &[u8], mark: M) {
        let before = Boundary { chunk: self.chunks, mark: std::mem::replace(&mut self.mark, mark) };
        self.chunks += 1;
        let index = usize::from(source == LogSource::Stderr);
        let is_whole = bytes.last() == Some(&b'\n');
        match self.open[index].take() {
            None if is_whole => self.line(at_ms, bytes, false, before),
            open => {
                let mut line = open.unwrap_or_else(|| Line { at_ms, bytes: Vec::new(), is_rest: false, before });
                line.bytes.extend_from_slice(bytes);
                if is_whole {
                    self.line(line.at_ms, &line.bytes, line.is_rest, line.before);
                } else {
                    self.keep_open(index, line);
                }
            }
        }
    }

    /// The next complete event.
    pub fn pop(&mut self) -> Option<LogEvent<M>> {
        self.ready.pop_front()
    }

    /// The number of the event that waits for more lines; `None` when none waits.
    pub fn waiting(&self) -> Option<u64> {
        (self.event.is_some() || self.open.iter().any(Option::is_some)).then_some(self.begun)
    }

    /// The time of the oldest output that waits.
    pub fn oldest_ms(&self) -> Option<i64> {
        let open = self.open.iter().flatten().map(|line| line.at_ms);
        open.chain(self.event.as_ref().map(|event| event.at_ms)).min()
    }

    /// Completes all waiting events, also those of incomplete lines.
    pub fn flush(&mut self) {
        for index in 0..self.open.len() {
            if let Some(line) = self.open[index].take() {
                self.line(line.at_ms, &line.bytes, line.is_rest, line.before);
            }
        }
        self.end_event(None);
    }

    /// Splits a line that has reached the maximum length of an event; the remainder continues it.
    fn keep_open(&mut self, index: usize, mut line: Line<M>) {
        while line.bytes.len() >= EVENT_TEXT_BYTES_MAX {
            let rest = line.bytes.split_off(boundary(&line.bytes, EVENT_TEXT_BYTES_MAX).max(1));
            self.line(line.at_ms, &line.bytes, line.is_rest, line.before);
            let before = Boundary { chunk: self.chunks, mark: self.mark.clone() };
            line = Line { at_ms: line.at_ms, bytes: rest, is_rest: true, before };
        }
        self.open[index] = Some(line);
    }

    /// Adds a line with or without its newline, or a part of a long one, that began after `before`.
    fn line(&mut self, at_ms: i64, bytes: &[u8], is_rest: bool, before: Boundary<M>) {
        let text = bytes.strip_suffix(b"\n").unwrap_or(bytes);
        let volume = Volume { lines: u64::from(text.len() < bytes.len()), bytes: bytes.len() as u64 };
        let grown = self.event.as_ref().map_or(0, |event| event.bytes.len() + 1) + text.len();
        if !is_rest && begins_event(text) || grown > EVENT_TEXT_BYTES_MAX {
            self.end_event(Some(before));
        }
        let end = Boundary { chunk: self.chunks, mark: self.mark.clone() };
        match &mut self.event {
            Some(event) => {
                event.bytes.push(b'\n');
                event.bytes.extend_from_slice(text);
                event.volume += volume;
                event.end = end;
            }
            None if text.is_empty() => self.empty += volume,
            None => {
                self.begun += 1;
                let volume = volume + std::mem::take(&mut self.empty);
                self.event = Some(Pending { at_ms, bytes: text.to_vec(), volume, end });
            }
        }
    }

    /// `next` is the boundary before a line that is not in this event.
    fn end_event(&mut self, next: Option<Boundary<M>>) {
        let Some(event) = self.event.take() else { return };
        let mark = self.safe_mark(event.end, next);
        let text = match String::from_utf8(event.bytes) {
            Ok(text) => text,
            Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
        };
        if text.len() <= EVENT_TEXT_BYTES_MAX {
            self.ready.push_back(LogEvent { at_ms: event.at_ms, text, volume: event.volume, mark });
            return;
        }
        // U+FFFD is longer than the byte it stands for.
        let mut volume = event.volume;
        for part in parts(&text, EVENT_TEXT_BYTES_MAX) {
            let volume = std::mem::take(&mut volume);
            self.ready.push_back(LogEvent { at_ms: event.at_ms, text: part.to_owned(), volume, mark: mark.clone() });
        }
    }

    /// The mark of an event's end, or that of the start of a line that is in no event yet, if earlier.
    fn safe_mark(&self, end: Boundary<M>, next: Option<Boundary<M>>) -> M {
        let open = self.open.iter().flatten().map(|line| line.before.clone()).chain(next);
        open.chain([end]).min_by_key(|boundary| boundary.chunk).expect("the chain has `end`").mark
    }
}

/// Whether a line matches the contract's pattern.
fn begins_event(line: &[u8]) -> bool {
    let head = &line[..line.len().min(HEAD_BYTES)];
    head.strip_prefix(b"[").is_some_and(|rest| LEVELS.iter().any(|level| rest.starts_with(level)))
}

#[cfg(test)]
mod tests;
