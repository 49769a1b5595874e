//! The output of one container on its way to CloudWatch: read, join, batch, deliver, remember.
//!
//! One task, no locks: it reads while a batch is on its way, up to a bound, and stops reading when CloudWatch does not
//! take what it has; the engine's own log is the buffer then. What is read and not delivered is in memory alone, and the
//! cursor on disk stands before it, so that a crash loses nothing. A batch is sent only when the cursor of the one before
//! is on disk, so that a crash sends at most one batch twice.

mod gap;
mod input;
mod send;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use managed_app_runtimes::{ContainerId, ContainerRuntime, ErrorKind, LogChunk, RuntimeError};
use time::OffsetDateTime;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};
use tracing::{debug, info, warn};

use self::input::{Input, Item};
use self::send::{Sending, Sent, progress};
use super::batch::Batcher;
use super::clock::now_ms;
use super::cursors::Cursors;
use super::deliver::Delivery;
use super::event::Volume;
use super::join::Joiner;
use super::numbers::Counter;
use super::position::Position;
use crate::cloud::backoff::Backoff;
use crate::driver::chain;
use crate::model::NodeName;

/// How often what is there is sent, full batch or not. An event waits up to twice as long for lines that belong to it.
const FLUSH_EVERY: Duration = Duration::from_secs(1);
/// A batch that is on its way for so long shows that CloudWatch is slow or away: no more is read than is needed to fill
/// the next one.
const SLOW: Duration = Duration::from_secs(3);
/// An engine's log that is not read for so long is closed, so that the engine need not keep it open for us.
const STALL_MAX: Duration = Duration::from_secs(10);
/// Pause before a log that has ended is opened again, as long as the engine says that its container runs.
const ENDED_PAUSE: Duration = Duration::from_secs(1);
type Mark = Option<Position>;

/// Where a container is in its life, as the engine lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Lifecycle {
    /// There, with the start of its last run.
    There { started_at: Option<OffsetDateTime>, is_running: bool },
    /// Removed.
    Gone,
}

/// What a follower is asked for.
#[derive(Debug)]
pub(super) struct FollowerRequest {
    /// Whether the container has stopped, so that its log has an end to be read to.
    pub(super) is_stopped: bool,
    /// Told when all of the output (or all that was read, of a container that runs) is in CloudWatch.
    pub(super) done: oneshot::Sender<()>,
}

/// What a follower works with.
pub(super) struct FollowerContext {
    pub(super) runtime: Arc<dyn ContainerRuntime>,
    pub(super) cursors: Arc<Cursors>,
    /// The most bytes of a batch, for all followers; fewer when there are many.
    pub(super) batch_bytes_max: Arc<AtomicUsize>,
}

/// Ships the output of one container until it is gone.
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
    /// The place after all that was read.
    place: Mark,
    /// The place that was not in the log any more, until the first line after it comes.
    gap: Mark,
    /// What was read and is neither in CloudWatch nor given up.
    pending: Volume,
    /// `None` while it is on its way with a batch.
    delivery: Option<Box<Delivery>>,
    sending: Option<Sending>,
    /// Number of the newest change of the cursor.
    noted: u64,
    /// The event that waited for more lines at the last flush.
    waited: Option<u64>,
    is_flush_due: bool,
    /// Whether the last event was too old for CloudWatch.
    is_too_old: bool,
    /// When reading stopped for want of room.
    full_since: Option<Instant>,
    /// Whether the engine said last that the container runs.
    is_running: bool,
    backoff: Backoff,
    orders: Vec<FollowerRequest>,
}

/// How it is with the engine's log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reading {
    Open,
    /// The run is over and all of it read; a new run opens it again.
    Ended,
    /// Closed until there is room.
    Stalled,
    /// It cannot be read for now, or it ended although the engine says that the container runs.
    ClosedUntil(Instant),
    /// There is no such container any more.
    Gone,
}

enum Event {
    Input(Item),
    Sent(Sent),
    FollowerRequest(FollowerRequest),
    Lifecycle(Lifecycle),
    Flush,
    TryAgain,
}

impl Follower {
    pub(super) fn new(
        context: &FollowerContext,
        container: ContainerId,
        node: NodeName,
        counter: Counter,
        delivery: Delivery,
    ) -> Self {
        let place = context.cursors.get(&container);
        let mut input = Input::new(context.runtime.clone(), container.clone());
        input.open(place);
        Self {
            container,
            node,
            cursors: context.cursors.clone(),
            batch_bytes_max: context.batch_bytes_max.clone(),
            counter,
            input,
            reading: Reading::Open,
            joiner: Joiner::new(place),
            batcher: Batcher::new(context.batch_bytes_max.load(Ordering::Relaxed)),
            place,
            gap: None,
            pending: Volume::default(),
            delivery: Some(Box::new(delivery)),
            sending: None,
            noted: 0,
            waited: None,
            is_flush_due: false,
            is_too_old: false,
            full_since: None,
            is_running: true,
            backoff: Backoff::default(),
            orders: Vec::new(),
        }
    }

    /// Runs until the container is gone and all that was read is in CloudWatch, or until `orders` is closed.
    pub(super) async fn run(
        mut self,
        mut orders: mpsc::Receiver<FollowerRequest>,
        mut life: watch::Receiver<Lifecycle>,
    ) {
        self.is_running = life.borrow_and_update().is_running();
        let (mut flush, mut was_idle) = (interval(FLUSH_EVERY), true);
        flush.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let has_room = self.has_room();
            // Nothing but output wakes up one that has nothing to send.
            let is_idle = self.is_idle() && self.full_since.is_none();
            if std::mem::replace(&mut was_idle, is_idle) && !is_idle {
                flush.reset();
            }
            // All arms are cancel-safe: the input keeps what it has begun, and the delivery is only polled.
            let event = tokio::select! {
                biased;
                sent = progress(&mut self.sending) => Event::Sent(sent),
                order = orders.recv() => match order {
                    Some(order) => Event::FollowerRequest(order),
                    None => return,
                },
                Ok(()) = life.changed() => Event::Lifecycle(life.borrow_and_update().clone()),
                _ = flush.tick(), if !is_idle => Event::Flush,
                () = try_again(self.reading) => Event::TryAgain,
                item = self.input.next(), if has_room => Event::Input(item),
            };
            self.on(event);
            self.send();
            self.report();
            if self.reading == Reading::Gone && self.is_idle() && life.borrow().is_gone() {
                return;
            }
        }
    }

    fn on(&mut self, event: Event) {
        match event {
            Event::Input(item) => self.take(item),
            Event::Sent(sent) => self.sent(sent),
            Event::FollowerRequest(order) => self.handle_request(order),
            Event::Lifecycle(Lifecycle::Gone) => self.on_removed(),
            Event::Lifecycle(Lifecycle::There { is_running, .. }) => {
                self.is_running = is_running;
                if self.reading == Reading::Ended {
                    self.open();
                }
            }
            Event::Flush => self.flush(),
            Event::TryAgain => self.open(),
        }
    }

    /// Whether more may be read: one full batch that waits is enough, and while CloudWatch is slow any that waits. When
    /// somebody waits for the end of the log, all of it is read that fits.
    fn has_room(&mut self) -> bool {
        let is_slow = self.sending.as_ref().is_some_and(|sending| sending.since.elapsed() >= SLOW);
        let has_room =
            if is_slow && self.orders.is_empty() { self.batcher.is_empty() } else { !self.batcher.has_full() };
        self.full_since = if has_room { None } else { self.full_since.or_else(|| Some(Instant::now())) };
        if has_room && self.reading == Reading::Stalled {
            self.open();
        }
        has_room
    }

    fn take(&mut self, item: Item) {
        match item {
            Item::Pieces(pieces) => self.read(&pieces),
            Item::Gap => self.gap_begins(),
            Item::Ended => {
                self.gap_ends(OffsetDateTime::now_utc());
                // An engine that is restarted ends its streams too.
                let is_over = !self.is_running || !self.orders.is_empty();
                self.reading =
                    if is_over { Reading::Ended } else { Reading::ClosedUntil(Instant::now() + ENDED_PAUSE) };
                self.gather_all();
            }
            Item::Failed(error) => self.failed(&error),
        }
    }

    fn read(&mut self, pieces: &[LogChunk]) {
        if self.backoff.failures() > 0 {
            self.backoff.reset();
            info!(node = %self.node, container = %self.container, "the node's log can be read again");
        }
        if let Some(first) = pieces.first() {
            self.gap_ends(first.at);
        }
        let mut volume = Volume::default();
        for piece in pieces {
            let place = Position::after(self.place, piece);
            self.place = Some(place);
            volume += Volume { lines: u64::from(piece.bytes.ends_with(b"\n")), bytes: piece.bytes.len() as u64 };
            let at_ms = i64::try_from(piece.at.unix_timestamp_nanos() / 1_000_000).unwrap_or(0);
            self.joiner.push(at_ms, piece.source, &piece.bytes, self.place);
        }
        self.pending += volume;
        self.counter.count(|numbers| numbers.read += volume);
        self.gather();
    }

    /// From the joiner into batches.
    fn gather(&mut self) {
        let now = now_ms();
        while let Some(event) = self.joiner.pop() {
            match self.batcher.push(event, now) {
                Ok(()) => self.is_too_old = false,
                Err(old) => self.too_old(old.volume),
            }
        }
    }

    fn too_old(&mut self, volume: Volume) {
        self.pending = self.pending.less(volume);
        self.counter.count(|numbers| numbers.rejected += volume);
        if !std::mem::replace(&mut self.is_too_old, true) {
            warn!(node = %self.node, container = %self.container,
                "output is older than the 14 days that CloudWatch takes, and is lost; is the clock of this host right?");
        }
    }

    /// The same, with what waits for more lines.
    fn gather_all(&mut self) {
        self.joiner.flush();
        self.gather();
        self.is_flush_due = true;
    }

    fn failed(&mut self, error: &RuntimeError) {
        if error.kind() == ErrorKind::NotFound {
            debug!(node = %self.node, container = %self.container, "the container is gone while its log is read");
            self.reading = Reading::Gone;
            return self.gather_all();
        }
        self.reading = Reading::ClosedUntil(Instant::now() + self.backoff.next(rand::random()));
        if self.backoff.failures() == 1 {
            warn!(node = %self.node, container = %self.container, error = chain(error),
                "the node's log cannot be read; trying again");
        }
    }

    fn open(&mut self) {
        if self.reading != Reading::Gone {
            self.input.open(self.place);
            self.reading = Reading::Open;
        }
    }

    fn close(&mut self, reading: Reading) {
        self.input.close();
        self.reading = reading;
    }

    /// A log that was opened while the container ran may be late to show its end; opened anew it shows it at once.
    fn handle_request(&mut self, order: FollowerRequest) {
        if order.is_stopped {
            self.is_running = false;
            self.open();
        } else if self.reading != Reading::Gone {
            self.close(Reading::Ended);
        }
        self.gather_all();
        self.orders.push(order);
    }

    fn on_removed(&mut self) {
        self.gap_ends(OffsetDateTime::now_utc());
        if matches!(self.reading, Reading::Open | Reading::Stalled | Reading::ClosedUntil(_)) {
            self.counter.count(|numbers| numbers.gaps += 1);
            warn!(node = %self.node, container = %self.container,
                "the container was removed before its log was read to the end");
        }
        self.close(Reading::Gone);
        self.gather_all();
    }

    fn flush(&mut self) {
        let waiting = self.joiner.waiting();
        if waiting.is_some() && waiting == self.waited {
            self.gather_all();
        }
        self.waited = self.joiner.waiting();
        self.is_flush_due = true;
        if self.reading == Reading::Open && self.full_since.is_some_and(|since| since.elapsed() >= STALL_MAX) {
            self.close(Reading::Stalled);
        }
    }

    /// Whether nothing that was read is on its way or waits for it.
    fn is_idle(&self) -> bool {
        self.sending.is_none() && self.batcher.is_empty() && self.joiner.waiting().is_none()
    }

    fn report(&mut self) {
        let sent = self.sending.as_ref().map(|sending| sending.oldest_ms);
        self.counter.set_oldest(sent.or(self.batcher.oldest_ms()).or(self.joiner.oldest_ms()));
        if matches!(self.reading, Reading::Ended | Reading::Gone) && self.is_idle() {
            for order in self.orders.drain(..) {
                // Who asked may have given up waiting.
                let _ = order.done.send(());
            }
        }
    }
}

impl Drop for Follower {
    /// The engine has no more of the output of a container that is gone.
    fn drop(&mut self) {
        if self.reading == Reading::Gone && self.pending != Volume::default() {
            let Volume { lines, bytes } = self.pending;
            self.counter.count(|numbers| numbers.lost += self.pending);
            warn!(node = %self.node, container = %self.container, lines, bytes,
                "output of a removed container is lost, as the daemon ends before CloudWatch took it");
        }
    }
}

impl Lifecycle {
    pub(super) fn is_running(&self) -> bool {
        matches!(self, Self::There { is_running: true, .. })
    }

    fn is_gone(&self) -> bool {
        *self == Self::Gone
    }
}

async fn try_again(reading: Reading) {
    match reading {
        Reading::ClosedUntil(at) => sleep_until(at).await,
        _ => std::future::pending().await,
    }
}
