//! Lines for people on standard output: one finding a line, aligned. Decides nothing.

use std::io::{IsTerminal, Write};

use super::query::Problem;
use crate::config::Config;
use crate::exit::Exit;

/// Width of the first column.
const VERDICT_WIDTH: usize = 7;
/// Width of the second column.
const SUBJECT_WIDTH: usize = 15;

/// What became of one step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It works.
    Ok,
    /// It does not; what to do, and the code that the program ends with if nothing failed before.
    Failed { remedy: String, exit: Exit },
    /// It could not be tried, or is not wanted.
    Skipped,
}

/// Standard output with a count of what was said. Output that nobody reads is no failure: the exit code tells too.
#[derive(Debug)]
pub(super) struct Report {
    is_coloured: bool,
    counts: [usize; 3],
    first_failure: Option<Exit>,
    lines: Vec<String>,
}

/// Colours of the terminal (ECMA-48).
const GREEN: u8 = 32;
const RED: u8 = 31;
const YELLOW: u8 = 33;

impl Report {
    /// Coloured on a terminal, unless NO_COLOR is set.
    pub(super) fn new(config: &Config) -> Self {
        let is_coloured = std::io::stdout().is_terminal() && !config.no_color;
        Self { is_coloured, counts: [0; 3], first_failure: None, lines: Vec::new() }
    }

    /// A step that works.
    pub(super) fn ok(&mut self, subject: &str, found: &str) {
        self.tell(subject, found, Verdict::Ok);
    }

    /// A step that fails.
    pub(super) fn failed(&mut self, subject: &str, found: &str, remedy: impl Into<String>, exit: Exit) {
        self.tell(subject, found, Verdict::Failed { remedy: remedy.into(), exit });
    }

    /// A step that fails with a [`Problem`].
    pub(super) fn problem(&mut self, subject: &str, problem: &Problem) {
        self.failed(subject, &problem.found, problem.remedy.as_str(), problem.exit);
    }

    /// A step that was not tried, with the reason.
    pub(super) fn skipped(&mut self, subject: &str, reason: &str) {
        self.tell(subject, reason, Verdict::Skipped);
    }

    fn tell(&mut self, subject: &str, found: &str, verdict: Verdict) {
        let (word, colour, index) = match &verdict {
            Verdict::Ok => ("ok", GREEN, 0),
            Verdict::Failed { .. } => ("failed", RED, 1),
            Verdict::Skipped => ("skipped", YELLOW, 2),
        };
        self.counts[index] += 1;
        let mut text = found.to_owned();
        if let Verdict::Failed { remedy, exit } = verdict {
            text = format!("{found} -> {remedy}");
            self.first_failure.get_or_insert(exit);
        }
        self.line(word, colour, subject, &text);
    }

    /// What was said so far, without colours.
    pub(super) fn lines(&self) -> &[String] {
        &self.lines
    }

    fn line(&mut self, word: &str, colour: u8, subject: &str, text: &str) {
        self.lines.push(line(word, None, subject, text));
        say(&line(word, self.is_coloured.then_some(colour), subject, text));
    }

    /// How many steps went how, and the code to end with.
    pub(super) fn finish(self) -> Exit {
        let [ok, failed, skipped] = self.counts;
        say(&format!("{ok} ok, {failed} failed, {skipped} skipped"));
        self.first_failure.unwrap_or(Exit::Done)
    }
}

/// An aligned line without colour.
pub(super) fn tell(word: &str, subject: &str, text: &str) {
    say(&line(word, None, subject, text));
}

/// A line that is not in columns.
pub(super) fn remark(text: &str) {
    say(&sanitize(text));
}

/// A line on standard error, for what cannot be done at all.
pub(super) fn complain(text: &str) {
    let _ = writeln!(std::io::stderr(), "{}", sanitize(text));
}

/// `println!` would panic when nobody reads any more.
fn say(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

fn line(word: &str, colour: Option<u8>, subject: &str, text: &str) -> String {
    let word = format!("{word:<VERDICT_WIDTH$}");
    let word = colour.map_or(word.clone(), |colour| format!("\u{1b}[{colour}m{word}\u{1b}[0m"));
    format!("{word}  {:<SUBJECT_WIDTH$}  {}", sanitize(subject), sanitize(text))
}

/// One line stays one line and no text steers the terminal, whatever the cloud put into a name.
fn sanitize(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_aligned_and_stay_one_line() {
        assert_eq!(line("ok", None, "engine", "a\nb\u{1b}[0m"), "ok       engine           a b [0m");
        assert_eq!(line("failed", Some(RED), "x", "y"), "\u{1b}[31mfailed \u{1b}[0m  x                y");
    }

    #[test]
    fn the_first_failure_gives_the_code() {
        let mut report = Report { is_coloured: false, counts: [0; 3], first_failure: None, lines: Vec::new() };
        report.ok("one", "fine");
        report.failed("two", "refused", "mend it", Exit::SignInRefused);
        report.failed("three", "wrong", "mend it", Exit::Configuration);
        report.skipped("four", "of no use");
        assert_eq!(report.counts, [1, 2, 1]);
        assert_eq!(report.finish(), Exit::SignInRefused);
    }
}
