//! Reads the text of a systemd EnvironmentFile. Pure: opens no file, expands nothing, and never repeats a line's
//! content in an error, for the content may be a password.
//!
//! The syntax is systemd's (`systemd.exec(5)`, EnvironmentFile=): `NAME=value` lines; blank lines and lines that begin
//! with `#` or `;` are skipped; a backslash takes the next character as it is and swallows a line's end; single quotes
//! take all as it is, over several lines too; in double quotes a backslash is special before `"`, `\`, `` ` ``, `$` and a
//! line's end. White space around names and bare values goes. The last of several lines with one name counts.
//!
//! systemd drops what it cannot read with a warning; here it is an error, because a lost line is a daemon that starts
//! with the wrong settings.

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

/// A line that is no assignment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mistake {
    /// Line at which the assignment begins, from 1.
    pub(super) line: usize,
    /// What is wrong, without the line's content.
    pub(super) reason: &'static str,
}

/// Reads `text`; the entries stand in the order of the file, and all mistakes are found at once.
pub(super) fn parse(text: &str) -> (Vec<Entry>, Vec<Mistake>) {
    let mut reader = Reader { rest: text.chars().peekable(), line: 1 };
    let (mut entries, mut mistakes) = (Vec::new(), Vec::new());
    while let Some(line) = reader.find_assignment() {
        match reader.assignment() {
            Ok((name, value)) => entries.push(Entry { name, value, line }),
            Err(reason) => mistakes.push(Mistake { line, reason }),
        }
    }
    (entries, mistakes)
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

    /// Skips blank lines and comments; the line at which the next assignment begins.
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

    // A comment never goes on in the next line, as in systemd since version 254.
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
        // Read the value before judging the name, so that a value of several lines is not taken for assignments.
        let value = self.value()?;
        let name = name.trim_end_matches(is_blank);
        check_name(name)?;
        if value.contains('\0') {
            return Err("holds a NUL byte");
        }
        Ok((name.to_owned(), value))
    }

    /// Quoted parts, one after another, then perhaps a bare one up to the end of the line.
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
                    self.bare(&mut value);
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

    /// To the end of the line; blanks at the end go unless a backslash keeps them.
    fn bare(&mut self, value: &mut String) {
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

    /// The character after a backslash in a bare value; `None` when that was the end of a line, in either form.
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
    Err("has no valid name before `=`; names are letters, digits and `_`, not first a digit")
}

fn is_blank(character: char) -> bool {
    matches!(character, ' ' | '\t')
}

fn is_line_end(character: char) -> bool {
    matches!(character, '\n' | '\r')
}

#[cfg(test)]
mod tests;
