//! Positions in a container's output, and the search for them. Pure.
//!
//! An engine's log has no line numbers; engines only return output from a time on. A position is identified by the last
//! chunk before it: its time, its index among chunks of the same time (Podman's times have whole seconds, which can
//! have many lines), and a digest of its bytes. If the chunk is not found, the engine has rotated it away, and all
//! output that the log has is new.

use managed_app_runtimes::{LogChunk, LogSource};
use serde::{Deserialize, Serialize};
use time::{Duration, OffsetDateTime};

/// Engines read the time of standard output and standard error before they serialise writes, so a chunk may be a little
/// older than the one before it.
const DISORDER_MAX: Duration = Duration::SECOND;

/// A position after a chunk of output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Position {
    /// When the engine read the chunk, nanoseconds since 1970.
    at_ns: i64,
    /// Index among the chunks of this time, from 1.
    index: u32,
    /// Of its source and bytes.
    digest: u64,
}

impl Position {
    /// The position after `chunk`, which followed `before`.
    pub(super) fn after(before: Option<Self>, chunk: &LogChunk) -> Self {
        let at_ns = nanos(chunk.at);
        let index = before.filter(|before| before.at_ns == at_ns).map_or(1, |before| before.index.saturating_add(1));
        Self { at_ns, index, digest: digest(chunk) }
    }

    /// When the engine read the chunk before it.
    pub(super) fn at(&self) -> OffsetDateTime {
        OffsetDateTime::from_unix_timestamp_nanos(i128::from(self.at_ns)).unwrap_or(OffsetDateTime::UNIX_EPOCH)
    }

    /// The time from which output must be requested to include the chunk and all that follow it.
    pub(super) fn since(&self) -> OffsetDateTime {
        self.at() - DISORDER_MAX
    }

    /// Whether `chunk` is older than the position.
    pub(super) fn is_later_than(&self, chunk: &LogChunk) -> bool {
        nanos(chunk.at) < self.at_ns
    }
}

/// Searches a position in the chunks from [`Position::since`] on.
#[derive(Debug)]
pub(super) struct Search {
    target: Position,
    seen: u32,
}

/// Result of the comparison of a chunk with the position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// The position is later.
    NotYet,
    /// The position is after this chunk.
    Here,
    /// The position is no longer in the log.
    Gone,
}

impl Search {
    pub(super) fn new(target: Position) -> Self {
        Self { target, seen: 0 }
    }

    pub(super) fn target(&self) -> Position {
        self.target
    }

    pub(super) fn check(&mut self, chunk: &LogChunk) -> Found {
        let at_ns = nanos(chunk.at);
        if at_ns != self.target.at_ns {
            let latest = self.target.at_ns.saturating_add(DISORDER_MAX.whole_nanoseconds() as i64);
            return if at_ns > latest { Found::Gone } else { Found::NotYet };
        }
        self.seen += 1;
        match self.seen == self.target.index {
            false => Found::NotYet,
            true if digest(chunk) == self.target.digest => Found::Here,
            true => Found::Gone,
        }
    }
}

fn nanos(at: OffsetDateTime) -> i64 {
    i64::try_from(at.unix_timestamp_nanos()).unwrap_or(if at.year() < 1970 { i64::MIN } else { i64::MAX })
}

/// FNV-1a over words of eight bytes: fast, and the same in every version of this program.
fn digest(chunk: &LogChunk) -> u64 {
    const PRIME: u64 = 0x0000_0100_0000_01b3;
    let mix = |digest: u64, word: u64| (digest ^ word).wrapping_mul(PRIME);
    let start = mix(0xcbf2_9ce4_8422_2325, chunk.bytes.len() as u64 * 2 + u64::from(chunk.source == LogSource::Stderr));
    let (words, rest) = chunk.bytes.as_chunks::<8>();
    let digest = words.iter().fold(start, |digest, word| mix(digest.rotate_left(5), u64::from_le_bytes(*word)));
    rest.iter().fold(digest, |digest, byte| mix(digest, u64::from(*byte)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(ns: i64, text: &'static str) -> LogChunk {
        let at = OffsetDateTime::from_unix_timestamp_nanos(i128::from(ns)).expect("a time");
        LogChunk { at, source: LogSource::Stdout, bytes: text.as_bytes().into() }
    }

    /// The position after the first `read` chunks of `log`.
    fn position(log: &[LogChunk], read: usize) -> Position {
        log[..read].iter().fold(None, |before, chunk| Some(Position::after(before, chunk))).expect("something was read")
    }

    /// Number of chunks of `log` up to the position; `None` when it is gone.
    fn found(log: &[LogChunk], wanted: Position) -> Option<usize> {
        let mut search = Search::new(wanted);
        for (number, chunk) in log.iter().enumerate() {
            match search.check(chunk) {
                Found::NotYet => {}
                Found::Here => return Some(number + 1),
                Found::Gone => return None,
            }
        }
        None
    }

    const S: i64 = 1_000_000_000;

    #[test]
    fn a_position_is_found_among_chunks_of_the_same_time() {
        let log = [chunk(S, "a"), chunk(S, "a"), chunk(S, "b"), chunk(S, "a"), chunk(2 * S, "a"), chunk(2 * S, "a")];
        for read in 1..=log.len() {
            assert_eq!(found(&log, position(&log, read)), Some(read));
            let since = position(&log, read).since();
            assert!(log[read..].iter().all(|chunk| chunk.at > since), "all that follows is requested");
        }
    }

    #[test]
    fn a_position_is_found_if_chunks_are_slightly_out_of_order() {
        let log = [chunk(5 * S, "a"), chunk(5 * S + 20, "err"), chunk(5 * S + 10, "out"), chunk(5 * S + 30, "b")];
        for read in 1..=log.len() {
            assert_eq!(found(&log, position(&log, read)), Some(read));
        }
    }

    #[test]
    fn a_position_that_rotated_away_is_gone() {
        let log = [chunk(S, "a"), chunk(S, "b"), chunk(S, "c"), chunk(S, "d"), chunk(9 * S, "e")];
        let wanted = position(&log, 3);
        assert_eq!(found(&log[1..], wanted), None, "another chunk has its index");
        assert_eq!(found(&log[3..], wanted), None);
        assert_eq!(found(&log[4..], wanted), None);
        assert_eq!(found(&[], wanted), None);
    }

    #[test]
    fn source_and_length_count() {
        let mut other = chunk(S, "a");
        other.source = LogSource::Stderr;
        let digests = [digest(&other), digest(&chunk(S, "a")), digest(&chunk(S, "a\0")), digest(&chunk(S, ""))];
        let distinct: std::collections::HashSet<_> = digests.iter().collect();
        assert_eq!(distinct.len(), digests.len());
        assert_eq!(digest(&chunk(S, "a line of sixteen plus")), 8_645_538_947_900_023_964, "it must not change");
    }
}
