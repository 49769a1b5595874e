//! The way out of a follower: one batch at a time, and the cursor after each.

use std::sync::atomic::Ordering;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::time::Instant;

use super::{Follower, Mark};
use crate::logs::batch::Batch;
use crate::logs::deliver::{Delivered, Delivery};

/// A batch that CloudWatch has answered for, and how it left.
pub(super) type Sent = (Box<Delivery>, Batch<Mark>, Delivered);

/// A batch on its way.
pub(super) struct Sending {
    done: BoxFuture<'static, Sent>,
    pub(super) since: Instant,
    pub(super) oldest_ms: i64,
}

impl Follower {
    /// Sends the next batch if none is on its way.
    pub(super) fn send(&mut self) {
        if self.sending.is_some() {
            return;
        }
        let next = if self.is_flush_due { self.batcher.pop() } else { self.batcher.pop_full() };
        let Some(batch) = next else {
            self.is_flush_due = false;
            return;
        };
        self.batcher.set_bytes_max(self.batch_bytes_max.load(Ordering::Relaxed));
        let mut delivery = self.delivery.take().expect("it is here when nothing is on its way");
        let (cursors, noted, oldest_ms) = (self.cursors.clone(), self.noted, batch.events[0].at_ms);
        let done = async move {
            cursors.saved(noted).await;
            let delivered = delivery.deliver(&batch).await;
            (delivery, batch, delivered)
        };
        self.sending = Some(Sending { done: done.boxed(), since: Instant::now(), oldest_ms });
    }

    pub(super) fn sent(&mut self, (delivery, batch, delivered): Sent) {
        self.sending = None;
        self.delivery = Some(delivery);
        let volume = batch.volume();
        self.pending = self.pending.less(volume);
        self.counter.count(|numbers| {
            numbers.shipped += volume.less(delivered.rejected).less(delivered.lost);
            numbers.rejected += delivered.rejected;
            numbers.lost += delivered.lost;
        });
        if let Some(place) = batch.events.last().and_then(|event| event.mark) {
            self.noted = self.cursors.note(&self.container, place);
        }
    }
}

/// Waits for ever when nothing is on its way.
pub(super) async fn progress(sending: &mut Option<Sending>) -> Sent {
    match sending {
        Some(sending) => (&mut sending.done).await,
        None => std::future::pending().await,
    }
}
