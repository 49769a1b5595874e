//! The position of readings in a container's output, and the clock that it depends on.

use std::time::Instant;

use time::{Duration, OffsetDateTime};

use crate::LogChunk;

/// Deviation of a clock between two checks that does not count as a change.
const TOLERANCE: Duration = Duration::milliseconds(50);

/// The last known chunk, and how the next reading continues after it. Pure.
///
/// A reading shows the chunks whose own times are not older than requested; Podman reports whole seconds. So each
/// reading requests the second of the newest chunk, and skips the number of known chunks of that second. After a clock
/// was set back, chunks are older than those before them: then the whole stream is requested again, until one is newer
/// than all before.
#[derive(Debug)]
pub(super) struct LogPosition {
    since: Option<OffsetDateTime>,
    total: usize,
    from: Option<OffsetDateTime>,
    known: usize,
    newest: Option<OffsetDateTime>,
    last: Option<LogChunk>,
}

impl LogPosition {
    /// Starts at the first chunk that is not older than `since`.
    pub(super) fn new(since: Option<OffsetDateTime>) -> Self {
        let since = since.map(|since| since.replace_nanosecond(0).unwrap_or(since));
        Self { since, total: 0, from: since, known: 0, newest: None, last: None }
    }

    /// Start time of the next reading.
    pub(super) fn from(&self) -> Option<OffsetDateTime> {
        self.from
    }

    /// Number of known chunks at the beginning of that reading.
    pub(super) fn known(&self) -> usize {
        self.known
    }

    /// Whether the newest chunk is the last one, and not newer than `until`.
    pub(super) fn is_in_order(&self, until: OffsetDateTime) -> bool {
        self.newest.is_some_and(|newest| newest <= until && self.from == Some(newest))
    }

    /// Whether `chunk` is older than the start of the next reading.
    pub(super) fn is_after(&self, chunk: &LogChunk) -> bool {
        self.from.is_some_and(|from| chunk.at < from)
    }

    /// Whether `chunk` can be one of the known ones, with this number of known chunks after it.
    pub(super) fn knows(&self, chunk: &LogChunk, after: usize) -> bool {
        let is_of_second = self.from == self.since || self.from == Some(chunk.at);
        is_of_second && (after > 0 || self.last.as_ref() == Some(chunk))
    }

    /// Advances past `chunk`.
    pub(super) fn pass(&mut self, chunk: &LogChunk) {
        self.total += 1;
        match self.newest {
            Some(newest) if chunk.at < newest => self.start_over(),
            Some(newest) if chunk.at == newest => self.known += 1,
            _ => (self.newest, self.from, self.known) = (Some(chunk.at), Some(chunk.at), 1),
        }
        self.last = Some(chunk.clone());
    }

    /// The clock was set back to `to`: chunks may be as old as that. `false` when that is older than the stream, which
    /// must then be opened again.
    pub(super) fn set_back(&mut self, to: OffsetDateTime) -> bool {
        self.start_over();
        self.since.is_none_or(|since| since <= to - Duration::SECOND)
    }

    fn start_over(&mut self) {
        (self.from, self.known) = (self.since, self.total);
    }
}

/// Detects that the host's clock was set back.
#[derive(Debug)]
pub(super) struct Clock {
    wall: OffsetDateTime,
    at: Instant,
    set_back: Option<OffsetDateTime>,
}

impl Clock {
    pub(super) fn new() -> Self {
        Self { wall: now(), at: Instant::now(), set_back: None }
    }

    /// Whether the clock was set back since the last [`Clock::take`].
    pub(super) fn check(&mut self) -> bool {
        let (wall, at) = (now(), Instant::now());
        // The time of the current clock at the last check.
        let earlier = wall - at.duration_since(self.at);
        if earlier < self.wall - TOLERANCE {
            self.set_back = Some(self.set_back.map_or(earlier, |before| before.min(earlier)));
        }
        (self.wall, self.at) = (wall, at);
        self.set_back.is_some()
    }

    /// The earliest time to which it was set back, if it was.
    pub(super) fn take(&mut self) -> Option<OffsetDateTime> {
        self.check();
        self.set_back.take()
    }
}

#[cfg(not(test))]
fn now() -> OffsetDateTime {
    OffsetDateTime::now_utc()
}

#[cfg(test)]
fn now() -> OffsetDateTime {
    OffsetDateTime::now_utc() + tests::OFFSET.get()
}

#[cfg(test)]
pub(super) mod tests {
    use std::cell::Cell;

    use bytes::Bytes;

    use super::*;
    use crate::LogSource;

    thread_local! {
        /// Offset of the clock of this thread.
        pub(in crate::podman) static OFFSET: Cell<Duration> = const { Cell::new(Duration::ZERO) };
    }

    fn chunk(second: i64, text: &'static str) -> LogChunk {
        let at = OffsetDateTime::UNIX_EPOCH + Duration::seconds(second);
        LogChunk { at, source: LogSource::Stdout, bytes: Bytes::from_static(text.as_bytes()) }
    }

    /// The result of a reading of `log` without the known chunks; `None` when these do not match.
    fn read(log: &[LogChunk], position: &mut LogPosition) -> Option<usize> {
        let shown: Vec<_> = log.iter().filter(|chunk| position.from().is_none_or(|from| chunk.at >= from)).collect();
        let known = position.known();
        let is_known = |number: usize| shown.get(number).is_some_and(|chunk| position.knows(chunk, known - 1 - number));
        (0..known).all(is_known).then(|| {
            shown[known..].iter().for_each(|chunk| position.pass(chunk));
            shown.len() - known
        })
    }

    #[test]
    fn each_reading_continues_where_the_last_ended() {
        let log = [chunk(5, "a"), chunk(5, "b"), chunk(6, "c"), chunk(6, "c"), chunk(6, "c"), chunk(9, "d")];
        for since in [None, Some(chunk(5, "").at)] {
            let mut position = LogPosition::new(since);
            for count in 0..=log.len() {
                assert_eq!(read(&log[..count], &mut position), Some(count.min(1)), "{count}");
            }
        }
        let mut position = LogPosition::new(None);
        assert_eq!(read(&log[..4], &mut position), Some(4));
        assert_eq!(read(&[chunk(6, "c"), chunk(9, "d")], &mut position), None, "some has rotated away");
        assert_eq!(read(&[chunk(6, "c"), chunk(6, "e")], &mut position), None, "another piece is there");
    }

    #[test]
    fn a_clock_that_is_set_back_hides_nothing() {
        let log = [chunk(105, "a"), chunk(106, "b"), chunk(5, "c"), chunk(6, "d"), chunk(106, "e"), chunk(107, "f")];
        let mut position = LogPosition::new(None);
        assert_eq!(read(&log[..2], &mut position), Some(2));
        assert_eq!(read(&log[..3], &mut position), Some(0), "it is not seen");
        assert!(position.set_back(chunk(5, "").at));
        for count in 3..=log.len() {
            assert_eq!(read(&log[..count], &mut position), Some(1), "{count}");
        }
        assert_eq!((position.from(), position.known()), (Some(chunk(107, "").at), 1), "it asks for little again");
        assert!(!LogPosition::new(Some(chunk(105, "").at)).set_back(chunk(5, "").at));
        assert!(LogPosition::new(Some(chunk(4, "").at)).set_back(chunk(5, "").at));
    }

    #[test]
    fn a_clock_detects_that_it_was_set_back() {
        let mut clock = Clock::new();
        let before = now();
        assert_eq!((clock.check(), clock.take()), (false, None));
        OFFSET.set(Duration::HOUR);
        assert_eq!((clock.check(), clock.take()), (false, None));
        OFFSET.set(-Duration::HOUR);
        assert!(clock.check() && clock.check());
        let to = clock.take().expect("it was set back");
        assert!((before - Duration::HOUR - to).abs() < Duration::MINUTE, "{to}");
        assert_eq!((clock.check(), clock.take()), (false, None));
    }
}
