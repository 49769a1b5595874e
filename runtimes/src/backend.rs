//! The table of backends: what the daemon knows of an engine before it connects. `docs/architecture.md` has the list of
//! files that a new backend needs.

use std::sync::Arc;

use futures_util::future::BoxFuture;

use crate::{Engine, EngineKind, Limits, Result, docker, podman};

/// A backend.
#[derive(Debug, Clone, Copy)]
pub struct Backend {
    /// Its engine.
    pub kind: EngineKind,
    /// The environment variable with its endpoint, as its own tools read it.
    pub endpoint_variable: &'static str,
    /// The endpoints without that variable, preferred ones first; the argument is XDG_RUNTIME_DIR.
    pub default_endpoints: fn(Option<&str>) -> Vec<String>,
    /// Connects to an endpoint. The engine need not respond if the client needs no request for it.
    pub connect: fn(String, Limits) -> Connecting,
    /// What an operator can do about an engine that does not respond.
    pub remedies: Remedies,
    /// Whether it may be chosen without being configured.
    pub is_automatic: bool,
    /// Whether other processes reach the same engine, so that only one daemon of an app may use it.
    pub is_shared: bool,
}

/// A connection in progress.
pub type Connecting = BoxFuture<'static, Result<Arc<dyn Engine>>>;

/// Remedies for an engine that does not respond, for people; the argument is its endpoint.
#[derive(Debug, Clone, Copy)]
pub struct Remedies {
    /// This user may not use the socket.
    pub permission: &'static str,
    /// It does not run.
    pub start: fn(&str) -> &'static str,
    /// It does not answer.
    pub restart: fn(&str) -> &'static str,
}

/// The backends of this crate, in order of preference.
pub const BACKENDS: [Backend; 2] = [docker::BACKEND, podman::BACKEND];
