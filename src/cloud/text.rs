//! Sanitises external text for log lines: limits its length and escapes control characters.

use std::error::Error;
use std::fmt::Write;

/// Longest external text in an error or a log line, characters.
pub(crate) const TEXT_MAX: usize = 500;

/// Limit of causes shown of one error.
const CAUSES_MAX: usize = 8;

/// The text with control characters escaped, cut at [`TEXT_MAX`] characters.
pub(crate) fn sanitize(text: &str) -> String {
    let mut sanitized = String::new();
    for character in text.chars().take(TEXT_MAX) {
        if character.is_control() {
            sanitized.extend(character.escape_default());
        } else {
            sanitized.push(character);
        }
    }
    if text.chars().nth(TEXT_MAX).is_some() {
        sanitized.push('…');
    }
    sanitized
}

/// An error with its causes on one line. Uses `Display` only: the `Debug` form of a client's error may contain a
/// request.
pub(crate) fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    for _ in 0..CAUSES_MAX {
        let Some(error) = cause else { break };
        let _ = write!(text, ": {error}");
        cause = error.source();
    }
    sanitize(&text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_cut_and_escaped() {
        assert_eq!(sanitize("a\nb\u{1b}[0m"), "a\\nb\\u{1b}[0m");
        assert_eq!(sanitize(&"x".repeat(TEXT_MAX)).chars().count(), TEXT_MAX);
        assert_eq!(sanitize(&"ä".repeat(TEXT_MAX + 1)).chars().count(), TEXT_MAX + 1);
    }
}
