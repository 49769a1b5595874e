//! Which faults a run has. Each run has its own mix of some classes, as a fault is often found only where others are
//! absent; nothing goes wrong when there is no storm.

use std::time::Duration;

use crate::prng::Prng;

/// A class of faults.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Engine calls fail, transiently.
    EngineErrors,
    /// Engine calls are refused.
    EngineRefuses,
    /// Engine calls are carried out, and the answer is lost.
    LostReplies,
    /// Engine calls hang until the deadline, and may be carried out even later.
    Hangs,
    /// The list says odd things of a container.
    OddStates,
    /// Engine events are lost.
    EventsLost,
    /// Engine events come late, twice and in another order.
    EventsLate,
    /// Change messages come late, twice and in another order.
    QueueLate,
    /// Change messages are lost.
    QueueLoses,
    /// Snapshots are old for a while, also older than the one before.
    Stale,
    /// Snapshots fail.
    CloudFails,
    /// The cloud refuses.
    CloudRefuses,
    /// Snapshots have gaps and invalid nodes.
    Gaps,
    /// The cloud says falsely that the app is gone.
    FalseGone,
    /// Pulls fail and stall.
    PullsFail,
    /// Registries ask for patience, or say that the image is not there.
    PullsRefused,
    /// Others act on our containers, images and network.
    Meddling,
    /// Strangers take the names of nodes.
    Strangers,
    /// The engine restarts.
    EngineRestarts,
    /// The daemon crashes.
    Crashes,
    /// The state file cannot be written or read.
    Disk,
    /// The daemon does not get to run for a while.
    Freezes,
    /// Processes of nodes die by themselves.
    Dying,
    /// Tags of images are moved.
    TagsMove,
    /// Others disconnect our containers. Of one that does not run this may show only later, in a list.
    Disconnects,
    /// Lists are slow, and old when they come.
    SlowLists,
}

const CLASSES: u32 = Class::SlowLists as u32 + 1;

/// The faults of a run.
pub struct FaultPlan {
    classes: u32,
    /// Whether faults happen now.
    pub is_active: bool,
}

impl FaultPlan {
    /// Some classes by chance: none, few or about half of all.
    pub fn new(prng: &mut Prng) -> Self {
        let all = prng.next() as u32;
        let classes = match prng.below(4) {
            0 => 1 << prng.below(CLASSES as usize),
            1 => all & prng.next() as u32,
            2 => all & prng.next() as u32 & prng.next() as u32,
            _ => all,
        };
        Self::of(classes)
    }

    /// The classes with these bits, as [`Class`] counts them.
    pub fn of(classes: u32) -> Self {
        Self { classes: classes & ((1 << CLASSES) - 1), is_active: false }
    }

    /// Whether the run has this class at all.
    pub fn knows(&self, class: Class) -> bool {
        self.classes & (1 << class as u32) != 0
    }

    /// Whether a fault of this class may happen now.
    pub fn has(&self, class: Class) -> bool {
        self.is_active && self.knows(class)
    }

    /// Whether something may have been missed that only the next resync finds.
    pub fn loses(&self) -> bool {
        use Class::*;
        [EventsLost, EventsLate, QueueLoses, Hangs, OddStates, TagsMove, Gaps, Disconnects]
            .into_iter()
            .any(|class| self.knows(class))
    }

    /// How long after the last fault all must be right: the sum of what the daemon may wait for.
    pub fn bound(&self) -> Duration {
        use Class::*;
        let any = |classes: &[Class]| classes.iter().any(|class| self.knows(*class));
        let waits = [
            // A stop, a pull, a look again, another stop; all of it twice.
            (true, 180),
            // Up to a minute between attempts, a quarter more by jitter; snapshot, pull and operation one after another.
            (any(&[EngineErrors, LostReplies, CloudFails, PullsFail, Strangers, EngineRestarts, Meddling, Hangs]), 240),
            (any(&[Hangs, PullsFail, CloudFails, Freezes]), 200),
            // Up to ten minutes after a refusal, a quarter more by jitter.
            (any(&[EngineRefuses, CloudRefuses, PullsRefused]), 1_600),
            // A new container that did not stay up is tried again after ten minutes.
            (
                any(&[
                    EngineErrors,
                    EngineRefuses,
                    LostReplies,
                    Hangs,
                    EngineRestarts,
                    Meddling,
                    Dying,
                    OddStates,
                    Strangers,
                ]),
                800,
            ),
            // A whole resync, a quarter more by jitter.
            (self.loses(), 400),
        ];
        Duration::from_secs(waits.iter().filter(|(is_so, _)| *is_so).map(|(_, seconds)| seconds).sum())
    }

    /// Names of the classes, for people.
    pub fn describe(&self) -> String {
        use Class::*;
        let all = [
            EngineErrors,
            EngineRefuses,
            LostReplies,
            Hangs,
            OddStates,
            EventsLost,
            EventsLate,
            QueueLate,
            QueueLoses,
            Stale,
            CloudFails,
            CloudRefuses,
            Gaps,
            FalseGone,
            PullsFail,
            PullsRefused,
            Meddling,
            Strangers,
            EngineRestarts,
            Crashes,
            Disk,
            Freezes,
            Dying,
            TagsMove,
            Disconnects,
            SlowLists,
        ];
        let known: Vec<String> = all.iter().filter(|class| self.knows(**class)).map(|c| format!("{c:?}")).collect();
        known.join(" ")
    }
}
