//! The only subscription to engine events.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt};
use managed_app_runtimes::WorkloadEngine;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};
use tracing::{debug, warn};

use crate::reconciler::Event;
use crate::text::chain;

/// Engine events that may wait for the loop.
const EVENTS_MAX: usize = 1024;
/// How long the first subscription may delay the start.
const BEGIN_WAIT_MAX: Duration = Duration::from_millis(500);
/// A stream of events that ends sooner may do so repeatedly: then only the containers are listed, and the cloud is not
/// read.
const STREAM_LIFE_MIN: Duration = Duration::from_secs(60);
/// Delay before the daemon subscribes to engine events again.
const RETRY_DELAY: Duration = Duration::from_secs(1);

/// The subscription. It is polled by the loop instead of a task of its own: events that the engine has sent before the
/// response to a call then come before the result of the operation.
pub(super) struct EngineEvents {
    subscription: BoxFuture<'static, ()>,
    events: mpsc::Receiver<Event>,
}

impl EngineEvents {
    /// Subscribes at the first call of [`EngineEvents::next`].
    pub(super) fn new(engine: Arc<dyn WorkloadEngine>) -> Self {
        let (sender, events) = mpsc::channel(EVENTS_MAX);
        Self { subscription: subscribe(engine, sender).boxed(), events }
    }

    /// The first one is [`Event::Begin`]. Cancel-safe.
    pub(super) async fn next(&mut self) -> Event {
        tokio::select! {
            biased;
            () = &mut self.subscription => unreachable!("it goes on while there is a receiver"),
            Some(event) = self.events.recv() => event,
        }
    }
}

/// Engine events are hints. When a stream begins or fails, events may have been missed, so the containers are listed;
/// that also detects an unavailable engine. The first stream begins before the first list, which then misses nothing.
/// When the engine responds again, pending retry delays end.
async fn subscribe(engine: Arc<dyn WorkloadEngine>, sender: mpsc::Sender<Event>) {
    let mut begin = Some(Event::Begin);
    let mut was_away = false;
    loop {
        let mut subscription = engine.events();
        let events = match timeout(BEGIN_WAIT_MAX, &mut subscription).await {
            Ok(events) => events,
            Err(_) => {
                if let Some(begin) = begin.take()
                    && sender.send(begin).await.is_err()
                {
                    return;
                }
                subscription.await
            }
        };
        let is_back = was_away && events.is_ok();
        was_away = events.is_err();
        let event = begin.take().unwrap_or(if is_back { Event::Resync } else { Event::EventsLost });
        if sender.send(event).await.is_err() {
            return;
        }
        match events {
            Ok(mut events) => {
                let began = Instant::now();
                while let Some(Ok(event)) = events.next().await {
                    debug!(container = %event.container, name = event.name, action = ?event.action, "engine event");
                    if sender.send(Event::Engine(event)).await.is_err() {
                        return;
                    }
                }
                debug!("stream of engine events ended");
                was_away = began.elapsed() >= STREAM_LIFE_MIN;
                // Observers of a container must know this before they list it again, perhaps long after the engine has
                // returned.
                if sender.send(Event::EventsLost).await.is_err() {
                    return;
                }
            }
            Err(error) => warn!(error = chain(&error), "engine events cannot be received; retrying"),
        }
        sleep(RETRY_DELAY).await;
    }
}

#[cfg(test)]
mod tests {
    use managed_app_fakes::Faulty;
    use managed_app_fakes::faulty::Verb;
    use managed_app_runtimes::ErrorKind;

    use super::*;
    use crate::driver::tests::harness::Harness;

    fn subscription() -> (Faulty, EngineEvents) {
        let harness = Harness::new();
        (harness.faults, EngineEvents::new(harness.host))
    }

    #[tokio::test(start_paused = true)]
    async fn short_event_stream_causes_a_list_and_a_long_one_a_resync() {
        let (faults, mut events) = subscription();
        let mut begin = "begin";
        for life in [Duration::ZERO, Duration::ZERO, STREAM_LIFE_MIN] {
            assert_eq!(events.next().await.name(), begin, "the stream begins");
            assert!(timeout(life, events.next()).await.is_err());
            faults.end_event_streams();
            assert_eq!(events.next().await.name(), "events_lost", "the stream has ended");
            begin = "events_lost";
        }
        assert_eq!(events.next().await.name(), "resync");
    }

    #[tokio::test(start_paused = true)]
    async fn the_start_does_not_wait_for_a_late_subscription() {
        let (faults, mut events) = subscription();
        faults.on(Verb::Events).times(1).delay(BEGIN_WAIT_MAX * 4);
        let began = Instant::now();
        assert_eq!(events.next().await.name(), "begin");
        assert!(began.elapsed() < BEGIN_WAIT_MAX * 2);
        assert_eq!(events.next().await.name(), "events_lost", "the first list may have missed something");
    }

    #[tokio::test(start_paused = true)]
    async fn the_start_does_not_wait_for_a_failing_subscription() {
        let (faults, mut events) = subscription();
        faults.on(Verb::Events).times(1).fail(ErrorKind::Unreachable);
        assert_eq!(events.next().await.name(), "begin");
        assert_eq!(events.next().await.name(), "resync");
    }
}
