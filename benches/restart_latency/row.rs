//! One row of the report: what was asked, the floor it is held against, the figures, and whether the budget was kept.

use crate::sample::Samples;

/// One question with its answer.
#[derive(Debug, Clone)]
pub struct Row {
    /// The letter of the experiment, `a` to `i`.
    pub experiment: char,
    /// The engine, or what else it was measured on.
    pub on: String,
    /// What was measured, such as `20 nodes`.
    pub case: String,
    /// The unit of all figures.
    pub unit: &'static str,
    /// What the engine does without us; budgets refer to the first.
    pub floors: Vec<Samples>,
    /// What it is with us.
    pub ours: Samples,
    /// More about the same rounds.
    pub details: Vec<Samples>,
    /// The budgets and whether they were kept.
    pub verdicts: Vec<Verdict>,
    /// What a reader has to know.
    pub notes: Vec<String>,
}

/// A budget and what came of it.
#[derive(Debug, Clone)]
pub struct Verdict {
    /// The budget and the figure, for people.
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

    /// With a floor.
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

    /// The median is to be within `limit` times that of the first floor.
    pub fn median_ratio(self, limit: f64) -> Self {
        let ratio = self.ours.median() / self.first_floor().median();
        let range = self.ours.ratios(self.first_floor());
        let chance = range.map_or(String::new(), |r| format!(" ({:.2} to {:.2} by chance)", r.start(), r.end()));
        self.judged(format!("median {ratio:.3} x{chance}, budget {limit:.2} x"), ratio <= limit)
    }

    /// The 95th percentile is to be within `limit` times that of the first floor.
    pub fn p95_ratio(self, limit: f64) -> Self {
        let ratio = self.ours.p95() / self.first_floor().p95();
        self.judged(format!("p95 {ratio:.3} x, budget {limit:.2} x"), ratio <= limit)
    }

    /// The median is to be at most `limit` above that of the first floor, or above zero where there is none.
    pub fn median_beyond(self, limit: f64) -> Self {
        let floor = self.floors.first().map_or(0.0, Samples::median);
        let beyond = self.ours.median() - floor;
        let unit = self.unit;
        self.judged(format!("{beyond:+.1} {unit}, budget {limit:+.1} {unit}"), beyond <= limit)
    }

    /// The median is to be at most `limit`.
    pub fn at_most(self, limit: f64) -> Self {
        let (median, unit) = (self.ours.median(), self.unit);
        self.judged(format!("{} {unit}, budget {} {unit}", figure(median), figure(limit)), median <= limit)
    }

    /// The median is to be at least `limit`.
    pub fn at_least(self, limit: f64) -> Self {
        let (median, unit) = (self.ours.median(), self.unit);
        self.judged(format!("{} {unit}, at least {} {unit}", figure(median), figure(limit)), median >= limit)
    }

    /// With a verdict of any other kind.
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
