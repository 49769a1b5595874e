//! Behaviour of the processes and the engine of the in-memory backend. Data only.

use std::time::Duration;

/// Behaviour of a container's process after its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Behaviour {
    /// Runs until it is stopped; ends with code 0 as soon as it receives the stop signal.
    #[default]
    Runs,
    /// Runs and ignores the stop signal, so that it is killed (code 137) after the grace.
    IgnoresStop,
    /// Ends by itself and stays stopped, as if the engine had no restart policy.
    Exits {
        /// Exit code.
        code: i64,
        /// How long it runs; zero is at once.
        after: Duration,
    },
    /// Ends by itself each time; the engine restarts it after 100 ms, doubled each time up to a minute.
    CrashLoops {
        /// Exit code.
        code: i64,
        /// How long each run lasts; zero is at once.
        after: Duration,
    },
}

impl Behaviour {
    /// Time and code of the process's own end, if it ends by itself.
    pub(super) fn end(self) -> Option<(Duration, i64)> {
        match self {
            Self::Runs | Self::IgnoresStop => None,
            Self::Exits { code, after } | Self::CrashLoops { code, after } => Some((after, code)),
        }
    }
}

/// Durations of the engine's calls. All zero by default.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Latencies {
    /// A pull in total; progress is reported in ten steps.
    pub pull: Duration,
    /// A create.
    pub create: Duration,
    /// A start.
    pub start: Duration,
    /// From the stop signal to the end of a process that handles it; never more than the grace.
    pub stop: Duration,
}
