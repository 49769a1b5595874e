//! Parses the text of a systemd EnvironmentFile. Pure: opens no file and expands no variables. Errors never contain the
//! content of a line, because it may be a password.
//!
//! The syntax is that of systemd (`systemd.exec(5)`, EnvironmentFile=): `NAME=value` lines. Blank lines and lines that
//! begin with `#` or `;` are skipped. A backslash escapes the next character and joins lines. Single quotes keep all
//! characters, also over several lines. In double quotes a backslash is special before `"`, `\`, `` ` ``, `$` and a line
//! end. White space around names and unquoted values is removed. The last of several lines with one name counts.
//!
//! systemd warns about invalid lines and ignores them. Here they are errors, because the daemon would start with wrong
//! settings.

use std::fmt;
use std::iter::Peekable;
use std::str::Chars;

/// One assignment of an environment file.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Entry {
    /// Name of the variable: a letter or `_`, then letters, digits and `_`.
    pub(super) name: String,
    /// Its value, unquoted; may be a secret.
    pub(super) value: String,
    /// Line of the name, from 1.
    pub(super) line: usize,
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Entry({}, line {})", self.name, self.line)
    }
}

/// A line that is not an assignment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SyntaxError {
    /// Line at which the assignment begins, from 1.
    pub(super) line: usize,
    /// The reason, without the line's content.
    pub(super) reason: &'static str,
}

/// Parses `text`. Entries are in the order of the file; all syntax errors are returned.
pub(super) fn parse(text: &str) -> (Vec<Entry>, Vec<SyntaxError>) {
    let mut reader = Reader { rest: text.chars().peekable(), line: 1 };
    let (mut entries, mut errors) = (Vec::new(), Vec::new());
    while let Some(line) = reader.find_assignment() {
        match reader.assignment() {
            Ok((name, value)) => entries.push(Entry { name, value, line }),
            Err(reason) => errors.push(SyntaxError { line, reason }),
        }
    }
    (entries, errors)
}

struct Reader<'a> {
    rest: Peekable<Chars<'a>>,
    line: usize,
}

impl Reader<'_> {
    fn next(&mut self) -> Option<char> {
        let next = self.rest.next();
        if next == Some('\n') {
            self.line += 1;
        }
        next
    }

    /// Skips blank lines and comments; returns the line of the next assignment.
    fn find_assignment(&mut self) -> Option<usize> {
        loop {
            match *self.rest.peek()? {
                '#' | ';' => self.skip_line(),
                character if is_blank(character) || is_line_end(character) => {
                    self.next();
                }
                _ => return Some(self.line),
            }
        }
    }

    // A comment never continues on the next line, as in systemd since version 254.
    fn skip_line(&mut self) {
        while self.next().is_some_and(|character| !is_line_end(character)) {}
    }

    fn assignment(&mut self) -> Result<(String, String), &'static str> {
        let mut name = String::new();
        loop {
            match self.next() {
                Some('=') => break,
                Some(character) if !is_line_end(character) => name.push(character),
                _ => return Err("has no `=`; an assignment is NAME=value"),
            }
        }
        // Parse the value before the name is checked, so that the lines of a value do not count as assignments.
        let value = self.value()?;
        let name = name.trim_end_matches(is_blank);
        check_name(name)?;
        if value.contains('\0') {
            return Err("contains a NUL byte");
        }
        Ok((name.to_owned(), value))
    }

    /// Quoted parts, then optionally an unquoted part up to the end of the line.
    fn value(&mut self) -> Result<String, &'static str> {
        let mut value = String::new();
        while let Some(&character) = self.rest.peek() {
            match character {
                '\'' => self.single_quoted(&mut value)?,
                '"' => self.double_quoted(&mut value)?,
                _ if is_line_end(character) => break,
                _ if is_blank(character) => {
                    self.next();
                }
                _ => {
                    self.unquoted(&mut value);
                    break;
                }
            }
        }
        Ok(value)
    }

    fn single_quoted(&mut self, value: &mut String) -> Result<(), &'static str> {
        self.next();
        loop {
            match self.next() {
                Some('\'') => return Ok(()),
                Some(character) => value.push(character),
                None => return Err("has a single quote that is never closed"),
            }
        }
    }

    fn double_quoted(&mut self, value: &mut String) -> Result<(), &'static str> {
        const UNCLOSED: &str = "has a double quote that is never closed";
        self.next();
        loop {
            match self.next().ok_or(UNCLOSED)? {
                '"' => return Ok(()),
                '\\' => match self.next().ok_or(UNCLOSED)? {
                    '\n' => {}
                    escaped @ ('"' | '\\' | '`' | '$') => value.push(escaped),
                    other => value.extend(['\\', other]),
                },
                character => value.push(character),
            }
        }
    }

    /// Unquoted, to the end of the line; removes blanks at the end unless they are escaped.
    fn unquoted(&mut self, value: &mut String) {
        let mut kept = value.len();
        while let Some(character) = self.next() {
            match character {
                '\\' => {
                    if let Some(escaped) = self.escaped() {
                        value.push(escaped);
                    }
                    kept = value.len();
                }
                _ if is_line_end(character) => break,
                _ => {
                    value.push(character);
                    if !is_blank(character) {
                        kept = value.len();
                    }
                }
            }
        }
        value.truncate(kept);
    }

    /// The character after a backslash in an unquoted value; `None` for a line end (LF or CRLF).
    fn escaped(&mut self) -> Option<char> {
        match self.next()? {
            '\n' => None,
            '\r' => {
                self.rest.next_if_eq(&'\n').inspect(|_| self.line += 1);
                None
            }
            character => Some(character),
        }
    }
}

fn check_name(name: &str) -> Result<(), &'static str> {
    if name.starts_with("export ") || name.starts_with("export\t") {
        return Err("begins with `export`, which is for shells; write NAME=value");
    }
    let mut characters = name.chars();
    let first = characters.next().is_some_and(|first| first == '_' || first.is_ascii_alphabetic());
    if first && characters.all(|next| next == '_' || next.is_ascii_alphanumeric()) {
        return Ok(());
    }
    Err("has no valid name before `=`; names are letters, digits and `_`, and do not begin with a digit")
}

fn is_blank(character: char) -> bool {
    matches!(character, ' ' | '\t')
}

fn is_line_end(character: char) -> bool {
    matches!(character, '\n' | '\r')
}

/// Names are valid, values contain no NUL, and line numbers are valid and in order.
#[cfg(feature = "fuzzing")]
pub(crate) fn hold_for_any_file(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let (entries, errors) = parse(&text);
    let lines = 1..=text.matches('\n').count() + 1;
    for entry in &entries {
        let is_name = |c: char| c == '_' || c.is_ascii_alphanumeric();
        assert!(!entry.name.is_empty() && entry.name.chars().all(is_name), "{:?}", entry.name);
        assert!(!entry.value.contains('\0') && entry.value.len() <= text.len() && lines.contains(&entry.line));
    }
    assert!(entries.is_sorted_by_key(|entry| entry.line));
    assert!(errors.is_sorted_by_key(|error| error.line));
    assert!(errors.iter().all(|error| lines.contains(&error.line)));
}

#[cfg(test)]
mod tests;
