//! Repeated measurements and their statistics. Independent of units.

use std::ops::RangeInclusive;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// Resamplings of both sides for the range of a ratio.
const DRAWS: usize = 2_000;
/// Minimum number of values on each side: resampling fewer values gives no range.
const DRAWN_MIN: usize = 3;

/// All values of one quantity, in the order of the measurements.
#[derive(Debug, Clone)]
pub struct Samples {
    /// Description of the quantity, for people.
    pub what: String,
    /// The values, in the unit of their row.
    pub values: Vec<f64>,
}

impl Samples {
    /// Without values.
    pub fn new(what: &str) -> Self {
        Self { what: what.to_owned(), values: Vec::new() }
    }

    /// Adds a time as milliseconds.
    pub fn add(&mut self, time: Duration) {
        self.values.push(milliseconds(time));
    }

    /// The middle one, or the mean of the two in the middle.
    pub fn median(&self) -> f64 {
        let sorted = self.sorted();
        let middle = sorted.len() / 2;
        if sorted.len() % 2 == 1 { sorted[middle] } else { (sorted[middle - 1] + sorted[middle]) / 2.0 }
    }

    /// The range of 95 % of the ratios of medians when both sides are resampled from the measured values (bootstrap).
    /// It shows the significance of a ratio of few, scattered values.
    pub fn ratios(&self, floor: &Self) -> Option<RangeInclusive<f64>> {
        if self.values.len().min(floor.values.len()) < DRAWN_MIN {
            return None;
        }
        let mut random = StdRng::seed_from_u64(0);
        let mut drawn = |samples: &Self| {
            let count = samples.values.len();
            let values = (0..count).map(|_| samples.values[random.random_range(0..count)]).collect();
            Self { what: samples.what.clone(), values }.median()
        };
        let mut ratios: Vec<f64> = (0..DRAWS).map(|_| drawn(self) / drawn(floor)).collect();
        ratios.sort_by(f64::total_cmp);
        Some(ratios[DRAWS / 40]..=ratios[DRAWS - 1 - DRAWS / 40])
    }

    /// The smallest value that 95 % of all do not exceed: of fewer than 20 values the largest.
    pub fn p95(&self) -> f64 {
        let sorted = self.sorted();
        let rank = (sorted.len() as f64 * 0.95).ceil() as usize;
        sorted[rank.max(1) - 1]
    }

    /// The smallest.
    pub fn min(&self) -> f64 {
        self.sorted()[0]
    }

    /// The largest.
    pub fn max(&self) -> f64 {
        *self.sorted().last().expect("something was measured")
    }

    fn sorted(&self) -> Vec<f64> {
        assert!(!self.values.is_empty(), "{} was never measured", self.what);
        let mut sorted = self.values.clone();
        sorted.sort_by(f64::total_cmp);
        sorted
    }
}

/// A time in milliseconds.
pub fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
