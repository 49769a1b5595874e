//! An in-memory container engine: a real backend of the runtime trait, with state and behaviour, and no host.
//!
//! It owns the state of an engine (images, containers, networks, volumes, ports, output, events) and a registry to pull
//! from. It must not start background tasks, wait by the wall clock (all waits use tokio's clock, so that paused time
//! works), or know the daemon.

mod actions;
mod behaviour;
mod clock;
mod inspect;
mod process;
mod registry;
mod runtime;
mod state;
mod streams;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use managed_app_runtimes::{Backend, EngineKind, ErrorKind, Limits, Remedies, Result, RuntimeError};
use tokio::sync::{Notify, broadcast, watch};
use tokio::time::Instant;

pub use behaviour::{Behaviour, Latencies};
pub use inspect::{Call, UsedVolume, View};

use state::State;

/// Events buffered for a slow subscriber; it loses older ones, as with a real engine.
const EVENTS_KEPT: usize = 4096;

/// The backend. Each connection is an engine of its own.
pub const BACKEND: Backend = Backend {
    kind: EngineKind::Memory,
    endpoint_variable: "MANAGED_APP_RUNTIME",
    default_endpoints: |_| vec!["memory".to_owned()],
    connect: |_, _| Box::pin(async { Ok(Arc::new(InMemoryRuntime::new()) as _) }),
    remedies: Remedies {
        permission: "it needs no permission",
        start: |_| "it is part of this process",
        restart: |_| "restart this process",
    },
    is_automatic: false,
    is_shared: false,
};

/// A container engine in memory.
///
/// A handle; clones share the engine. The trait's methods are what the daemon may do. The inherent methods are the rest
/// of the world: a registry that publishes images, other users who kill and rename containers, and inspection.
///
/// Not a sandbox: nothing runs. A container "runs" as its [`Behaviour`] says.
///
/// ```
/// use managed_app_fakes::InMemoryRuntime;
/// use managed_app_runtimes::{ContainerRuntime, ImageReference, PullProgress};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let engine = InMemoryRuntime::new();
/// let reference: ImageReference = "registry.test/node:1".parse()?;
/// let id = engine.publish_image(&reference, b"first build");
/// assert_eq!(engine.pull(&reference, None, &|_: PullProgress| ()).await?, id);
/// assert_eq!(engine.image(&reference).await?, Some(id));
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct InMemoryRuntime {
    engine: Arc<Engine>,
    limits: Limits,
}

struct Engine {
    state: Mutex<State>,
    health: watch::Sender<Health>,
    /// Notified whenever something becomes due earlier than before; event streams wait on it.
    due_added: Arc<Notify>,
}

/// Whether the engine responds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Health {
    Up,
    Down,
    Hanging,
}

impl Default for InMemoryRuntime {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for InMemoryRuntime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InMemoryRuntime").field("containers", &self.lock().containers.len()).finish_non_exhaustive()
    }
}

impl InMemoryRuntime {
    /// An empty engine that responds at once, with the default [`Limits`].
    pub fn new() -> Self {
        Self::with_limits(Limits::default())
    }

    /// An empty engine whose calls time out after `limits`.
    pub fn with_limits(limits: Limits) -> Self {
        let due_added = Arc::new(Notify::new());
        let state = State::new(broadcast::Sender::new(EVENTS_KEPT), Arc::clone(&due_added));
        let health = watch::Sender::new(Health::Up);
        let engine = Engine { state: Mutex::new(state), health, due_added };
        Self { engine: Arc::new(engine), limits }
    }

    /// Another handle to this engine, whose calls time out after `limits`.
    #[must_use]
    pub fn handle(&self, limits: Limits) -> Self {
        Self { engine: Arc::clone(&self.engine), limits }
    }

    /// Sets the durations of calls. All zero at first.
    pub fn set_latencies(&self, latencies: Latencies) {
        self.lock().latencies = latencies;
    }

    /// Sets whether the engine has the `awslogs` log driver (at first it has not) and accepts containers that use it.
    pub fn set_awslogs(&self, has_awslogs: bool) {
        self.lock().has_awslogs = has_awslogs;
    }

    /// The engine becomes unreachable: every call fails with `Unreachable`, every stream ends. Containers keep running.
    pub fn go_down(&self) {
        self.engine.health.send_replace(Health::Down);
        self.lock().cut_streams();
    }

    /// The engine stops responding: calls wait until it [comes back](Self::come_back) or their limit ends in
    /// `TimedOut`.
    pub fn hang(&self) {
        self.engine.health.send_replace(Health::Hanging);
    }

    /// The engine responds again.
    pub fn come_back(&self) {
        self.engine.health.send_replace(Health::Up);
    }

    /// The engine is restarted at once: streams end, containers keep running (as with Docker's live-restore, or
    /// Podman).
    pub fn restart_engine(&self) {
        self.lock().cut_streams();
        self.come_back();
    }

    /// The current state, after all due events.
    fn lock(&self) -> MutexGuard<'_, State> {
        let mut state = self.engine.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.apply_due(Instant::now());
        state
    }

    /// Every call starts here: it is recorded in the journal and depends on the engine's health.
    async fn enter(&self, verb: &'static str, operation: &'static str, subject: &str) -> Result<()> {
        self.lock().record_call(verb, subject);
        let limit = self.limits.call;
        let mut health = self.engine.health.subscribe();
        let answers = health.wait_for(|health| *health != Health::Hanging);
        match tokio::time::timeout(limit, answers).await {
            Err(_) => Err(RuntimeError::new(ErrorKind::TimedOut, operation, subject)),
            Ok(Ok(health)) if *health == Health::Down => {
                Err(RuntimeError::new(ErrorKind::Unreachable, operation, subject))
            }
            Ok(_) => Ok(()),
        }
    }

    /// Waits `latency`, but at most the limit of a call.
    async fn take_time(&self, latency: Duration, operation: &'static str, subject: &str) -> Result<()> {
        if latency.is_zero() {
            return Ok(());
        }
        let limit = self.limits.call;
        tokio::time::sleep(latency.min(limit)).await;
        if latency > limit { Err(RuntimeError::new(ErrorKind::TimedOut, operation, subject)) } else { Ok(()) }
    }
}
