//! The buffer of lines to ship. Logging never waits: lines that exceed the limit are dropped and counted, and a line in
//! their place has their number. Ships nothing itself.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use time::OffsetDateTime;
use tokio::sync::Notify;

use super::line::{self, Fields};

/// Lines that may wait: hours of an idle daemon, minutes of a busy one at DEBUG.
const LINES_MAX: usize = 20_000;
/// Size of all waiting lines, bytes.
const BYTES_MAX: usize = 8 * 1024 * 1024;

/// One line of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// When it was logged.
    pub at: OffsetDateTime,
    /// The whole line without a newline.
    pub text: String,
}

/// The waiting lines. Cheap to clone; clones share them, and only one may take lines.
#[derive(Clone, Default)]
pub struct Unshipped(Arc<Shared>);

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    filled: Notify,
}

#[derive(Default)]
struct State {
    lines: VecDeque<Line>,
    bytes: usize,
    dropped: (u64, u64),
    /// Dropped lines that no line reports yet.
    dropped_unreported: u64,
}

impl State {
    fn add(&mut self, line: Line) {
        self.bytes += line.text.len();
        self.lines.push_back(line);
    }

    /// Adds a line in the place of dropped lines.
    fn report_dropped(&mut self, now: OffsetDateTime) {
        let count = std::mem::take(&mut self.dropped_unreported);
        if count == 0 {
            return;
        }
        let fields = Fields {
            message:
                "log lines are missing here because CloudWatch accepted none for too long; they are in the log file"
                    .to_owned(),
            rest: format!(" count={count}"),
            critical: false,
        };
        self.add(Line { at: now, text: line::line("WARNING", now, "", &fields) });
    }
}

impl Unshipped {
    /// Adds a line, or drops it if the buffer is full.
    pub fn push(&self, line: Line) {
        let mut state = self.lock();
        if state.lines.len() >= LINES_MAX || state.bytes + line.text.len() > BYTES_MAX {
            state.dropped.0 += 1;
            state.dropped.1 += line.text.len() as u64;
            state.dropped_unreported += 1;
            return;
        }
        state.report_dropped(line.at);
        state.add(line);
        drop(state);
        self.0.filled.notify_one();
    }

    /// Waits until there is a line. Cancel-safe.
    pub async fn filled(&self) {
        while self.lock().lines.is_empty() {
            self.0.filled.notified().await;
        }
    }

    /// Takes the oldest lines, at most `lines_max`.
    pub fn take(&self, lines_max: usize) -> Vec<Line> {
        let mut state = self.lock();
        let count = lines_max.min(state.lines.len());
        let taken: Vec<Line> = state.lines.drain(..count).collect();
        state.bytes -= taken.iter().map(|line| line.text.len()).sum::<usize>();
        if state.lines.is_empty() {
            state.report_dropped(OffsetDateTime::now_utc());
        }
        taken
    }

    /// Number of waiting lines.
    pub fn waiting(&self) -> usize {
        self.lock().lines.len()
    }

    /// Lines dropped since the program started, and their bytes.
    pub fn dropped(&self) -> (u64, u64) {
        self.lock().dropped
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Unshipped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Unshipped").field("waiting", &self.waiting()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> Line {
        Line { at: OffsetDateTime::UNIX_EPOCH, text: text.to_owned() }
    }

    fn texts(lines: &[Line]) -> Vec<&str> {
        lines.iter().map(|line| line.text.as_str()).collect()
    }

    #[tokio::test]
    async fn lines_are_taken_in_order() {
        let lines = Unshipped::default();
        for text in ["a", "b", "c"] {
            lines.push(line(text));
        }
        lines.filled().await;
        assert_eq!(texts(&lines.take(2)), ["a", "b"]);
        assert_eq!((texts(&lines.take(9)), lines.waiting(), lines.dropped()), (vec!["c"], 0, (0, 0)));
    }

    #[test]
    fn a_line_with_their_number_replaces_dropped_lines() {
        let lines = Unshipped::default();
        (0..LINES_MAX + 3).for_each(|_| lines.push(line("x")));
        assert_eq!((lines.waiting(), lines.dropped()), (LINES_MAX, (3, 3)));
        lines.take(10);
        lines.push(line("after"));
        let taken = lines.take(usize::MAX);
        let last = &texts(&taken)[LINES_MAX - 11..];
        assert_eq!((last[0], last[2]), ("x", "after"));
        assert!(last[1].starts_with("[WARNING] ") && last[1].ends_with(" count=3"), "{last:?}");
    }

    #[test]
    fn a_gap_at_the_end_is_reported() {
        let lines = Unshipped::default();
        let large = "x".repeat(BYTES_MAX);
        lines.push(line(&large));
        lines.push(line("missing"));
        assert_eq!(lines.take(1).len(), 1);
        assert!(texts(&lines.take(1))[0].ends_with(" count=1"));
        assert_eq!(lines.take(1), []);
    }
}
