//! Ships the daemon's log to its log group: lines as they were written, one batch at a time.
//!
//! Lines wait in memory ([`Unshipped`]) from the first one that the program writes. Lines that CloudWatch has not
//! accepted when the daemon crashes are in the log file only and are not sent later: old lines among those of the next
//! run would mislead readers of the stream.

use std::sync::Arc;
use std::time::Duration;

use time::OffsetDateTime;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::batch::{BATCH_BYTES_MAX, Batch, Batcher};
use super::deliver::{Delivery, LogService};
use super::event::LogEvent;
use crate::model::NodeName;
use crate::status::Volume;
use crate::status::now_ms;
use crate::status::{Counter, NodeNumbers, Numbers};
use crate::telemetry::{self, Line, Redactor, Unshipped};

/// Lines per batch: at most 8 MB with the longest lines, commonly 100 KB.
const LINES_MAX: usize = 500;

/// Time that the first line of a batch waits for others.
const LINGER: Duration = Duration::from_secs(1);

/// Limit for sending the remaining lines at shutdown.
const FLUSH_LIMIT: Duration = Duration::from_secs(2);

/// Ships the daemon's log. Cheap to clone; clones share lines and numbers.
#[derive(Debug, Clone)]
pub struct DaemonLog {
    lines: Unshipped,
    redactor: Redactor,
    numbers: Numbers,
    /// The key of its one entry in `numbers`.
    name: NodeName,
}

impl DaemonLog {
    /// Ships `lines`. Secrets that `redactor` knows when a line is sent are redacted. Starts no task.
    pub fn new(lines: Unshipped, redactor: Redactor) -> Self {
        let name = NodeName::new("the daemon").expect("a good name");
        Self { lines, redactor, numbers: Numbers::default(), name }
    }

    /// Ships lines to `group` until `shutdown`, then the remaining lines for at most two seconds.
    ///
    /// Failures are retried and logged once. Messages that are logged here are not shipped. Logging never waits for
    /// shipping. Call this once.
    pub async fn ship(self, service: Arc<LogService>, group: String, shutdown: CancellationToken) {
        telemetry::without_shipping(self.ship_lines(service, &group, &shutdown)).await;
    }

    /// The numbers of lines so far. Lines that were dropped because the buffer was full count as lost.
    pub fn numbers(&self) -> NodeNumbers {
        let mut numbers = self.numbers.snapshot().get(&self.name).copied().unwrap_or_default();
        let (lines, bytes) = self.lines.dropped();
        numbers.lost += Volume { lines, bytes };
        numbers
    }

    async fn ship_lines(&self, service: Arc<LogService>, group: &str, shutdown: &CancellationToken) {
        let counter = self.numbers.counter(&self.name);
        let mut shipping = Shipping {
            lines: &self.lines,
            redactor: &self.redactor,
            delivery: Delivery::new(service, group, counter.another()),
            counter,
            in_flight: Volume::default(),
        };
        let limit = async {
            shutdown.cancelled().await;
            sleep(FLUSH_LIMIT).await;
        };
        // Both arms only wait. CloudWatch may have accepted a batch that is abandoned here.
        tokio::select! {
            () = shipping.run(shutdown) => {}
            () = limit => {}
        }
        shipping.count_lost(group);
    }
}

/// One run of the loop.
struct Shipping<'a> {
    lines: &'a Unshipped,
    redactor: &'a Redactor,
    delivery: Delivery,
    counter: Counter,
    /// Lines that were taken and have no response of CloudWatch yet.
    in_flight: Volume,
}

impl Shipping<'_> {
    /// Returns when all lines are shipped after `shutdown`.
    async fn run(&mut self, shutdown: &CancellationToken) {
        loop {
            if self.lines.waiting() > 0 {
                self.ship_batch().await;
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

    async fn ship_batch(&mut self) {
        let events: Vec<LogEvent<()>> =
            self.lines.take(LINES_MAX).into_iter().map(|line| event(line, self.redactor)).collect();
        self.in_flight = events.iter().map(|event| event.volume).sum();
        self.counter.count(|numbers| numbers.read += self.in_flight);
        self.counter.set_oldest(events.first().map(|event| event.at_ms));
        let mut batcher = Batcher::new(BATCH_BYTES_MAX);
        for event in events {
            if let Err(event) = batcher.push(event, now_ms()) {
                self.in_flight = self.in_flight.less(event.volume);
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
        self.in_flight = self.in_flight.less(batch.volume());
        self.counter.count(|numbers| {
            numbers.shipped += shipped;
            numbers.rejected += delivered.rejected;
            numbers.lost += delivered.lost;
        });
    }

    /// Counts the lines that remain at the end as lost.
    fn count_lost(&mut self, group: &str) {
        let rest: Volume = self.lines.take(usize::MAX).iter().map(volume).sum();
        let lost = self.in_flight + rest;
        if lost.lines > 0 {
            self.counter.count(|numbers| {
                numbers.read += rest;
                numbers.lost += lost;
            });
            warn!(
                group,
                count = lost.lines,
                "the last lines of this log did not reach CloudWatch; they are in the log file"
            );
        }
    }
}

/// Redacts again: some secrets become known only after the line is written.
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
