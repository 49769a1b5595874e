//! Event and log streams of the in-memory engine. They apply due events while they are polled.

use std::sync::Arc;
use std::time::Duration;

use futures_util::stream;
use managed_app_runtimes::{
    ContainerId, EngineEvent, ErrorKind, EventStream, LogChunk, LogStream, Owner, Result, RuntimeError,
};
use time::OffsetDateTime;
use tokio::sync::broadcast::{self, error::RecvError};
use tokio::time::Instant;

use super::InMemoryRuntime;
use super::state::{Occurrence, Serial};

/// Longest wait of a stream before it checks again; only matters when nothing is due.
const FAR: Duration = Duration::from_secs(24 * 3600);

pub(super) fn events(engine: InMemoryRuntime, owner: Owner) -> EventStream {
    let receiver = engine.lock().events.subscribe();
    Box::pin(stream::unfold((engine, owner, receiver), |(engine, owner, mut receiver)| async move {
        let event = next_event(&engine, &owner, &mut receiver).await?;
        Some((Ok(event), (engine, owner, receiver)))
    }))
}

async fn next_event(
    engine: &InMemoryRuntime,
    owner: &Owner,
    receiver: &mut broadcast::Receiver<Arc<Occurrence>>,
) -> Option<EngineEvent> {
    loop {
        let due_added = Arc::clone(&engine.engine.due_added);
        let mut due_added = std::pin::pin!(due_added.notified());
        due_added.as_mut().enable();
        let due = engine.lock().next_due().unwrap_or_else(|| Instant::now() + FAR);
        // Cancel-safe, all three: `recv` loses nothing when dropped, the others only wake up.
        tokio::select! {
            biased;
            received = receiver.recv() => match received {
                Ok(occurrence) => match &*occurrence {
                    Occurrence::Event { event, labels, networks } => {
                        if owner.owns(labels) || owner.owns_legacy(labels, networks) {
                            return Some(event.clone());
                        }
                    }
                    Occurrence::Cut => return None,
                },
                // Lost events are allowed: events are not authoritative.
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return None,
            },
            () = &mut due_added => {}
            () = tokio::time::sleep_until(due) => {}
        }
    }
}

/// Position of a log stream.
struct Position {
    serial: Serial,
    /// The run that it follows; it ends with that run.
    run: u64,
    next: u64,
    epoch: u64,
    /// Older chunks are skipped, as with Podman: each by its own time.
    since: Option<OffsetDateTime>,
}

pub(super) fn logs(engine: InMemoryRuntime, id: &ContainerId, since: Option<OffsetDateTime>) -> Option<LogStream> {
    let position = {
        let state = engine.lock();
        let serial = state.serial_by_id(id)?;
        let entry = state.containers.get(&serial)?;
        Position { serial, run: entry.run, next: entry.logs_first, epoch: state.epoch, since }
    };
    Some(Box::pin(stream::unfold((engine, position), |(engine, mut position)| async move {
        let chunk = next_chunk(&engine, &mut position).await?;
        Some((chunk, (engine, position)))
    })))
}

enum Step {
    Chunk(LogChunk),
    Skip,
    Wait(Instant),
    /// The next output was dropped before it was read.
    Missed,
    End,
}

async fn next_chunk(engine: &InMemoryRuntime, position: &mut Position) -> Option<Result<LogChunk>> {
    loop {
        let changed = engine.lock().containers.get(&position.serial).map(|entry| Arc::clone(&entry.changed))?;
        let mut changed = std::pin::pin!(changed.notified());
        changed.as_mut().enable();
        match step(engine, position) {
            Step::Chunk(chunk) => return Some(Ok(chunk)),
            Step::Skip => {}
            Step::Missed => {
                // The next step ends the stream.
                position.epoch = u64::MAX;
                return Some(Err(RuntimeError::new(ErrorKind::Other, "read logs of container", "that was not read")));
            }
            Step::End => return None,
            Step::Wait(until) => tokio::select! {
                () = &mut changed => {}
                () = tokio::time::sleep_until(until) => {}
            },
        }
    }
}

fn step(engine: &InMemoryRuntime, position: &mut Position) -> Step {
    let state = engine.lock();
    let Some(entry) = state.containers.get(&position.serial) else { return Step::End };
    if state.epoch != position.epoch {
        return Step::End;
    }
    let Some(index) = position.next.checked_sub(entry.logs_first) else { return Step::Missed };
    let index = usize::try_from(index).expect("kept chunks are counted by usize");
    match entry.logs.get(index) {
        Some((run, chunk)) if *run <= position.run => {
            position.next += 1;
            let is_older = position.since.is_some_and(|since| chunk.at < since);
            if is_older { Step::Skip } else { Step::Chunk(chunk.clone()) }
        }
        None if entry.run == position.run && entry.has_process() => {
            Step::Wait(state.next_due().unwrap_or_else(|| Instant::now() + FAR))
        }
        _ => Step::End,
    }
}
