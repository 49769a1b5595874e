//! A run that is not left to chance: what users and others do and when, and what becomes of each call to the engine, as the
//! bytes of an input have it. `fuzz/` looks for inputs that break something, and those it found interesting are replayed.
//!
//! | bytes | |
//! | --- | --- |
//! | 4 | classes of faults, a bit each |
//! | 2 | seed of all that the input leaves open |
//! | 1 | so many fates of calls follow |
//! | 1 each | what becomes of the next call to the engine, in a storm: see `calls` |
//! | 6 each | a step: how long after the one before, what (or the end of this storm), and the choices within it |
//!
//! Each input is a run: what is missing is chance.

use std::collections::VecDeque;
use std::time::Duration;

use crate::calls::class_of_fate;
use crate::fault_plan::Class;
use crate::world::Occurrence;

/// Steps and fault_phases beyond these are left out, so that no run takes long.
const STEPS_MAX: usize = 48;
const FAULT_PHASES_MAX: usize = 4;
const STEP_BYTES: usize = 6;

/// Where a run's decisions come from.
#[derive(Debug, Clone, Copy)]
pub enum Source<'a> {
    /// All from this number.
    Seed(u64),
    /// From an input.
    Input(&'a [u8]),
}

/// What an input says.
#[derive(Debug, Default, PartialEq)]
pub struct Script {
    pub classes: u32,
    pub seed: u64,
    pub fates: VecDeque<u8>,
    /// The steps of each storm.
    pub fault_phases: VecDeque<Vec<Step>>,
}

/// Something happens.
#[derive(Debug, PartialEq)]
pub struct Step {
    /// After the step before, or the beginning of the storm.
    pub delay: Duration,
    pub what: What,
    pub choices: [u8; 4],
}

/// What happens.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum What {
    User,
    Other,
    Crash,
    Freeze,
    EngineRestart,
}

impl Script {
    /// Any bytes are a script.
    pub fn read(mut input: &[u8]) -> Self {
        let mut take = |count: usize| {
            let (taken, rest) = input.split_at(count.min(input.len()));
            input = rest;
            taken
        };
        let number = |bytes: &[u8]| bytes.iter().rev().fold(0, |sum, byte| (sum << 8) | u64::from(*byte));
        let classes = number(take(4)) as u32;
        let seed = number(take(2));
        let count = number(take(1)) as usize;
        let fates: VecDeque<u8> = take(count).iter().copied().collect();
        let mut script = Self { classes, seed, fates, fault_phases: VecDeque::from([vec![]]) };
        for bytes in std::iter::repeat_with(|| take(STEP_BYTES)).take_while(|b| b.len() == STEP_BYTES).take(STEPS_MAX) {
            script.add(bytes);
        }
        // What is to happen is in the run's weather, as the time that all may take depends on it.
        let of_fates = script.fates.iter().filter_map(|fate| class_of_fate(*fate));
        let of_steps = script.fault_phases.iter().flatten().filter_map(Step::class);
        script.classes |= of_fates.chain(of_steps).fold(0, |all, class| all | 1 << class as u32);
        script
    }

    fn add(&mut self, bytes: &[u8]) {
        // Half of all steps come within seconds of the one before, some after a minute.
        let delay = Duration::from_millis(u64::from(bytes[0]).pow(2));
        let what = match bytes[1] % 16 {
            0..=7 => What::User,
            8..=10 => What::Other,
            11 => What::Crash,
            12 => What::Freeze,
            13 => What::EngineRestart,
            _ if self.fault_phases.len() < FAULT_PHASES_MAX => return self.fault_phases.push_back(vec![]),
            _ => return,
        };
        let choices = [bytes[2], bytes[3], bytes[4], bytes[5]];
        let fault_phase = self.fault_phases.back_mut().expect("there is one from the beginning");
        fault_phase.push(Step { delay, what, choices });
    }
}

impl Step {
    /// The fault that it is.
    fn class(&self) -> Option<Class> {
        match self.what {
            What::User => None,
            // As `external_action` chooses.
            What::Other => Some(match self.choices[0] % 4 {
                0 => Class::Strangers,
                1 => Class::Dying,
                _ => Class::Meddling,
            }),
            What::Crash => Some(Class::Crashes),
            What::Freeze => Some(Class::Freezes),
            What::EngineRestart => Some(Class::EngineRestarts),
        }
    }

    /// What the run makes of it.
    pub fn occurrence(&self) -> Occurrence {
        match self.what {
            What::User => Occurrence::User,
            What::Other => Occurrence::Other,
            What::Crash => Occurrence::Crash,
            What::Freeze => Occurrence::Freeze,
            What::EngineRestart => Occurrence::EngineRestart,
        }
    }
}
