//! From pieces of output to log events. Pure: no clock, no I/O.
//!
//! Pieces become lines, for each source by itself; lines become events as the contract says: a line that matches
//! [`LOG_EVENT_PATTERN`](crate::reconciler::LOG_EVENT_PATTERN) begins one, other lines belong to the one before. An event
//! ends early when it is as long as CloudWatch takes, and when [`Joiner::flush`] is called because nothing came for a
//! while. Bytes that are not UTF-8 become U+FFFD each; nothing else is changed, and nothing is left out but the newline
//! at an event's end and empty lines before its first word.

use std::collections::VecDeque;

use managed_app_runtimes::LogSource;

use super::event::{EVENT_TEXT_BYTES_MAX, LogEvent, Volume, boundary, parts};

/// Levels that begin an event in square brackets. Spelled out for speed; a test compares with the contract's pattern.
const LEVELS: [&[u8]; 5] = [b"INFO]", b"DEBUG]", b"WARNING]", b"ERROR]", b"CRITICAL]"];
/// No more of a line is needed to see whether it begins an event.
const HEAD_BYTES: usize = 10;

/// Joins the output of one container.
///
/// `M` marks places in the output: each event carries the mark from which reading must go on to lose nothing once the
/// event, and all before it, are safe.
#[derive(Debug)]
pub struct Joiner<M> {
    /// Lines without their end, by source.
    open: [Option<Line<M>>; 2],
    event: Option<Pending<M>>,
    ready: VecDeque<LogEvent<M>>,
    /// Number and mark of the last piece.
    pieces: u64,
    mark: M,
    /// Events begun so far.
    begun: u64,
    /// Empty lines that no event carries yet.
    empty: Volume,
}

/// The start of a line.
#[derive(Debug)]
struct Line<M> {
    at_ms: i64,
    bytes: Vec<u8>,
    /// Whether the line's start is in an event already, because the line is long.
    is_rest: bool,
    /// The piece before its first one.
    before: Boundary<M>,
}

/// An event that may get more lines.
#[derive(Debug)]
struct Pending<M> {
    at_ms: i64,
    bytes: Vec<u8>,
    volume: Volume,
    /// Its last piece.
    end: Boundary<M>,
}

#[derive(Debug, Clone)]
struct Boundary<M> {
    piece: u64,
    mark: M,
}

impl<M: Clone> Joiner<M> {
    /// A joiner of output that begins at `mark`.
    pub fn new(mark: M) -> Self {
        Self {
            open: [None, None],
            event: None,
            ready: VecDeque::new(),
            pieces: 0,
            mark,
            begun: 0,
            empty: Volume::default(),
        }
    }

    /// Takes the next piece: at most one line, read by the engine at `at_ms`. `mark` is the place after it.
    pub fn push(&mut self, at_ms: i64, source: LogSource, bytes: &[u8], mark: M) {
        let before = Boundary { piece: self.pieces, mark: std::mem::replace(&mut self.mark, mark) };
        self.pieces += 1;
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

    /// The next event that is complete.
    pub fn pop(&mut self) -> Option<LogEvent<M>> {
        self.ready.pop_front()
    }

    /// A number that stays the same as long as what waits is the same event; `None` when nothing waits.
    pub fn waiting(&self) -> Option<u64> {
        (self.event.is_some() || self.open.iter().any(Option::is_some)).then_some(self.begun)
    }

    /// The time of the oldest output that waits.
    pub fn oldest_ms(&self) -> Option<i64> {
        let open = self.open.iter().flatten().map(|line| line.at_ms);
        open.chain(self.event.as_ref().map(|event| event.at_ms)).min()
    }

    /// Makes events of all that waits, also of lines without an end.
    pub fn flush(&mut self) {
        for index in 0..self.open.len() {
            if let Some(line) = self.open[index].take() {
                self.line(line.at_ms, &line.bytes, line.is_rest, line.before);
            }
        }
        self.end_event(None);
    }

    /// A line that has become as long as an event goes on as the rest of a line.
    fn keep_open(&mut self, index: usize, mut line: Line<M>) {
        while line.bytes.len() >= EVENT_TEXT_BYTES_MAX {
            let rest = line.bytes.split_off(boundary(&line.bytes, EVENT_TEXT_BYTES_MAX).max(1));
            self.line(line.at_ms, &line.bytes, line.is_rest, line.before);
            let before = Boundary { piece: self.pieces, mark: self.mark.clone() };
            line = Line { at_ms: line.at_ms, bytes: rest, is_rest: true, before };
        }
        self.open[index] = Some(line);
    }

    /// Takes a line with or without its newline, or a part of a long one, that began after `before`.
    fn line(&mut self, at_ms: i64, bytes: &[u8], is_rest: bool, before: Boundary<M>) {
        let text = bytes.strip_suffix(b"\n").unwrap_or(bytes);
        let volume = Volume { lines: u64::from(text.len() < bytes.len()), bytes: bytes.len() as u64 };
        let grown = self.event.as_ref().map_or(0, |event| event.bytes.len() + 1) + text.len();
        if !is_rest && begins_event(text) || grown > EVENT_TEXT_BYTES_MAX {
            self.end_event(Some(before));
        }
        let end = Boundary { piece: self.pieces, mark: self.mark.clone() };
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

    /// `next` is the place before a line that will not be in this event.
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

    /// The mark of an event's end, but not beyond the start of a line that is in no event yet.
    fn safe_mark(&self, end: Boundary<M>, next: Option<Boundary<M>>) -> M {
        let open = self.open.iter().flatten().map(|line| line.before.clone()).chain(next);
        open.chain([end]).min_by_key(|place| place.piece).expect("there is the end").mark
    }
}

/// Whether a line matches the contract's pattern.
fn begins_event(line: &[u8]) -> bool {
    let head = &line[..line.len().min(HEAD_BYTES)];
    head.strip_prefix(b"[").is_some_and(|rest| LEVELS.iter().any(|level| rest.starts_with(level)))
}

#[cfg(test)]
mod tests;
