//! Prints human-readable lines on standard output: one result a line, in aligned columns.

use std::io::{IsTerminal, Write};

use super::query::Problem;
use crate::config::Config;
use crate::exit::Exit;
use crate::text::{pad, sanitize};

/// Width of the first column.
const STATUS_WIDTH: usize = 7;
/// Width of the second column.
const SUBJECT_WIDTH: usize = 15;

/// The result of one step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum StepResult {
    /// It succeeded.
    Ok,
    /// It failed; the remedy, and the exit code of the program if this is the first failure.
    Failed { remedy: String, exit: Exit },
    /// It was not possible, or does not apply.
    Skipped,
}

/// Prints the results of steps and counts them. A closed standard output is ignored: the exit code has the result too.
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

    /// Adds a step that succeeded.
    pub(super) fn ok(&mut self, subject: &str, found: &str) {
        self.add(subject, found, StepResult::Ok);
    }

    /// Adds a step that failed.
    pub(super) fn failed(&mut self, subject: &str, found: &str, remedy: impl Into<String>, exit: Exit) {
        self.add(subject, found, StepResult::Failed { remedy: remedy.into(), exit });
    }

    /// Adds a step that failed with a [`Problem`].
    pub(super) fn problem(&mut self, subject: &str, problem: &Problem) {
        self.failed(subject, &problem.found, problem.remedy.as_str(), problem.exit);
    }

    /// Adds a step that was skipped, with the reason.
    pub(super) fn skipped(&mut self, subject: &str, reason: &str) {
        self.add(subject, reason, StepResult::Skipped);
    }

    fn add(&mut self, subject: &str, found: &str, result: StepResult) {
        let (status, colour, index) = match &result {
            StepResult::Ok => ("ok", GREEN, 0),
            StepResult::Failed { .. } => ("failed", RED, 1),
            StepResult::Skipped => ("skipped", YELLOW, 2),
        };
        self.counts[index] += 1;
        let mut text = found.to_owned();
        if let StepResult::Failed { remedy, exit } = result {
            text = format!("{found} -> {remedy}");
            self.first_failure.get_or_insert(exit);
        }
        self.line(status, colour, subject, &text);
    }

    /// The lines so far, without colours.
    pub(super) fn lines(&self) -> &[String] {
        &self.lines
    }

    fn line(&mut self, status: &str, colour: u8, subject: &str, text: &str) {
        self.lines.push(line(status, None, subject, text));
        write_line(&line(status, self.is_coloured.then_some(colour), subject, text));
    }

    /// Prints the summary and returns the exit code.
    pub(super) fn finish(self) -> Exit {
        let [ok, failed, skipped] = self.counts;
        write_line(&format!("{ok} ok, {failed} failed, {skipped} skipped"));
        self.first_failure.unwrap_or(Exit::Done)
    }
}

/// Prints an aligned line without colour.
pub(super) fn print_row(status: &str, subject: &str, text: &str) {
    write_line(&line(status, None, subject, text));
}

/// Prints a line without columns.
pub(super) fn print_line(text: &str) {
    write_line(&sanitize(text));
}

/// Prints a line on standard error.
pub(super) fn print_error(text: &str) {
    let _ = writeln!(std::io::stderr(), "{}", sanitize(text));
}

/// Unlike `println!`, does not panic when standard output is closed.
fn write_line(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

fn line(status: &str, colour: Option<u8>, subject: &str, text: &str) -> String {
    let status = format!("{status:<STATUS_WIDTH$}");
    let status = colour.map_or(status.clone(), |colour| format!("\u{1b}[{colour}m{status}\u{1b}[0m"));
    format!("{status}  {}  {}", pad(&sanitize(subject), SUBJECT_WIDTH), sanitize(text))
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
        report.failed("two", "refused", "correct it", Exit::SignInRefused);
        report.failed("three", "wrong", "correct it", Exit::Configuration);
        report.skipped("four", "not needed");
        assert_eq!(report.counts, [1, 2, 1]);
        assert_eq!(report.finish(), Exit::SignInRefused);
    }
}
