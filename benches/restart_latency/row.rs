//! One row of the report: the measured quantity, its baselines, the values, and the budgets with their verdicts.

use crate::sample::Samples;

/// One measured quantity.
#[derive(Debug, Clone)]
pub struct Row {
    /// The letter of the experiment, `a` to `i`.
    pub experiment: char,
    /// The engine, or another environment.
    pub on: String,
    /// The case, such as `20 nodes`.
    pub case: String,
    /// The unit of all values.
    pub unit: &'static str,
    /// The baselines without the daemon; budgets refer to the first.
    pub floors: Vec<Samples>,
    /// The values with the daemon.
    pub ours: Samples,
    /// Further values of the same rounds.
    pub details: Vec<Samples>,
    /// The budgets and whether they were kept.
    pub verdicts: Vec<Verdict>,
    /// Notes for readers.
    pub notes: Vec<String>,
}

/// A budget and its verdict.
#[derive(Debug, Clone)]
pub struct Verdict {
    /// The budget and the value, for people.
    pub text: String,
    /// Whether it was kept.
    pub kept: bool,
}

impl Row {
    /// A row of times in milliseconds.
    pub fn new(experiment: char, on: &str, case: &str, ours: Samples) -> Self {
        Self {
            experiment,
            on: on.to_owned(),
            case: case.to_owned(),
            unit: "ms",
            floors: Vec::new(),
            ours,
            details: Vec::new(),
            verdicts: Vec::new(),
            notes: Vec::new(),
        }
    }

    /// In another unit.
    pub fn unit(self, unit: &'static str) -> Self {
        Self { unit, ..self }
    }

    /// With a baseline.
    pub fn floor(mut self, floor: Samples) -> Self {
        self.floors.push(floor);
        self
    }

    /// With a detail.
    pub fn detail(mut self, detail: Samples) -> Self {
        self.details.push(detail);
        self
    }

    /// With a note.
    pub fn note(mut self, note: &str) -> Self {
        self.notes.push(note.to_owned());
        self
    }

    /// Budget: the median is at most `limit` times that of the first baseline.
    pub fn median_ratio(self, limit: f64) -> Self {
        let ratio = self.ours.median() / self.first_floor().median();
        let range = self.ours.ratios(self.first_floor());
        let chance = range.map_or(String::new(), |r| format!(" ({:.2} to {:.2} by chance)", r.start(), r.end()));
        self.judged(format!("median {ratio:.3} x{chance}, budget {limit:.2} x"), ratio <= limit)
    }

    /// Budget: the 95th percentile is at most `limit` times that of the first baseline.
    pub fn p95_ratio(self, limit: f64) -> Self {
        let ratio = self.ours.p95() / self.first_floor().p95();
        self.judged(format!("p95 {ratio:.3} x, budget {limit:.2} x"), ratio <= limit)
    }

    /// Budget: the median is at most `limit` above that of the first baseline, or above zero without a baseline.
    pub fn median_beyond(self, limit: f64) -> Self {
        let floor = self.floors.first().map_or(0.0, Samples::median);
        let beyond = self.ours.median() - floor;
        let unit = self.unit;
        self.judged(format!("{beyond:+.1} {unit}, budget {limit:+.1} {unit}"), beyond <= limit)
    }

    /// Budget: the median is at most `limit`.
    pub fn at_most(self, limit: f64) -> Self {
        let (median, unit) = (self.ours.median(), self.unit);
        self.judged(format!("{} {unit}, budget {} {unit}", figure(median), figure(limit)), median <= limit)
    }

    /// Budget: the median is at least `limit`.
    pub fn at_least(self, limit: f64) -> Self {
        let (median, unit) = (self.ours.median(), self.unit);
        self.judged(format!("{} {unit}, at least {} {unit}", figure(median), figure(limit)), median >= limit)
    }

    /// With another verdict.
    pub fn judged(mut self, text: String, kept: bool) -> Self {
        self.verdicts.push(Verdict { text, kept });
        self
    }

    fn first_floor(&self) -> &Samples {
        self.floors.first().expect("a ratio needs a floor")
    }
}

/// A number as tables show it: three or more digits, thousands apart.
pub fn figure(value: f64) -> String {
    let digits = match value.abs() {
        size if size >= 100.0 || size == 0.0 => 0,
        size if size >= 10.0 => 1,
        size if size >= 1.0 => 2,
        _ => 3,
    };
    let text = format!("{value:.digits$}");
    let (whole, rest) = text.split_at(text.find('.').unwrap_or(text.len()));
    let (sign, whole) = whole.strip_prefix('-').map_or(("", whole), |whole| ("-", whole));
    let mut grouped = String::new();
    for (index, digit) in whole.chars().enumerate() {
        if index > 0 && (whole.len() - index) % 3 == 0 {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    format!("{sign}{grouped}{rest}")
}
