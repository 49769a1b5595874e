//! Events of an engine with its timestamps, by the clock of this host. Podman sends events in batches every quarter of
//! a second, with correct times.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::Value;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::engine::Engine;

/// Limit of a wait for events.
const LIMIT: Duration = Duration::from_secs(120);

/// One event.
#[derive(Debug, Clone)]
pub struct EngineEvent {
    pub container: String,
    pub name: String,
    /// As in Docker: `create`, `start`, `die`, `destroy`, `rename`.
    pub action: &'static str,
    /// Time in the form of [`now`].
    pub at: f64,
}

/// All events since the subscription.
pub struct Events {
    seen: Arc<Mutex<Vec<EngineEvent>>>,
    /// Number of events so far. Waiters sleep until it changes: polling every few milliseconds halved the speed of the
    /// engine on a busy machine.
    count: watch::Receiver<usize>,
    task: JoinHandle<()>,
}

impl Events {
    /// Subscribes to the events of the engine.
    pub async fn follow(engine: Engine) -> Self {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let mut lines = engine.event_lines().await;
        let (sink, (sender, count)) = (seen.clone(), watch::channel(0));
        let task = tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                if let Some(event) = serde_json::from_str(&line).ok().as_ref().and_then(read) {
                    lock(&sink).push(event);
                    sender.send_modify(|count| *count += 1);
                }
            }
        });
        // The subscription takes effect shortly after the request.
        tokio::time::sleep(Duration::from_millis(300)).await;
        Self { seen, count, task }
    }

    /// Forgets the events so far.
    pub fn clear(&self) {
        lock(&self.seen).clear();
    }

    /// Waits for `count` events since `after` for which `test` holds; returns them in the order of their times.
    pub async fn wait(
        &self,
        what: &str,
        after: f64,
        count: usize,
        test: impl Fn(&EngineEvent) -> bool,
    ) -> Vec<EngineEvent> {
        let mut changes = self.count.clone();
        let search = async {
            loop {
                changes.mark_unchanged();
                let found = self.since(after, &test);
                if found.len() >= count {
                    return found;
                }
                changes.changed().await.expect("the event stream is open");
            }
        };
        let found = timeout(LIMIT, search).await;
        found.unwrap_or_else(|_| panic!("not {count} events within {LIMIT:?}: {what}"))
    }

    /// The first event since `after` for which `test` holds.
    pub async fn first(&self, what: &str, after: f64, test: impl Fn(&EngineEvent) -> bool) -> EngineEvent {
        self.wait(what, after, 1, test).await.swap_remove(0)
    }

    /// The events since `after` for which `test` holds, in the order of their times.
    pub fn since(&self, after: f64, test: impl Fn(&EngineEvent) -> bool) -> Vec<EngineEvent> {
        let mut found: Vec<EngineEvent> =
            lock(&self.seen).iter().filter(|seen| seen.at >= after && test(seen)).cloned().collect();
        found.sort_by(|one, other| one.at.total_cmp(&other.at));
        found
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn lock(seen: &Mutex<Vec<EngineEvent>>) -> MutexGuard<'_, Vec<EngineEvent>> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

fn read(event: &Value) -> Option<EngineEvent> {
    let action = match (event["Type"].as_str()?, event["Action"].as_str()?) {
        ("container", "create") => "create",
        ("container", "start") => "start",
        ("container", "die" | "died") => "die",
        ("container", "destroy" | "remove") => "destroy",
        ("container", "rename") => "rename",
        _ => return None,
    };
    Some(EngineEvent {
        container: event["Actor"]["ID"].as_str()?.to_owned(),
        name: event["Actor"]["Attributes"]["name"].as_str().unwrap_or_default().to_owned(),
        action,
        at: event["timeNano"].as_i64()? as f64 / 1e6,
    })
}

/// The current time in milliseconds since 1970, as in events.
pub fn now() -> f64 {
    at(Instant::now())
}

/// The time of an instant, as in events.
pub fn at(instant: Instant) -> f64 {
    let then = SystemTime::now() - instant.elapsed();
    then.duration_since(UNIX_EPOCH).expect("it is after 1970").as_secs_f64() * 1e3
}
