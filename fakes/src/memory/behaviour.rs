//! How the processes and the engine of the in-memory backend behave. Data only.

use std::time::Duration;

/// What a container's process does once it is started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Behaviour {
    /// Runs until it is stopped; ends with code 0 as soon as it gets the stop signal.
    #[default]
    Runs,
    /// Runs and ignores the stop signal, so that it is killed (code 137) when the grace is over.
    IgnoresStop,
    /// Ends by itself and stays down, as if the engine had no restart policy.
    Exits {
        /// Exit code.
        code: i64,
        /// How long it runs; zero is at once.
        after: Duration,
    },
    /// Ends by itself each time; the engine starts it again after 100 ms, doubled each time up to a minute.
    CrashLoops {
        /// Exit code.
        code: i64,
        /// How long each run lasts; zero is at once.
        after: Duration,
    },
}

impl Behaviour {
    /// When and with what code the process ends by itself, if it does.
    pub(super) fn end(self) -> Option<(Duration, i64)> {
        match self {
            Self::Runs | Self::IgnoresStop => None,
            Self::Exits { code, after } | Self::CrashLoops { code, after } => Some((after, code)),
        }
    }
}

/// How long the engine takes for its calls. All zero by default.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Latencies {
    /// A pull, altogether; progress is told in ten steps.
    pub pull: Duration,
    /// A create.
    pub create: Duration,
    /// A start.
    pub start: Duration,
    /// From the stop signal to the end of a process that heeds it; never more than the grace.
    pub stop: Duration,
}
