//! Text from outside, such as names from the cloud and errors of engines: made safe for terminals and log lines, cut,
//! measured; and errors with their causes. Every layer above the core uses it. Uses no other module.

use std::error::Error;

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Longest excerpt of a text in an error or a log line, columns.
pub const EXCERPT_WIDTH_MAX: usize = 500;

/// Longest text of an error with its causes, columns.
pub const CHAIN_WIDTH_MAX: usize = 1_000;

/// Whether a character can break a line or control the terminal (escape sequences begin with a control character), or is
/// invisible and can change the direction of the text.
pub fn is_unsafe(c: char) -> bool {
    let changes_direction = matches!(c, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}');
    c.is_control() || changes_direction
}

/// The text with a space in place of each unsafe character.
pub fn sanitize(text: &str) -> String {
    cut(text, usize::MAX)
}

/// The sanitized beginning of a text: at most [`EXCERPT_WIDTH_MAX`] columns, then `…` if it is longer.
pub fn excerpt(text: &str) -> String {
    cut(text, EXCERPT_WIDTH_MAX)
}

/// An error with its causes on one sanitized line of at most [`CHAIN_WIDTH_MAX`] columns. Uses `Display` only: the
/// `Debug` form of a client's error may contain a request.
pub fn chain(error: &(dyn Error + 'static)) -> String {
    cut(&managed_app_runtimes::chain(error), CHAIN_WIDTH_MAX)
}

/// Columns of a terminal that a text takes: wide characters take two, combining ones none.
pub fn width(text: &str) -> usize {
    text.width()
}

/// The text with spaces up to this number of columns.
pub fn pad(text: &str, columns: usize) -> String {
    format!("{text}{:1$}", "", columns.saturating_sub(width(text)))
}

fn cut(text: &str, columns_max: usize) -> String {
    let mut left = columns_max;
    let mut sanitized = String::new();
    for c in text.chars().map(|c| if is_unsafe(c) { ' ' } else { c }) {
        // Characters without width count too: a text may consist of them.
        match left.checked_sub(c.width().unwrap_or(0).max(1)) {
            Some(rest) => left = rest,
            None => {
                sanitized.push('…');
                break;
            }
        }
        sanitized.push(c);
    }
    sanitized
}

#[cfg(test)]
mod tests {
    use managed_app_runtimes::{ErrorKind, RuntimeError};

    use super::*;

    #[test]
    fn sanitized_text_cannot_control_the_terminal() {
        assert_eq!(sanitize("a\u{1b}[2Jb\r\nc\u{9b}1m\u{7}"), "a [2Jb  c 1m ");
        assert_eq!(sanitize("x\u{202e}gpj.exe\u{2066}"), "x gpj.exe ");
        assert_eq!(sanitize("Füllstand: 3 ☃ 日本"), "Füllstand: 3 ☃ 日本");
    }

    #[test]
    fn excerpts_are_cut_by_columns() {
        for (text, shown) in [("x", EXCERPT_WIDTH_MAX), ("ä", EXCERPT_WIDTH_MAX), ("日", EXCERPT_WIDTH_MAX / 2)] {
            assert_eq!(excerpt(&text.repeat(shown)), text.repeat(shown));
            let cut = excerpt(&text.repeat(2 * EXCERPT_WIDTH_MAX));
            assert_eq!(cut, format!("{}…", text.repeat(shown)));
            assert_eq!(width(&cut), EXCERPT_WIDTH_MAX + 1);
        }
        assert!(excerpt(&"\u{301}".repeat(100_000)).len() < 4 * EXCERPT_WIDTH_MAX);
    }

    #[test]
    fn columns_are_padded_by_width() {
        assert_eq!(
            ["ab", "日本", "e\u{301}", "abcde"].map(|text| pad(text, 4)),
            ["ab  ", "日本", "e\u{301}   ", "abcde"]
        );
    }

    #[test]
    fn error_is_one_line_with_its_causes() {
        let error = RuntimeError::new(ErrorKind::Other, "stop container", "web").with_source("a\nb\u{202e}");
        assert_eq!(chain(&error), "stop container \"web\": the engine failed: a b ");
        assert_eq!(width(&chain(&std::io::Error::other("x".repeat(5_000)))), CHAIN_WIDTH_MAX + 1);
    }
}
