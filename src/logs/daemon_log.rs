//! The daemon's own log on its way to its log group: lines as they were written, a batch at a time.
//!
//! Lines wait in memory ([`Unshipped`]) from the first one that the program writes. What CloudWatch has not accepted when
//! the daemon crashes is in the log file, and is not sent later: lines that came days late, among those of the next run,
//! would mislead whoever reads the stream.

use std::sync::Arc;
use std::time::Duration;

use time::OffsetDateTime;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::batch::{BATCH_BYTES_MAX, Batch, Batcher};
use super::clock::now_ms;
use super::deliver::{Delivery, LogService};
use super::event::{LogEvent, Volume};
use super::numbers::{Counter, NodeNumbers, Numbers};
use crate::model::NodeName;
use crate::telemetry::{self, Line, Redactor, Unshipped};

/// Lines taken at a time; at the longest possible lines 8 MB, commonly 100 KB.
const LINES_MAX: usize = 500;

/// How long the first line of a batch waits for others.
const LINGER: Duration = Duration::from_secs(1);

/// How long what is left at the end may take.
const FLUSH_LIMIT: Duration = Duration::from_secs(2);

/// Ships the daemon's own log. Cheap to clone; clones share lines and numbers.
#[derive(Debug, Clone)]
pub struct DaemonLog {
    lines: Unshipped,
    redactor: Redactor,
    numbers: Numbers,
    /// The key of its one entry in `numbers`.
    name: NodeName,
}

impl DaemonLog {
    /// For these lines. A secret that `redactor` knows by the time a line is sent is in none of them. Starts nothing.
    pub fn new(lines: Unshipped, redactor: Redactor) -> Self {
        let name = NodeName::new("the daemon").expect("a good name");
        Self { lines, redactor, numbers: Numbers::default(), name }
    }

    /// Ships lines to `group` until `shutdown`, and then what is left, for two seconds at most.
    ///
    /// Failures are waited out and said once. Nothing that is logged in here is shipped itself, and nobody ever waits
    /// for it. Call it once.
    pub async fn ship(self, service: Arc<LogService>, group: String, shutdown: CancellationToken) {
        telemetry::apart(self.ship_apart(service, &group, &shutdown)).await;
    }

    /// What became of the lines so far. Those that were dropped for lack of room count as lost.
    pub fn numbers(&self) -> NodeNumbers {
        let mut numbers = self.numbers.snapshot().get(&self.name).copied().unwrap_or_default();
        let (lines, bytes) = self.lines.dropped();
        numbers.lost += Volume { lines, bytes };
        numbers
    }

    async fn ship_apart(&self, service: Arc<LogService>, group: &str, shutdown: &CancellationToken) {
        let counter = self.numbers.counter(&self.name);
        let mut shipping = Shipping {
            lines: &self.lines,
            redactor: &self.redactor,
            delivery: Delivery::new(service, group, counter.another()),
            counter,
            in_hand: Volume::default(),
        };
        let limit = async {
            shutdown.cancelled().await;
            sleep(FLUSH_LIMIT).await;
        };
        // Both arms only wait. A batch that is given up may have been accepted.
        tokio::select! {
            () = shipping.run(shutdown) => {}
            () = limit => {}
        }
        shipping.give_up(group);
    }
}

/// One run of the loop.
struct Shipping<'a> {
    lines: &'a Unshipped,
    redactor: &'a Redactor,
    delivery: Delivery,
    counter: Counter,
    /// What was taken and has no answer of CloudWatch yet.
    in_hand: Volume,
}

impl Shipping<'_> {
    /// Ends when all is shipped after `shutdown`.
    async fn run(&mut self, shutdown: &CancellationToken) {
        loop {
            if self.lines.waiting() > 0 {
                self.ship_some().await;
            } else if shutdown.is_cancelled() {
                return;
            } else {
                // The arms only wait.
                tokio::select! {
                    () = self.lines.filled() => {}
                    () = shutdown.cancelled() => continue,
                }
                tokio::select! {
                    () = sleep(LINGER) => {}
                    () = shutdown.cancelled() => {}
                }
            }
        }
    }

    async fn ship_some(&mut self) {
        let events: Vec<LogEvent<()>> =
            self.lines.take(LINES_MAX).into_iter().map(|line| event(line, self.redactor)).collect();
        self.in_hand = events.iter().map(|event| event.volume).sum();
        self.counter.count(|numbers| numbers.read += self.in_hand);
        self.counter.set_oldest(events.first().map(|event| event.at_ms));
        let mut batcher = Batcher::new(BATCH_BYTES_MAX);
        for event in events {
            if let Err(event) = batcher.push(event, now_ms()) {
                self.in_hand = self.in_hand.less(event.volume);
                self.counter.count(|numbers| numbers.rejected += event.volume);
            }
        }
        while let Some(batch) = batcher.pop() {
            self.deliver(&batch).await;
        }
        self.counter.set_oldest(None);
    }

    async fn deliver(&mut self, batch: &Batch<()>) {
        let delivered = self.delivery.deliver(batch).await;
        let shipped = batch.volume().less(delivered.rejected).less(delivered.lost);
        self.in_hand = self.in_hand.less(batch.volume());
        self.counter.count(|numbers| {
            numbers.shipped += shipped;
            numbers.rejected += delivered.rejected;
            numbers.lost += delivered.lost;
        });
    }

    /// At the end: what is left will never be sent.
    fn give_up(&mut self, group: &str) {
        let rest: Volume = self.lines.take(usize::MAX).iter().map(volume).sum();
        let lost = self.in_hand + rest;
        if lost.lines > 0 {
            self.counter.count(|numbers| {
                numbers.read += rest;
                numbers.lost += lost;
            });
            warn!(group, count = lost.lines, "the end of this log did not reach CloudWatch; the log file has it");
        }
    }
}

/// The last check for secrets: some became known only after the line was written.
fn event(line: Line, redactor: &Redactor) -> LogEvent<()> {
    LogEvent::record(milliseconds(line.at), redactor.redact(line.text))
}

fn volume(line: &Line) -> Volume {
    Volume { lines: 1, bytes: line.text.len() as u64 + 1 }
}

fn milliseconds(at: OffsetDateTime) -> i64 {
    i64::try_from(at.unix_timestamp_nanos() / 1_000_000).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
