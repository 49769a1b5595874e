//! One log event, and the split of long text into events that CloudWatch accepts. Pure.

use crate::status::Volume;

/// Limit of one event's text, bytes: 256 KiB less the 26 bytes that CloudWatch adds. Since 2025 CloudWatch accepts 1
/// MiB, but not in every region and partition, and a refused batch is worse than a split line.
pub const EVENT_TEXT_BYTES_MAX: usize = 262_144 - EVENT_OVERHEAD_BYTES;
/// Bytes that CloudWatch counts for each event in addition to its text.
pub const EVENT_OVERHEAD_BYTES: usize = 26;

/// One event: a line and its continuation lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogEvent<M> {
    /// When its first line was read, milliseconds since 1970.
    pub at_ms: i64,
    /// The lines without the last newline; never empty.
    pub text: String,
    /// Amount of output in it.
    pub volume: Volume,
    /// Where to continue when this event and all before it are in CloudWatch.
    pub mark: M,
}

impl<M> LogEvent<M> {
    /// The size that CloudWatch counts, bytes.
    pub fn bytes(&self) -> usize {
        self.text.len() + EVENT_OVERHEAD_BYTES
    }
}

impl LogEvent<()> {
    /// An event of one record, such as a line of the daemon's log. An empty text becomes a space, because CloudWatch
    /// refuses empty events.
    pub fn record(at_ms: i64, text: impl Into<String>) -> Self {
        let mut text = text.into();
        let volume = Volume { lines: 1, bytes: text.len() as u64 + 1 };
        if text.is_empty() {
            text.push(' ');
        }
        Self { at_ms, text, volume, mark: () }
    }
}

/// Splits `text` into parts of at most `bytes_max` bytes (at least 4), never inside a character. Yields at least one
/// part.
pub fn parts(text: &str, bytes_max: usize) -> impl Iterator<Item = &str> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest?;
        let (part, after) = text.split_at(text.floor_char_boundary(bytes_max));
        rest = (!after.is_empty()).then_some(after);
        Some(part)
    })
}

/// The index at or before `at` where `bytes` can be split between UTF-8 characters; `at` if the bytes are not UTF-8.
pub(super) fn boundary(bytes: &[u8], at: usize) -> usize {
    let is_start = |byte: u8| byte & 0b1100_0000 != 0b1000_0000;
    if at >= bytes.len() {
        return bytes.len();
    }
    (at.saturating_sub(3)..=at).rev().find(|&index| is_start(bytes[index])).unwrap_or(at)
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
    fn bytes_are_split_between_characters_if_they_are_utf8() {
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
