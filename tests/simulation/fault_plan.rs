//! The faults of a run. Each run has its own set of classes, because some bugs show only without other faults. Faults
//! occur only in fault phases.

use std::time::Duration;

use crate::prng::Prng;

/// A class of faults.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Engine calls fail, transiently.
    EngineErrors,
    /// Engine calls are refused.
    EngineRefuses,
    /// Engine calls are executed, and the response is lost.
    LostReplies,
    /// Engine calls hang until the deadline, and may be executed later.
    Hangs,
    /// A list has an unknown state of a container.
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
    /// The cloud reports falsely that the app is gone.
    FalseGone,
    /// Pulls fail and stall.
    PullsFail,
    /// Registries throttle, or do not have the image.
    PullsRefused,
    /// External changes to our containers, images and network.
    Meddling,
    /// Foreign containers take the names of nodes.
    Strangers,
    /// The engine restarts.
    EngineRestarts,
    /// The daemon crashes.
    Crashes,
    /// The state file cannot be written or read.
    Disk,
    /// The daemon is suspended for a while.
    Freezes,
    /// Processes of nodes end by themselves.
    Dying,
    /// Tags of images are moved.
    TagsMove,
    /// External disconnections of our containers. For a stopped container this may be visible only later, in a list.
    Disconnects,
    /// Lists are slow, and old when they arrive.
    SlowLists,
}

const CLASSES: u32 = Class::SlowLists as u32 + 1;

/// The faults of a run.
pub struct FaultPlan {
    classes: u32,
    /// Whether faults occur now.
    pub is_active: bool,
}

impl FaultPlan {
    /// Random classes: none, few or about half of all.
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

    /// The classes with these bits, in the order of [`Class`].
    pub fn of(classes: u32) -> Self {
        Self { classes: classes & ((1 << CLASSES) - 1), is_active: false }
    }

    /// Whether the run has this class.
    pub fn knows(&self, class: Class) -> bool {
        self.classes & (1 << class as u32) != 0
    }

    /// Whether a fault of this class may occur now.
    pub fn has(&self, class: Class) -> bool {
        self.is_active && self.knows(class)
    }

    /// Whether only the next resync may find a missed change.
    pub fn loses(&self) -> bool {
        use Class::*;
        [EventsLost, EventsLate, QueueLoses, Hangs, OddStates, TagsMove, Gaps, Disconnects]
            .into_iter()
            .any(|class| self.knows(class))
    }

    /// Limit for the desired state after the last fault: the sum of the possible waits of the daemon.
    pub fn bound(&self) -> Duration {
        use Class::*;
        let any = |classes: &[Class]| classes.iter().any(|class| self.knows(*class));
        let waits = [
            // A stop, a pull, a list, another stop; all twice.
            (true, 180),
            // Up to a minute between attempts, a quarter more by jitter; snapshot, pull and operation one after
            // another.
            (any(&[EngineErrors, LostReplies, CloudFails, PullsFail, Strangers, EngineRestarts, Meddling, Hangs]), 240),
            (any(&[Hangs, PullsFail, CloudFails, Freezes]), 200),
            // Up to ten minutes after a permanent failure, a quarter more by jitter.
            (any(&[EngineRefuses, CloudRefuses, PullsRefused]), 1_600),
            // A new container that failed is retried after ten minutes.
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
