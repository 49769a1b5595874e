//! Sends the batches of a follower, one at a time, and moves the cursor after each.

use std::sync::atomic::Ordering;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::time::Instant;

use super::{Follower, Mark};
use crate::logs::batch::Batch;
use crate::logs::deliver::{Delivered, Delivery};

/// A finished batch, its delivery and its result.
pub(super) type Sent = (Box<Delivery>, Batch<Mark>, Delivered);

/// A batch that is being sent.
pub(super) struct Sending {
    done: BoxFuture<'static, Sent>,
    pub(super) since: Instant,
    pub(super) oldest_ms: i64,
}

impl Follower {
    /// Starts to send the next batch if none is being sent.
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
        let mut delivery = self.delivery.take().expect("it is present when no batch is being sent");
        let (cursors, cursor_change, oldest_ms) = (self.cursors.clone(), self.cursor_change, batch.events[0].at_ms);
        let done = async move {
            cursors.save_up_to(cursor_change).await;
            let delivered = delivery.deliver(&batch).await;
            (delivery, batch, delivered)
        };
        self.sending = Some(Sending { done: done.boxed(), since: Instant::now(), oldest_ms });
    }

    pub(super) fn on_sent(&mut self, (delivery, batch, delivered): Sent) {
        self.sending = None;
        self.delivery = Some(delivery);
        let volume = batch.volume();
        self.pending = self.pending.less(volume);
        self.counter.count(|numbers| {
            numbers.shipped += volume.less(delivered.rejected).less(delivered.lost);
            numbers.rejected += delivered.rejected;
            numbers.lost += delivered.lost;
        });
        if let Some(position) = batch.events.last().and_then(|event| event.mark) {
            self.cursor_change = self.cursors.set(&self.container, position);
        }
    }
}

/// Never returns when no batch is being sent.
pub(super) async fn progress(sending: &mut Option<Sending>) -> Sent {
    match sending {
        Some(sending) => (&mut sending.done).await,
        None => std::future::pending().await,
    }
}
