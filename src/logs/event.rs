//! One log event, and how text of any length becomes events that CloudWatch takes. Pure.

use std::ops::{Add, AddAssign};

/// The most bytes of one event's text: 256 KiB less the 26 bytes that CloudWatch adds. Since 2025 it takes 1 MiB, but not
/// in every region and partition, and a refused batch is worse than a cut line.
pub const EVENT_TEXT_BYTES_MAX: usize = 262_144 - EVENT_OVERHEAD_BYTES;
/// What CloudWatch counts for each event besides its text.
pub const EVENT_OVERHEAD_BYTES: usize = 26;

/// An amount of output. A line counts where it ends; bytes are those of the container, newlines included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Volume {
    /// Lines.
    pub lines: u64,
    /// Bytes.
    pub bytes: u64,
}

impl Volume {
    /// The rest of it without `other`; never below nothing.
    pub fn less(self, other: Self) -> Self {
        let (lines, bytes) = (self.lines.saturating_sub(other.lines), self.bytes.saturating_sub(other.bytes));
        Self { lines, bytes }
    }
}

impl Add for Volume {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { lines: self.lines + other.lines, bytes: self.bytes + other.bytes }
    }
}

impl AddAssign for Volume {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl std::iter::Sum for Volume {
    fn sum<I: Iterator<Item = Self>>(volumes: I) -> Self {
        volumes.fold(Self::default(), Add::add)
    }
}

/// One event: a line and those that belong to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogEvent<M> {
    /// When its first line was read, milliseconds since 1970.
    pub at_ms: i64,
    /// The lines without the last newline; never empty.
    pub text: String,
    /// What of the output it stands for.
    pub volume: Volume,
    /// Where to go on when this event and all before it are in CloudWatch.
    pub mark: M,
}

impl<M> LogEvent<M> {
    /// The size that CloudWatch counts, bytes.
    pub fn bytes(&self) -> usize {
        self.text.len() + EVENT_OVERHEAD_BYTES
    }
}

impl LogEvent<()> {
    /// An event that is one record, such as one of the daemon's own log. A text of nothing becomes a space, because
    /// CloudWatch refuses an empty one.
    pub fn record(at_ms: i64, text: impl Into<String>) -> Self {
        let mut text = text.into();
        let volume = Volume { lines: 1, bytes: text.len() as u64 + 1 };
        if text.is_empty() {
            text.push(' ');
        }
        Self { at_ms, text, volume, mark: () }
    }
}

/// Cuts `text` into parts of at most `bytes_max` (at least 4), never inside a character. At least one part.
pub fn parts(text: &str, bytes_max: usize) -> impl Iterator<Item = &str> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest?;
        let (part, after) = text.split_at(text.floor_char_boundary(bytes_max));
        rest = (!after.is_empty()).then_some(after);
        Some(part)
    })
}

/// Where to cut `bytes` at or before `at` so that no UTF-8 character is cut; `at` itself where there is none to keep.
pub(super) fn boundary(bytes: &[u8], at: usize) -> usize {
    let is_start = |byte: u8| byte & 0b1100_0000 != 0b1000_0000;
    if at >= bytes.len() {
        return bytes.len();
    }
    (at.saturating_sub(3)..=at).rev().find(|&place| is_start(bytes[place])).unwrap_or(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_cut_between_characters() {
        let cases: [(&str, usize, &[&str]); 6] = [
            ("", 4, &[""]),
            ("abcd", 4, &["abcd"]),
            ("abcde", 4, &["abcd", "e"]),
            ("aäöü", 4, &["aä", "öü"]),
            ("aaa€", 4, &["aaa", "€"]),
            ("😀😀", 7, &["😀", "😀"]),
        ];
        for (text, most, wanted) in cases {
            assert_eq!(parts(text, most).collect::<Vec<_>>(), wanted, "{text}");
        }
    }

    #[test]
    fn bytes_are_cut_between_characters_where_there_are_any() {
        let cases: [(&[u8], usize, usize); 5] =
            [(b"abc", 2, 2), ("aä".as_bytes(), 2, 1), ("😀".as_bytes(), 3, 0), (b"abc", 9, 3), (&[0x80; 9], 5, 5)];
        for (bytes, at, wanted) in cases {
            assert_eq!(boundary(bytes, at), wanted, "{bytes:?}");
        }
    }

    #[test]
    fn a_record_is_never_empty() {
        assert_eq!((LogEvent::record(1, "").text, LogEvent::record(1, "a").bytes()), (" ".to_owned(), 27));
    }
}
