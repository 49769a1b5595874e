//! Formats an event as one line of text. Pure. Line form: `[LEVEL] 2026-11-22T19:17:00Z message field=value`, UTC.
//!
//! Values are external text: names from the cloud, output of engines. Control characters, newlines and characters that
//! reorder text are escaped, so one event is always one line and no value can control a terminal.

use std::fmt::{self, Write};

use time::OffsetDateTime;
use tracing::field::{Field, Visit};

use crate::text::is_unsafe;

/// Longest line; longer ones are cut. Far below the 256 KiB of CloudWatch.
pub(super) const LINE_BYTES_MAX: usize = 16 * 1024;

/// The field that makes an error critical; it is not printed.
pub(super) const CRITICAL_FIELD: &str = "critical";

/// Message and fields, formatted and escaped.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Fields {
    pub(super) message: String,
    /// ` name=value` for each, in order.
    pub(super) rest: String,
    pub(super) critical: bool,
}

impl Fields {
    /// Fields with this message, for lines of the log itself.
    pub(super) fn of(message: &str) -> Self {
        Self { message: message.to_owned(), ..Self::default() }
    }

    pub(super) fn add(&mut self, name: &str, value: &str) {
        if name == "message" {
            escape_into(&mut self.message, value, false);
            return;
        }
        let quoted = value.is_empty() || value.contains(|next: char| next.is_whitespace() || "\"=".contains(next));
        let quote = if quoted { "\"" } else { "" };
        self.rest.extend([" ", name, "=", quote]);
        escape_into(&mut self.rest, value, quoted);
        self.rest.push_str(quote);
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.add(field.name(), &format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field.name(), value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        if field.name() == CRITICAL_FIELD {
            self.critical = value;
        } else {
            self.record_debug(field, &value);
        }
    }
}

fn escape_into(line: &mut String, text: &str, quoted: bool) {
    for next in text.chars() {
        match next {
            '"' | '\\' if quoted => line.extend(['\\', next]),
            _ if is_unsafe(next) => line.extend(next.escape_default()),
            _ => line.push(next),
        }
    }
}

/// The whole line, without a newline. `context` has the fields of the enclosing spans, outermost first.
pub(super) fn line(level: &str, now: OffsetDateTime, context: &str, event: &Fields) -> String {
    let (date, time) = (now.date(), now.time());
    let mut line = String::with_capacity(128);
    write!(
        line,
        "[{level}] {:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z {}{context}{}",
        date.year(),
        u8::from(date.month()),
        date.day(),
        time.hour(),
        time.minute(),
        time.second(),
        event.message,
        event.rest
    )
    .expect("a String takes all text");
    line
}

/// Cuts a long line between characters.
pub(super) fn cut(mut line: String) -> String {
    const MARK: &str = " [cut]";
    if line.len() > LINE_BYTES_MAX {
        line.truncate(line.floor_char_boundary(LINE_BYTES_MAX - MARK.len()));
        line.push_str(MARK);
    }
    line
}
