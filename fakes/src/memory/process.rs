//! The processes of the in-memory engine: start, end, scheduled events, output. Nothing waits here.

use std::net::IpAddr;
use std::time::Duration;

use bytes::Bytes;
use managed_app_runtimes::{Action, ContainerState, LogChunk, LogSource, PortBinding, ProcessExit};
use tokio::time::Instant;

use super::Behaviour;
use super::state::{Serial, State};

/// First and longest delay before the engine restarts a crashed container, as with Docker.
const BACKOFF_FIRST: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(60);
/// A run of at least this duration resets the delay.
const STEADY: Duration = Duration::from_secs(10);
/// Longest chunk of a line, as with Docker's log drivers.
const CHUNK_MAX: usize = 16 * 1024;
/// Chunks of output kept for each container; older ones are dropped.
const CHUNKS_KEPT: usize = 50_000;
/// Exit code of a killed process.
pub(super) const KILLED: i64 = 137;

/// A scheduled event of a run of a container.
#[derive(Debug, Clone, Copy)]
pub(super) struct Due {
    serial: Serial,
    run: u64,
    what: DueKind,
}

#[derive(Debug, Clone, Copy)]
enum DueKind {
    /// The process ends.
    End { code: i64, cause: Cause },
    /// The engine restarts it.
    Restart,
}

/// Why a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cause {
    /// It was requested; the restart policy does not apply.
    Wanted,
    /// By itself.
    Itself,
}

impl State {
    /// Applies everything that was due until `now`.
    pub(super) fn apply_due(&mut self, now: Instant) {
        while let Some(first) = self.due.first_entry() {
            let (at, _) = *first.key();
            if at > now {
                return;
            }
            let Due { serial, run, what } = first.remove();
            let Some(entry) = self.containers.get(&serial) else { continue };
            match what {
                DueKind::End { code, cause } if entry.run == run => self.end(serial, at, code, cause),
                DueKind::Restart if entry.run == run && entry.state == ContainerState::Restarting => {
                    // A port was taken meanwhile: the engine gives up, as Docker does.
                    if self.begin(serial, at).is_err()
                        && let Some(entry) = self.containers.get_mut(&serial)
                    {
                        entry.state = ContainerState::Exited { code: Some(128) };
                    }
                }
                DueKind::End { .. } | DueKind::Restart => {}
            }
        }
    }

    /// Time of the next scheduled event.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.due.first_key_value().map(|((at, _), _)| *at)
    }

    fn schedule(&mut self, at: Instant, due: Due) {
        let number = self.next_number();
        self.due.insert((at, number), due);
        self.due_added.notify_waiters();
    }

    /// Starts the process at `at`; returns a taken port if there is one.
    pub(super) fn begin(&mut self, serial: Serial, at: Instant) -> Result<(), PortBinding> {
        let Some(entry) = self.containers.get(&serial) else { return Ok(()) };
        let ports = entry.ports().to_vec();
        if let Some(taken) = ports.iter().find(|port| self.is_taken(port)) {
            return Err(taken.clone());
        }
        for port in &ports {
            let users = self.ports.entry((port.protocol, port.host_port)).or_default();
            users.push((port.host_address, Some(serial)));
        }
        let started_at = self.clock.at(at);
        let behaviour = self.behaviour(serial);
        let Some(entry) = self.containers.get_mut(&serial) else { return Ok(()) };
        entry.run += 1;
        entry.state = ContainerState::Running;
        entry.started_at = Some(started_at);
        entry.started = Some(at);
        let (run, name) = (entry.run, entry.name.clone());
        self.publish(serial, Action::Started, at);
        for (source, bytes) in self.outputs_by_name.get(&name).cloned().unwrap_or_default() {
            self.write(serial, source, &bytes);
        }
        if let Some((after, code)) = behaviour.end() {
            self.schedule(at + after, Due { serial, run, what: DueKind::End { code, cause: Cause::Itself } });
            self.apply_due(at);
        }
        Ok(())
    }

    /// Ends the process, if there is one, or a pending restart.
    pub(super) fn end(&mut self, serial: Serial, at: Instant, code: i64, cause: Cause) {
        let ended_at = self.clock.at(at);
        let stays_down = cause == Cause::Wanted || matches!(self.behaviour(serial), Behaviour::Exits { .. });
        let Some(entry) = self.containers.get_mut(&serial) else { return };
        if !entry.has_process() {
            if cause == Cause::Wanted && entry.state == ContainerState::Restarting {
                entry.state = ContainerState::Exited { code: Some(code) };
            }
            return;
        }
        let was_steady = entry.started.is_some_and(|started| at.saturating_duration_since(started) >= STEADY);
        entry.failures = if stays_down || was_steady { 0 } else { entry.failures };
        entry.state = if stays_down { ContainerState::Exited { code: Some(code) } } else { ContainerState::Restarting };
        let pause = BACKOFF_FIRST.saturating_mul(1 << entry.failures.min(16)).min(BACKOFF_MAX);
        entry.failures += 1;
        entry.restarts += u64::from(!stays_down);
        entry.last_exit = Some(ProcessExit { code: Some(code), is_oom: false, at: Some(ended_at) });
        let run = entry.run;
        let ports = entry.ports().to_vec();
        for port in ports {
            if let Some(users) = self.ports.get_mut(&(port.protocol, port.host_port)) {
                users.retain(|(_, user)| *user != Some(serial));
            }
        }
        self.publish(serial, Action::Died, at);
        if !stays_down {
            self.schedule(at + pause, Due { serial, run, what: DueKind::Restart });
        }
    }

    /// Sends the stop signal; returns the time of the process's end, `None` when there is no process.
    pub(super) fn signal_stop(&mut self, serial: Serial, now: Instant, grace: Duration) -> Option<Instant> {
        let behaviour = self.behaviour(serial);
        let latency = self.latencies.stop;
        let entry = self.containers.get(&serial)?;
        if !entry.has_process() {
            self.end(serial, now, 0, Cause::Wanted);
            return None;
        }
        // A paused process cannot react; it is killed after the grace.
        let ignores_stop = behaviour == Behaviour::IgnoresStop || entry.state == ContainerState::Paused;
        let (wait, code) = if ignores_stop || latency > grace { (grace, KILLED) } else { (latency, 0) };
        let (at, run) = (now + wait, entry.run);
        self.schedule(at, Due { serial, run, what: DueKind::End { code, cause: Cause::Wanted } });
        self.apply_due(now);
        Some(at)
    }

    fn behaviour(&self, serial: Serial) -> Behaviour {
        let Some(entry) = self.containers.get(&serial) else { return Behaviour::Runs };
        let by_image = || {
            let image = &entry.spec.as_ref()?.image;
            self.behaviours_by_image.get(&image.to_pull()).copied()
        };
        self.behaviours_by_name.get(&entry.name).copied().or_else(by_image).unwrap_or_default()
    }

    fn is_taken(&self, port: &PortBinding) -> bool {
        let users = self.ports.get(&(port.protocol, port.host_port));
        users.into_iter().flatten().any(|(address, _)| overlap(*address, port.host_address))
    }

    /// The process writes `bytes`: stored line by line, long lines in chunks.
    pub(super) fn write(&mut self, serial: Serial, source: LogSource, bytes: &Bytes) {
        let now = self.clock.now();
        let Some(entry) = self.containers.get_mut(&serial) else { return };
        for line in bytes.split_inclusive(|byte| *byte == b'\n') {
            for piece in line.chunks(CHUNK_MAX) {
                // One nanosecond apart, so that the time alone orders them even while the clock is paused.
                let last = entry.logs.back().map(|(_, chunk)| chunk.at + Duration::from_nanos(1));
                // The last chunk is so much later only if the clock was set back.
                let last = last.filter(|last| *last - now < time::Duration::SECOND);
                let at = last.map_or(now, |last| last.max(now));
                entry.logs.push_back((entry.run, LogChunk { at, source, bytes: bytes.slice_ref(piece) }));
                if entry.logs.len() > CHUNKS_KEPT {
                    entry.logs.pop_front();
                    entry.logs_first += 1;
                }
            }
        }
        entry.changed.notify_waiters();
    }
}

/// Whether two host addresses conflict on one port.
fn overlap(one: IpAddr, other: IpAddr) -> bool {
    one == other || (one.is_ipv4() == other.is_ipv4() && (one.is_unspecified() || other.is_unspecified()))
}
