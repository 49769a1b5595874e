//! What came of a run, for one engine or for several, as a table.

use std::collections::BTreeMap;
use std::fmt::Write as _;

/// What came of a check on an engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It holds.
    Passed,
    /// It does not, with what was seen.
    Failed(String),
    /// It was not run, with the reason.
    NotRun(String),
}

/// The verdicts of all checks on one or more engines.
#[derive(Debug, Clone, Default)]
pub struct Report {
    engines: Vec<String>,
    /// Checks in the order of the suite.
    checks: Vec<&'static str>,
    verdicts: BTreeMap<(&'static str, String), Verdict>,
}

impl Report {
    pub(super) fn new(engine: &str, verdicts: Vec<(&'static str, Verdict)>) -> Self {
        let mut report = Self { engines: vec![engine.to_owned()], ..Self::default() };
        for (check, verdict) in verdicts {
            report.add(check, verdict);
        }
        report
    }

    /// Adds a verdict for the first engine.
    pub(super) fn add(&mut self, check: &'static str, verdict: Verdict) {
        self.checks.push(check);
        self.verdicts.insert((check, self.engines[0].clone()), verdict);
    }

    /// Puts the engines of `other` beside those of this report.
    #[must_use]
    pub fn merge(mut self, other: Self) -> Self {
        self.engines.extend(other.engines);
        for check in other.checks {
            if !self.checks.contains(&check) {
                self.checks.push(check);
            }
        }
        self.verdicts.extend(other.verdicts);
        self
    }

    /// Number of checks in the table.
    pub fn len(&self) -> usize {
        self.checks.len()
    }

    /// Whether no check was run.
    pub fn is_empty(&self) -> bool {
        self.checks.is_empty()
    }

    /// Every failed check: its name, the engine, what was seen.
    pub fn failures(&self) -> Vec<(&'static str, &str, &str)> {
        let failed = self.verdicts.iter().filter_map(|((check, engine), verdict)| match verdict {
            Verdict::Failed(text) => Some((*check, engine.as_str(), text.as_str())),
            Verdict::Passed | Verdict::NotRun(_) => None,
        });
        failed.collect()
    }

    /// The verdict of a check on an engine.
    pub fn verdict(&self, check: &str, engine: &str) -> Option<&Verdict> {
        let check = self.checks.iter().find(|name| **name == check)?;
        self.verdicts.get(&(*check, engine.to_owned()))
    }

    /// Failures and reasons, a line each.
    pub fn details(&self) -> String {
        let mut text = String::new();
        for ((check, engine), verdict) in &self.verdicts {
            let _ = match verdict {
                Verdict::Passed => Ok(()),
                Verdict::Failed(seen) => writeln!(text, "{engine}: {check} FAILED: {seen}"),
                Verdict::NotRun(reason) => writeln!(text, "{engine}: {check} not run: {reason}"),
            };
        }
        text
    }

    /// A Markdown table, check by engine, with the reasons for what was not run below it.
    pub fn to_markdown(&self) -> String {
        let mut text = String::from("| check |");
        for engine in &self.engines {
            let _ = write!(text, " {engine} |");
        }
        let _ = writeln!(text, "\n| --- |{}", " --- |".repeat(self.engines.len()));
        let mut reasons: Vec<String> = Vec::new();
        for check in &self.checks {
            let _ = write!(text, "| {} |", check.replace('_', " "));
            for engine in &self.engines {
                let cell = match self.verdicts.get(&(*check, engine.clone())) {
                    Some(Verdict::Passed) => "yes".to_owned(),
                    Some(Verdict::Failed(_)) => "**no**".to_owned(),
                    Some(Verdict::NotRun(reason)) => footnote(&mut reasons, reason),
                    None => "**missing**".to_owned(),
                };
                let _ = write!(text, " {cell} |");
            }
            text.push('\n');
        }
        for (number, reason) in reasons.iter().enumerate() {
            let _ = writeln!(text, "\n({}) not run: {reason}", number + 1);
        }
        text
    }
}

/// The mark of a reason, the same for the same reason.
fn footnote(reasons: &mut Vec<String>, reason: &str) -> String {
    let position = reasons.iter().position(|known| known == reason).unwrap_or_else(|| {
        reasons.push(reason.to_owned());
        reasons.len() - 1
    });
    format!("({})", position + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_of_two_engines_make_one_table() {
        let one = Report::new("A", vec![("starts_once", Verdict::Passed), ("stops", Verdict::Failed("no".to_owned()))]);
        let reason = Verdict::NotRun("it has no signals".to_owned());
        let two = Report::new("B", vec![("starts_once", Verdict::Passed), ("stops", reason)]);
        let both = one.merge(two);
        let table = "| check | A | B |\n| --- | --- | --- |\n| starts once | yes | yes |\n| stops | **no** | (1) |\n\
                     \n(1) not run: it has no signals\n";
        assert_eq!(both.to_markdown(), table);
        assert_eq!(both.failures(), [("stops", "A", "no")]);
        assert_eq!((both.len(), both.is_empty()), (2, false));
        assert!(both.details().contains("B: stops not run: it has no signals"));
    }
}
