//! Crash loops in the data model of the status socket, and as text.

use std::time::Duration;

use managed_app_runtimes::ProcessExit;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::Stamp;
use crate::reconciler::{CrashLoop, exit_text, rounded, signal};

/// The exit of a process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExitReport {
    /// Exit code; 128 + n for signal n.
    pub code: Option<i64>,
    /// The name of the signal that the code stands for, such as `SIGKILL`.
    pub signal: Option<String>,
    /// Whether it was OOM killed, as far as the engine reports this.
    pub is_oom: bool,
    /// Time of the exit, by the engine's clock.
    pub at: Option<Stamp>,
}

impl ExitReport {
    /// The report of `exit`.
    pub(in crate::status) fn of(exit: &ProcessExit) -> Self {
        Self {
            code: exit.code,
            signal: exit.code.and_then(signal).map(str::to_owned),
            is_oom: exit.is_oom,
            at: exit.at.map(Stamp::of),
        }
    }

    /// As text, such as `exited 137 (OOM killed)`.
    pub fn text(&self) -> String {
        exit_text(&ProcessExit { code: self.code, is_oom: self.is_oom, at: None })
    }
}

/// A crash loop.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CrashLoopReport {
    /// Exits of the process so far.
    pub count: u32,
    /// Time from the first start to the last exit, seconds; absent if the first start is unknown.
    pub window_s: Option<f64>,
    /// Time of the next start, while the process does not run. The delay of the engine is that of Docker's documentation.
    pub next_start_at: Option<Stamp>,
    /// `engine` or `daemon`, which starts it.
    pub next_start_by: Option<String>,
}

impl CrashLoopReport {
    /// The report of `crash_loop`.
    pub(in crate::status) fn of(crash_loop: &CrashLoop) -> Self {
        Self {
            count: crash_loop.count,
            window_s: crash_loop.window.map(|window| window.as_secs_f64()),
            next_start_at: next_start_at(crash_loop).map(Stamp::of),
            next_start_by: crash_loop
                .next_start
                .map(|next| if next.by_engine { "engine" } else { "daemon" }.to_owned()),
        }
    }
}

/// `crash loop: exited 137 (OOM killed) 6 times in 2 min; next start in 32 s`
pub(in crate::status) fn crash_loop_text(crash_loop: &CrashLoop, now: Stamp) -> String {
    let next = next_start_at(crash_loop).and_then(|at| Duration::try_from(at - now.time()).ok());
    match next.filter(|next| !next.is_zero()) {
        Some(next) => format!("{crash_loop}; next start in {}", rounded(next)),
        None => crash_loop.to_string(),
    }
}

/// By the engine's clock, which is the host's.
fn next_start_at(crash_loop: &CrashLoop) -> Option<OffsetDateTime> {
    Some(crash_loop.last.at? + crash_loop.next_start?.pause)
}
