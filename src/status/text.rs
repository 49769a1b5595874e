//! Sanitizes external text for terminals.

/// Replaces control characters (escape sequences begin with one) and characters that change the writing direction by
/// spaces, so that text cannot break lines or control the terminal.
pub fn sanitize(text: &str) -> String {
    text.chars().map(|c| if c.is_control() || changes_direction(c) { ' ' } else { c }).collect()
}

fn changes_direction(c: char) -> bool {
    matches!(c, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sanitized_text_cannot_control_the_terminal() {
        assert_eq!(sanitize("a\u{1b}[2Jb\r\nc\u{9b}1m\u{7}"), "a [2Jb  c 1m ");
        assert_eq!(sanitize("x\u{202e}gpj.exe\u{2066}"), "x gpj.exe ");
        assert_eq!(sanitize("Füllstand: 3 ☃ 日本"), "Füllstand: 3 ☃ 日本");
    }
}
