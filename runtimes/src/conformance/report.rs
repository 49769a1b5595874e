//! Results of a run, for one engine or several, as a table.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Outcome;

/// Result of a check on an engine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verdict {
    /// It holds.
    Passed,
    /// It fails, with the observation.
    Failed(String),
    /// It was not run, with the reason.
    NotRun(String),
}

/// The verdicts of all checks on one or more engines.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    engines: Vec<String>,
    /// Checks in the order of the suite.
    checks: Vec<String>,
    /// By engine, by check.
    verdicts: BTreeMap<String, BTreeMap<String, Verdict>>,
    /// Duration of each check, by engine. Not part of the table.
    took: BTreeMap<String, BTreeMap<String, Duration>>,
}

impl Report {
    pub(super) fn new(engine: &str) -> Self {
        Self { engines: vec![engine.to_owned()], ..Self::default() }
    }

    /// Adds a verdict for the first engine.
    pub(super) fn add(&mut self, check: &'static str, verdict: Verdict, took: Duration) {
        let engine = self.engines[0].clone();
        self.checks.push(check.to_owned());
        self.verdicts.entry(engine.clone()).or_default().insert(check.to_owned(), verdict);
        self.took.entry(engine).or_default().insert(check.to_owned(), took);
    }

    /// Adds the engines of `other` to this report.
    #[must_use]
    pub fn merge(mut self, other: Self) -> Self {
        self.engines.extend(other.engines);
        for check in other.checks {
            if !self.checks.contains(&check) {
                self.checks.push(check);
            }
        }
        self.verdicts.extend(other.verdicts);
        self.took.extend(other.took);
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

    /// Every failed check: its name, the engine, the observation.
    pub fn failures(&self) -> Vec<(&str, &str, &str)> {
        let failed = self.all().filter_map(|(engine, check, verdict)| match verdict {
            Verdict::Failed(text) => Some((check, engine, text.as_str())),
            Verdict::Passed | Verdict::NotRun(_) => None,
        });
        failed.collect()
    }

    /// The verdict of a check on an engine.
    pub fn verdict(&self, check: &str, engine: &str) -> Option<&Verdict> {
        self.verdicts.get(engine)?.get(check)
    }

    /// Writes the report to `<folder>/<name>.json`, for a table over engines that are tested separately. The columns of
    /// the table are in the order of the names.
    pub fn save(&self, folder: &Path, name: &str) -> Outcome {
        std::fs::create_dir_all(folder)?;
        let text = serde_json::to_vec_pretty(self).map_err(std::io::Error::from)?;
        Ok(std::fs::write(folder.join(format!("{name}.json")), text)?)
    }

    /// All [saved](Self::save) reports in `folder` as one, in the order of the file names.
    pub fn load(folder: &Path) -> Outcome<Self> {
        let mut paths = Vec::new();
        for entry in std::fs::read_dir(folder)? {
            paths.push(entry?.path());
        }
        paths.sort();
        let mut all = Self::default();
        for path in paths.iter().filter(|path| path.extension().is_some_and(|extension| extension == "json")) {
            let report: Self = serde_json::from_slice(&std::fs::read(path)?).map_err(std::io::Error::from)?;
            all = all.merge(report);
        }
        Ok(all)
    }

    fn all(&self) -> impl Iterator<Item = (&str, &str, &Verdict)> {
        let engines = self.verdicts.iter();
        engines.flat_map(|(engine, verdicts)| {
            verdicts.iter().map(move |(check, verdict)| (engine.as_str(), check.as_str(), verdict))
        })
    }

    /// Failures and reasons, a line each.
    pub fn details(&self) -> String {
        let mut text = String::new();
        for (engine, check, verdict) in self.all() {
            let _ = match verdict {
                Verdict::Passed => Ok(()),
                Verdict::Failed(seen) => writeln!(text, "{engine}: {check} FAILED: {seen}"),
                Verdict::NotRun(reason) => writeln!(text, "{engine}: {check} not run: {reason}"),
            };
        }
        text
    }

    /// The slowest checks, one per line. Checks run concurrently, so the sum is longer than the whole run.
    pub fn slowest(&self, count: usize) -> String {
        let all =
            self.took.iter().flat_map(|(engine, checks)| checks.iter().map(move |(check, took)| (took, engine, check)));
        let mut all: Vec<_> = all.collect();
        all.sort_unstable_by(|one, other| other.cmp(one));
        let lines = all
            .iter()
            .take(count)
            .map(|(took, engine, check)| format!("{:6.1} s {engine}: {check}\n", took.as_secs_f64()));
        lines.collect()
    }

    /// A Markdown table, check by engine, with the reasons for omitted checks below it.
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
                let cell = match self.verdict(check, engine) {
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

/// The footnote mark of a reason; equal reasons share one.
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
        let (mut one, mut two) = (Report::new("A"), Report::new("B"));
        let (short, long) = (Duration::from_millis(5), Duration::from_secs(2));
        one.add("starts_once", Verdict::Passed, short);
        one.add("stops", Verdict::Failed("no".to_owned()), short);
        two.add("starts_once", Verdict::Passed, long);
        two.add("stops", Verdict::NotRun("it has no signals".to_owned()), short);
        let both = one.merge(two);
        let table = "| check | A | B |\n| --- | --- | --- |\n| starts once | yes | yes |\n| stops | **no** | (1) |\n\
                     \n(1) not run: it has no signals\n";
        assert_eq!(both.to_markdown(), table);
        assert_eq!(both.failures(), [("stops", "A", "no")]);
        assert_eq!((both.len(), both.is_empty()), (2, false));
        let folder = tempfile::tempdir().expect("a folder");
        both.save(folder.path(), "both").expect("saved");
        assert_eq!(Report::load(folder.path()).expect("loaded"), both);
        assert_eq!(both.slowest(1), "   2.0 s B: starts_once\n");
        assert!(both.details().contains("B: stops not run: it has no signals"));
    }
}
