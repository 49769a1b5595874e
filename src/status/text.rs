//! Text of others, made harmless for terminals.

/// One line stays one line, and no text steers the terminal: control characters (escape sequences begin with one) and
/// those that turn the direction of writing become spaces.
pub fn sanitize(text: &str) -> String {
    text.chars().map(|c| if c.is_control() || turns_direction(c) { ' ' } else { c }).collect()
}

fn turns_direction(c: char) -> bool {
    matches!(c, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_steers_the_terminal() {
        assert_eq!(sanitize("a\u{1b}[2Jb\r\nc\u{9b}1m\u{7}"), "a [2Jb  c 1m ");
        assert_eq!(sanitize("x\u{202e}gpj.exe\u{2066}"), "x gpj.exe ");
        assert_eq!(sanitize("Füllstand: 3 ☃ 日本"), "Füllstand: 3 ☃ 日本");
    }
}
