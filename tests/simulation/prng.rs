//! The only random source of a run (splitmix64). The order of its use must depend only on the seed.

use std::collections::VecDeque;
use std::time::Duration;

/// Random numbers from a seed, after given choices.
pub struct Prng {
    state: u64,
    chosen: VecDeque<u8>,
}

impl Prng {
    pub fn new(seed: u64) -> Self {
        let state = seed.wrapping_mul(0x2545_f491_4f6c_dd1d) ^ 0x9e37_79b9_7f4a_7c15;
        Self { state, chosen: VecDeque::new() }
    }

    /// Sets the next choices, one byte each, two bytes for more than 256 alternatives. Replaces earlier choices.
    pub fn choose(&mut self, choices: &[u8]) {
        self.chosen = choices.iter().copied().collect();
    }

    pub fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`, which is not 0.
    pub fn below(&mut self, bound: usize) -> usize {
        let Some(byte) = self.chosen.pop_front().map(usize::from) else {
            return (self.next() % bound as u64) as usize;
        };
        if bound <= 256 {
            return byte % bound;
        }
        let finer = self.chosen.pop_front().map_or(0, usize::from);
        (((byte << 8) | finer) * bound) >> 16
    }

    /// True with this probability in percent.
    pub fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    /// A random duration between these milliseconds.
    pub fn ms(&mut self, least: usize, most: usize) -> Duration {
        Duration::from_millis((least + self.below(most - least + 1)) as u64)
    }

    /// One of `items`, which must not be empty.
    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len())]
    }
}
