//! Counts exits of a node's process, also if the engine starts it. Decides the delay of the next start if the engine's restart
//! policy does not act, the beginning and end of a crash loop, and when it is reported.

use std::time::Duration;

use managed_app_runtimes::{ContainerState, Instance, ProcessExit};

use super::crash_loop::{CrashLoop, CrashLoopNotice, NextStart};

/// A run of this length resets the delay, as with Docker.
const STEADY_RUN: Duration = Duration::from_secs(10);
/// The delay after the first short run; each further one doubles it.
const PAUSE_FIRST: Duration = Duration::from_millis(100);
/// The maximum delay.
const PAUSE_MAX: Duration = Duration::from_secs(60);
/// The number of exits that make a crash loop: one or two may be intended.
const LOOP_FROM: u32 = 3;
/// A crash loop is over when the process has been up for this time, twice the maximum delay. Exits further apart do not
/// count.
pub const OVER_AFTER: Duration = Duration::from_secs(120);
/// A crash loop that continues is reported again after this time, and when its count has roughly tripled.
const REPORT_AGAIN_AFTER: Duration = Duration::from_secs(3_600);

/// The exits of one node's process, from lists and engine events.
#[derive(Debug, Default)]
pub struct CrashTracker {
    /// When the current run began, if this daemon observed it.
    running_since: Option<Duration>,
    /// Since when a container of the node runs, as far as lists show.
    up_since: Option<Duration>,
    ended_at: Option<Duration>,
    /// Runs below [`STEADY_RUN`] in a row.
    short_runs: u32,
    not_before: Option<Duration>,
    /// Exits of runs below [`OVER_AFTER`] in a row.
    ends: u32,
    /// When the first of these runs began.
    began: Option<Duration>,
    /// Whether the engine is about to start it.
    is_restarting: bool,
    /// Details from events of an exit that no list has shown yet.
    event_exit: ProcessExit,
    last_exit: Option<ProcessExit>,
    /// The count of the last report, and its time.
    reported: Option<(u32, Duration)>,
    over: Option<u32>,
}

impl CrashTracker {
    /// Compares the container in a list (`seen`) with its known state (`before`).
    pub fn observe(&mut self, before: Option<&Instance>, seen: &Instance, now: Duration) {
        let is_new_end = seen.last_exit.is_some_and(|exit| self.last_exit.is_none_or(|last| last.at != exit.at));
        self.is_restarting = seen.state == ContainerState::Restarting;
        let length = run_length(before, seen);
        let ends = match before {
            Some(before) => ends_between(before, seen),
            None => self.ends_before(seen, length),
        };
        if is_new_end || ends > 0 {
            self.record_exit(seen);
        }
        if ends > 0 {
            self.ended(ends, length, before.is_some(), now);
        }
        let Some(before) = before else { return };
        if seen.state == ContainerState::Running && (before.state != ContainerState::Running || is_other(before, seen))
        {
            self.started(now);
        }
    }

    /// A run has begun.
    pub fn started(&mut self, now: Duration) {
        self.running_since = Some(now);
        self.up_since = Some(now);
        self.not_before = None;
        self.is_restarting = false;
    }

    /// A list shows whether a container of the node runs. The start of a run is not always observed: a container that
    /// replaces another one can be running in the first list that has it.
    pub fn observe_running(&mut self, is_running: bool, now: Duration) {
        self.up_since = if is_running { self.up_since.or(Some(now)) } else { None };
    }

    /// An engine event reported an exit. Lists do not show the code once the next run has begun.
    pub fn on_exit_event(&mut self, code: Option<i64>) {
        match &mut self.last_exit {
            // The list came first.
            Some(last) if last.code.is_none() && code.is_some() => {
                last.code = code;
                last.is_oom |= std::mem::take(&mut self.event_exit).is_oom;
            }
            _ => self.event_exit.code = code,
        }
    }

    /// An engine event reported an OOM kill.
    pub fn on_oom_event(&mut self) {
        self.event_exit.is_oom = true;
    }

    /// When the delay ends, if there is one at `now`.
    pub fn pause(&self, now: Duration) -> Option<Duration> {
        self.not_before.filter(|at| *at > now)
    }

    /// Ends the delay; exits are still counted.
    pub fn skip_delay(&mut self) {
        self.not_before = None;
    }

    /// The desired state has changed: delays start again. The exits still count until the process stays up.
    pub fn reset_delay(&mut self) {
        self.short_runs = 0;
        self.skip_delay();
    }

    /// When the current run is long enough to clear earlier exits, if there are any.
    pub fn clears_at(&self) -> Option<Duration> {
        self.running_since.or(self.up_since).filter(|_| self.ends > 0).map(|since| since + OVER_AFTER)
    }

    /// Clears earlier exits if the current run is long enough.
    pub fn clear(&mut self, now: Duration) {
        if self.clears_at().is_some_and(|at| at <= now) {
            self.forget();
        }
    }

    /// The crash loop, if there is one.
    pub fn crash_loop(&self) -> Option<CrashLoop> {
        (self.ends >= LOOP_FROM).then(|| CrashLoop {
            count: self.ends,
            window: self.began.and_then(|began| Some(self.ended_at?.saturating_sub(began))),
            last: self.last_exit.unwrap_or_default(),
            next_start: self.next_start(),
        })
    }

    /// The last exit of the process.
    pub fn last_exit(&self) -> Option<ProcessExit> {
        self.last_exit
    }

    /// The report that is due now; it is returned once.
    pub fn take_notice(&mut self, now: Duration) -> Option<CrashLoopNotice> {
        if let Some(count) = self.over.take() {
            return Some(CrashLoopNotice::Over { count });
        }
        let crash_loop = self.crash_loop()?;
        let is_due = self.reported.is_none_or(|(count, at)| {
            let is_late = now.saturating_sub(at) >= REPORT_AGAIN_AFTER;
            self.ends >= next_threshold(count) || (is_late && self.ends > count)
        });
        is_due.then(|| {
            self.reported = Some((self.ends, now));
            CrashLoopNotice::GoingOn(crash_loop)
        })
    }

    fn next_start(&self) -> Option<NextStart> {
        if self.running_since.is_some() {
            return None;
        }
        if self.is_restarting {
            return Some(NextStart { pause: pause_after(self.short_runs.max(1)), by_engine: true });
        }
        let pause = self.not_before?.saturating_sub(self.ended_at?);
        Some(NextStart { pause, by_engine: false })
    }

    /// Exits of a container that is new to this daemon and that the engine restarts repeatedly: the engine's count.
    fn ends_before(&self, seen: &Instance, length: Option<Duration>) -> u32 {
        let is_short = length.is_some_and(|length| length < OVER_AFTER);
        let is_unknown = self.ends == 0 && self.running_since.is_none();
        let counts = self.is_restarting && is_short && is_unknown;
        seen.restarts.filter(|_| counts).map_or(0, |count| u32::try_from(count).unwrap_or(u32::MAX))
    }

    /// Runs have ended, the last of which lasted for `length` by the engine's clock.
    fn ended(&mut self, count: u32, length: Option<Duration>, is_start_known: bool, now: Duration) {
        let by_engine = length.map(|length| now.saturating_sub(length));
        // Without times of the engine, the run of a container that was already running may have been long.
        let Some(since) = self.running_since.take().or(by_engine).or(self.ended_at) else { return };
        let run = now.saturating_sub(since);
        if run >= OVER_AFTER {
            self.forget();
        }
        self.ends = self.ends.saturating_add(count);
        if self.began.is_none() && is_start_known {
            self.began = Some(since);
        }
        self.ended_at = Some(now);
        self.up_since = None;
        if run >= STEADY_RUN {
            self.short_runs = 0;
            return;
        }
        self.short_runs = self.short_runs.saturating_add(count);
        self.not_before = Some(now + pause_after(self.short_runs));
    }

    fn forget(&mut self) {
        self.over = self.reported.take().map(|_| self.ends);
        (self.ends, self.began, self.short_runs) = (0, None, 0);
    }

    fn record_exit(&mut self, seen: &Instance) {
        let event = std::mem::take(&mut self.event_exit);
        let listed = seen.last_exit.unwrap_or_default();
        let of_state = match seen.state {
            ContainerState::Exited { code } => code,
            _ => None,
        };
        let code = listed.code.or(of_state).or(event.code);
        self.last_exit = Some(ProcessExit { code, is_oom: listed.is_oom || event.is_oom, at: listed.at });
    }
}

/// The delay after this many short runs in a row, 1 or more.
fn pause_after(short_runs: u32) -> Duration {
    PAUSE_FIRST.saturating_mul(1 << short_runs.saturating_sub(1).min(16)).min(PAUSE_MAX)
}

/// 3, 10, 30, 100, 300, ...: the first of these above `count`.
fn next_threshold(count: u32) -> u32 {
    let (mut threshold, mut is_three) = (LOOP_FROM, true);
    while threshold <= count {
        let Some(next) = (if is_three { (threshold / 3).checked_mul(10) } else { threshold.checked_mul(3) }) else {
            return u32::MAX;
        };
        (threshold, is_three) = (next, !is_three);
    }
    threshold
}

fn is_up(container: &Instance) -> bool {
    matches!(container.state, ContainerState::Running | ContainerState::Paused)
}

fn has_ended(container: &Instance) -> bool {
    matches!(container.state, ContainerState::Exited { .. } | ContainerState::Restarting | ContainerState::Dead)
}

/// Whether the process is a new one, by its start time.
fn is_other(before: &Instance, seen: &Instance) -> bool {
    before.started_at.is_some_and(|at| seen.started_at.is_some_and(|now| now != at))
}

/// Exits between two lists: by the engine's count if there is one, and at least one if the process does not run any
/// more or is a new one.
fn ends_between(before: &Instance, seen: &Instance) -> u32 {
    let by_state = u32::from(is_up(before) && (has_ended(seen) || (is_up(seen) && is_other(before, seen))));
    by_state.max(ends_by_count(before, seen).unwrap_or(0))
}

/// Each start by the engine follows an exit. An exit without a start is the current one, unless it was observed before.
fn ends_by_count(before: &Instance, seen: &Instance) -> Option<u32> {
    let starts = i64::try_from(engine_starts(seen)?).ok()? - i64::try_from(engine_starts(before)?).ok()?;
    if starts < 0 {
        // A start by a call resets the count.
        return None;
    }
    let ends = starts + i64::from(has_ended(seen)) - i64::from(has_ended(before));
    u32::try_from(ends).ok()
}

/// Completed starts by the engine: Docker counts one as soon as it is planned.
fn engine_starts(container: &Instance) -> Option<u64> {
    let is_intended = container.state == ContainerState::Restarting;
    container.restarts.map(|count| count.saturating_sub(u64::from(is_intended)))
}

/// Duration of the last finished run, by the engine's clock.
fn run_length(before: Option<&Instance>, seen: &Instance) -> Option<Duration> {
    let ended_at = seen.last_exit?.at?;
    let started_at = if has_ended(seen) { seen.started_at? } else { before?.started_at? };
    Duration::try_from(ended_at - started_at).ok()
}

#[cfg(test)]
mod tests;
