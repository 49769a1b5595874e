//! A run from the bytes of an input: actions of users, external actions, their times, and the fates of engine calls.
//! `fuzz/` searches for inputs that violate an invariant, and a test replays its corpus.
//!
//! | bytes | |
//! | --- | --- |
//! | 4 | classes of faults, one bit each |
//! | 2 | seed of all other choices |
//! | 1 | number of the following fates |
//! | 1 each | fate of the next engine call in a fault phase, see `calls` |
//! | 6 each | a step: delay after the previous one, kind (or the end of this fault phase), and its choices |
//!
//! Each input is a valid run: missing parts are random.

use std::collections::VecDeque;
use std::time::Duration;

use crate::calls::class_of_fate;
use crate::fault_plan::Class;
use crate::world::Occurrence;

/// Further steps and fault phases are ignored, so that runs are short.
const STEPS_MAX: usize = 48;
const FAULT_PHASES_MAX: usize = 4;
const STEP_BYTES: usize = 6;

/// The source of the decisions of a run.
#[derive(Debug, Clone, Copy)]
pub enum Source<'a> {
    /// A seed for all decisions.
    Seed(u64),
    /// The bytes of an input.
    Input(&'a [u8]),
}

/// A decoded input.
#[derive(Debug, Default, PartialEq)]
pub struct Script {
    pub classes: u32,
    pub seed: u64,
    pub fates: VecDeque<u8>,
    /// The steps of each fault phase.
    pub fault_phases: VecDeque<Vec<Step>>,
}

/// One step.
#[derive(Debug, PartialEq)]
pub struct Step {
    /// After the previous step, or the start of the fault phase.
    pub delay: Duration,
    pub what: What,
    pub choices: [u8; 4],
}

/// The kind of a step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum What {
    User,
    Other,
    Crash,
    Freeze,
    EngineRestart,
}

impl Script {
    /// Decodes any bytes.
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
        // The fault plan includes the classes of all fates and steps, because the time limit depends on it.
        let of_fates = script.fates.iter().filter_map(|fate| class_of_fate(*fate));
        let of_steps = script.fault_phases.iter().flatten().filter_map(Step::class);
        script.classes |= of_fates.chain(of_steps).fold(0, |all, class| all | 1 << class as u32);
        script
    }

    fn add(&mut self, bytes: &[u8]) {
        // Half of the delays are some seconds, some are a minute.
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
        let fault_phase = self.fault_phases.back_mut().expect("it is never empty");
        fault_phase.push(Step { delay, what, choices });
    }
}

impl Step {
    /// The class of its fault.
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

    /// The occurrence of the step.
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
