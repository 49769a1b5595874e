//! Ships the output of one container to CloudWatch: read, join, batch, deliver, store the cursor.
//!
//! One task, no locks. It reads while a batch is being sent, up to a limit, and stops reading while CloudWatch accepts
//! nothing; then the engine's log is the buffer. Output that is read and not delivered is in memory only. The cursor on
//! disk is before it, so a crash loses nothing. A batch is sent only when the cursor of the previous one is on disk, so
//! a crash sends at most one batch twice.

mod gap;
mod input;
mod send;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use managed_app_runtimes::{ContainerId, ErrorKind, LogChunk, RuntimeError, WorkloadEngine};
use time::OffsetDateTime;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};
use tracing::{debug, info, warn};

use self::input::{Input, Item};
use self::send::{Sending, Sent, progress};
use super::batch::Batcher;
use super::cursors::Cursors;
use super::deliver::Delivery;
use super::join::Joiner;
use super::position::Position;
use crate::cloud::backoff::Backoff;
use crate::model::NodeName;
use crate::status::Counter;
use crate::status::Volume;
use crate::status::now_ms;
use crate::text::chain;

/// Interval at which batches are sent that are not full. An event waits up to twice as long for its continuation lines.
const FLUSH_EVERY: Duration = Duration::from_secs(1);
/// If a batch takes this long, CloudWatch is slow or unavailable. Then the follower reads only enough to fill the next
/// batch.
const SLOW: Duration = Duration::from_secs(3);
/// An engine's log that is not read for this long is closed, so that the engine does not keep it open.
const STALL_MAX: Duration = Duration::from_secs(10);
/// Pause before a log that has ended is opened again while the engine reports that its container runs.
const ENDED_PAUSE: Duration = Duration::from_secs(1);
type Mark = Option<Position>;

/// State of a container, as the driver knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Lifecycle {
    /// It exists; with the start of its last run, if known.
    Present { started_at: Option<OffsetDateTime>, is_running: bool },
    /// Removed.
    Removed,
}

/// A request to ship all output.
#[derive(Debug)]
pub(super) struct FollowerRequest {
    /// Whether the container has stopped, so that its log has an end.
    pub(super) is_stopped: bool,
    /// Notified when all output is in CloudWatch (of a running container: all output that was read).
    pub(super) done: oneshot::Sender<()>,
}

/// What all followers share.
pub(super) struct FollowerContext {
    pub(super) engine: Arc<dyn WorkloadEngine>,
    pub(super) cursors: Arc<Cursors>,
    /// Limit of a batch of each follower, bytes; smaller when there are many.
    pub(super) batch_bytes_max: Arc<AtomicUsize>,
}

/// Ships the output of one container until it is removed.
pub(super) struct Follower {
    container: ContainerId,
    node: NodeName,
    cursors: Arc<Cursors>,
    batch_bytes_max: Arc<AtomicUsize>,
    counter: Counter,
    input: Input,
    reading: Reading,
    joiner: Joiner<Mark>,
    batcher: Batcher<Mark>,
    /// The position after all output that was read.
    position: Mark,
    /// The position that is no longer in the log, until the first line after it is read.
    gap: Mark,
    /// Output that was read and is neither in CloudWatch nor rejected nor lost.
    pending: Volume,
    /// `None` while it sends a batch.
    delivery: Option<Box<Delivery>>,
    sending: Option<Sending>,
    /// Number of the newest change of the cursor.
    cursor_change: u64,
    /// The event that waited for more lines at the previous flush.
    last_waiting: Option<u64>,
    is_flush_due: bool,
    /// Whether the last event was too old for CloudWatch.
    is_too_old: bool,
    /// When reading stopped because the batches were full.
    full_since: Option<Instant>,
    /// Whether the container runs, as far as known.
    is_running: bool,
    /// The start of its last run, if known.
    started_at: Option<OffsetDateTime>,
    backoff: Backoff,
    requests: Vec<FollowerRequest>,
}

/// State of the engine's log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reading {
    Open,
    /// The run has ended and its output is read; a new run opens the log again.
    Ended,
    /// Closed until there is room.
    Stalled,
    /// The log cannot be read, or it ended although the engine reports that the container runs.
    ClosedUntil(Instant),
    /// The container does not exist any more.
    Gone,
}

enum Event {
    Input(Item),
    Sent(Sent),
    FollowerRequest(FollowerRequest),
    Lifecycle(Lifecycle),
    Flush,
    Reopen,
}

impl Follower {
    pub(super) fn new(
        context: &FollowerContext,
        container: ContainerId,
        node: NodeName,
        counter: Counter,
        delivery: Delivery,
    ) -> Self {
        let position = context.cursors.get(&container);
        let mut input = Input::new(context.engine.clone(), container.clone());
        input.open(position);
        Self {
            container,
            node,
            cursors: context.cursors.clone(),
            batch_bytes_max: context.batch_bytes_max.clone(),
            counter,
            input,
            reading: Reading::Open,
            joiner: Joiner::new(position),
            batcher: Batcher::new(context.batch_bytes_max.load(Ordering::Relaxed)),
            position,
            gap: None,
            pending: Volume::default(),
            delivery: Some(Box::new(delivery)),
            sending: None,
            cursor_change: 0,
            last_waiting: None,
            is_flush_due: false,
            is_too_old: false,
            full_since: None,
            is_running: true,
            started_at: None,
            backoff: Backoff::default(),
            requests: Vec::new(),
        }
    }

    /// Runs until the container is removed and all output that was read is in CloudWatch, or until `requests` is
    /// closed.
    pub(super) async fn run(
        mut self,
        mut requests: mpsc::Receiver<FollowerRequest>,
        mut lifecycle: watch::Receiver<Lifecycle>,
    ) {
        if let Lifecycle::Present { started_at, is_running } = *lifecycle.borrow_and_update() {
            (self.started_at, self.is_running) = (started_at, is_running);
        }
        let (mut flush, mut was_idle) = (interval(FLUSH_EVERY), true);
        flush.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let has_room = self.has_room();
            // An idle follower has no flush timer: only output wakes it up.
            let is_idle = self.is_idle() && self.full_since.is_none();
            if std::mem::replace(&mut was_idle, is_idle) && !is_idle {
                flush.reset();
            }
            // All arms are cancel-safe: the input keeps its state, and the delivery is only polled.
            let event = tokio::select! {
                biased;
                sent = progress(&mut self.sending) => Event::Sent(sent),
                request = requests.recv() => match request {
                    Some(request) => Event::FollowerRequest(request),
                    None => return,
                },
                Ok(()) = lifecycle.changed() => Event::Lifecycle(lifecycle.borrow_and_update().clone()),
                _ = flush.tick(), if !is_idle => Event::Flush,
                () = reopen_due(self.reading) => Event::Reopen,
                item = self.input.next(), if has_room => Event::Input(item),
            };
            self.on_event(event);
            self.send();
            self.publish_progress();
            if self.reading == Reading::Gone && self.is_idle() && lifecycle.borrow().is_removed() {
                return;
            }
        }
    }

    fn on_event(&mut self, event: Event) {
        match event {
            Event::Input(item) => self.on_input(item),
            Event::Sent(sent) => self.on_sent(sent),
            Event::FollowerRequest(request) => self.handle_request(request),
            Event::Lifecycle(Lifecycle::Removed) => self.on_removed(),
            Event::Lifecycle(Lifecycle::Present { started_at, is_running }) => {
                let is_another_run = is_running || started_at != self.started_at;
                (self.started_at, self.is_running) = (started_at, is_running);
                if self.reading == Reading::Ended && is_another_run {
                    self.open();
                }
            }
            Event::Flush => self.flush(),
            Event::Reopen => self.open(),
        }
    }

    /// Whether more may be read: not while a full batch waits, and while CloudWatch is slow, not while any batch waits.
    /// A request for the end of the log lifts the second limit.
    fn has_room(&mut self) -> bool {
        let is_slow = self.sending.as_ref().is_some_and(|sending| sending.since.elapsed() >= SLOW);
        let has_room =
            if is_slow && self.requests.is_empty() { self.batcher.is_empty() } else { !self.batcher.has_full() };
        self.full_since = if has_room { None } else { self.full_since.or_else(|| Some(Instant::now())) };
        if has_room && self.reading == Reading::Stalled {
            self.open();
        }
        has_room
    }

    fn on_input(&mut self, item: Item) {
        match item {
            Item::Chunks(chunks) => self.on_chunks(&chunks),
            Item::Gap => self.gap_begins(),
            Item::Ended => {
                self.gap_ends(OffsetDateTime::now_utc());
                // An engine that is restarted ends its streams too.
                let is_over = !self.is_running || !self.requests.is_empty();
                self.reading =
                    if is_over { Reading::Ended } else { Reading::ClosedUntil(Instant::now() + ENDED_PAUSE) };
                self.flush_joiner();
            }
            Item::Failed(error) => self.on_read_error(&error),
        }
    }

    fn on_chunks(&mut self, chunks: &[LogChunk]) {
        if self.backoff.failures() > 0 {
            self.backoff.reset();
            info!(node = %self.node, container = %self.container, "the node's log can be read again");
        }
        if let Some(first) = chunks.first() {
            self.gap_ends(first.at);
        }
        let mut volume = Volume::default();
        for chunk in chunks {
            let position = Position::after(self.position, chunk);
            self.position = Some(position);
            volume += Volume { lines: u64::from(chunk.bytes.ends_with(b"\n")), bytes: chunk.bytes.len() as u64 };
            let at_ms = i64::try_from(chunk.at.unix_timestamp_nanos() / 1_000_000).unwrap_or(0);
            self.joiner.push(at_ms, chunk.source, &chunk.bytes, self.position);
        }
        self.pending += volume;
        self.counter.count(|numbers| numbers.read += volume);
        self.batch_events();
    }

    /// Moves complete events from the joiner into batches.
    fn batch_events(&mut self) {
        let now = now_ms();
        while let Some(event) = self.joiner.pop() {
            match self.batcher.push(event, now) {
                Ok(()) => self.is_too_old = false,
                Err(old) => self.reject_too_old(old.volume),
            }
        }
    }

    fn reject_too_old(&mut self, volume: Volume) {
        self.pending = self.pending.less(volume);
        self.counter.count(|numbers| numbers.rejected += volume);
        if !std::mem::replace(&mut self.is_too_old, true) {
            warn!(node = %self.node, container = %self.container,
                "output is older than the 14 days that CloudWatch accepts, and is lost; check the clock of this host");
        }
    }

    /// Completes events that wait for more lines, and moves all events into batches.
    fn flush_joiner(&mut self) {
        self.joiner.flush();
        self.batch_events();
        self.is_flush_due = true;
    }

    fn on_read_error(&mut self, error: &RuntimeError) {
        if error.kind() == ErrorKind::NotFound {
            debug!(node = %self.node, container = %self.container, "the container was removed while its log was read");
            self.reading = Reading::Gone;
            return self.flush_joiner();
        }
        self.reading = Reading::ClosedUntil(Instant::now() + self.backoff.next(rand::random()));
        if self.backoff.failures() == 1 {
            warn!(node = %self.node, container = %self.container, error = chain(error),
                "the node's log cannot be read; retrying");
        }
    }

    fn open(&mut self) {
        if self.reading != Reading::Gone {
            self.input.open(self.position);
            self.reading = Reading::Open;
        }
    }

    fn close(&mut self, reading: Reading) {
        self.input.close();
        self.reading = reading;
    }

    /// The end of a log that was opened while the container ran may come late. A log that is opened again has it at
    /// once.
    fn handle_request(&mut self, request: FollowerRequest) {
        if request.is_stopped {
            self.is_running = false;
            self.open();
        } else if self.reading != Reading::Gone {
            self.close(Reading::Ended);
        }
        self.flush_joiner();
        self.requests.push(request);
    }

    fn on_removed(&mut self) {
        self.gap_ends(OffsetDateTime::now_utc());
        if matches!(self.reading, Reading::Open | Reading::Stalled | Reading::ClosedUntil(_)) {
            self.counter.count(|numbers| numbers.gaps += 1);
            warn!(node = %self.node, container = %self.container,
                "the container was removed before its log was read to the end");
        }
        self.close(Reading::Gone);
        self.flush_joiner();
    }

    fn flush(&mut self) {
        let waiting = self.joiner.waiting();
        if waiting.is_some() && waiting == self.last_waiting {
            self.flush_joiner();
        }
        self.last_waiting = self.joiner.waiting();
        self.is_flush_due = true;
        if self.reading == Reading::Open && self.full_since.is_some_and(|since| since.elapsed() >= STALL_MAX) {
            self.close(Reading::Stalled);
        }
    }

    /// Whether all output that was read has been delivered.
    fn is_idle(&self) -> bool {
        self.sending.is_none() && self.batcher.is_empty() && self.joiner.waiting().is_none()
    }

    fn publish_progress(&mut self) {
        let sent = self.sending.as_ref().map(|sending| sending.oldest_ms);
        self.counter.set_oldest(sent.or(self.batcher.oldest_ms()).or(self.joiner.oldest_ms()));
        if matches!(self.reading, Reading::Ended | Reading::Gone) && self.is_idle() {
            for request in self.requests.drain(..) {
                // The caller may have stopped waiting.
                let _ = request.done.send(());
            }
        }
    }
}

impl Drop for Follower {
    /// The engine does not keep the output of a removed container.
    fn drop(&mut self) {
        if self.reading == Reading::Gone && self.pending != Volume::default() {
            let Volume { lines, bytes } = self.pending;
            self.counter.count(|numbers| numbers.lost += self.pending);
            warn!(node = %self.node, container = %self.container, lines, bytes,
                "output of a removed container is lost: the daemon ends before CloudWatch accepted it");
        }
    }
}

impl Lifecycle {
    pub(super) fn is_running(&self) -> bool {
        matches!(self, Self::Present { is_running: true, .. })
    }

    fn is_removed(&self) -> bool {
        *self == Self::Removed
    }
}

async fn reopen_due(reading: Reading) {
    match reading {
        Reading::ClosedUntil(at) => sleep_until(at).await,
        _ => std::future::pending().await,
    }
}
