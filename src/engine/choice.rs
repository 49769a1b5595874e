//! Selection among engines that were queried. Pure.

use std::fmt;
use std::sync::Arc;

use managed_app_runtimes::{Engine, EngineInfo, EngineKind, ErrorKind, RuntimeError};

use super::remedy::{NOT_BUILT_IN, remedy};
use crate::text::chain;

/// An engine that responds.
#[derive(Debug)]
pub(super) struct FoundEngine {
    pub(super) runtime: Arc<dyn Engine>,
    pub(super) info: EngineInfo,
    /// Number of containers of this app.
    pub(super) containers: usize,
}

/// An engine that does not respond.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FailedAttempt {
    engine: EngineKind,
    endpoint: String,
    kind: ErrorKind,
    why: String,
    remedy: String,
}

impl FailedAttempt {
    pub(super) fn new(engine: EngineKind, endpoint: &str, error: &RuntimeError) -> Self {
        Self {
            engine,
            endpoint: endpoint.to_owned(),
            kind: error.kind(),
            why: chain(error),
            remedy: remedy(engine, endpoint, error),
        }
    }
}

/// Why no engine is usable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoEngineKind {
    /// One may respond later.
    Unreachable,
    /// Its address is invalid, or it is not part of this program.
    Unusable,
}

/// No engine is usable. `Display` fits after "failed to" and contains the attempts and a remedy for each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoEngine(Vec<FailedAttempt>);

impl NoEngine {
    /// The only possible engine failed with `error`.
    pub fn of(engine: EngineKind, endpoint: &str, error: &RuntimeError) -> Self {
        Self(vec![FailedAttempt::new(engine, endpoint, error)])
    }

    /// The configured engine is not part of this program.
    pub(super) fn not_built_in(engine: EngineKind) -> Self {
        Self(vec![FailedAttempt {
            engine,
            endpoint: engine.to_string(),
            kind: ErrorKind::Refused,
            why: "it is not part of this program".to_owned(),
            remedy: NOT_BUILT_IN.to_owned(),
        }])
    }

    /// The kind of the error.
    pub fn kind(&self) -> NoEngineKind {
        let is_final = self.0.iter().all(|tried| tried.kind == ErrorKind::Refused);
        if is_final { NoEngineKind::Unusable } else { NoEngineKind::Unreachable }
    }

    /// The attempts and their errors.
    pub fn tried(&self) -> String {
        match self.0.as_slice() {
            [only] => only.why.clone(),
            all => joined(all, "; ", |tried| format!("{}: {}", tried.engine, tried.why)),
        }
    }

    /// The remedies, an alternative for each attempt.
    pub fn remedy(&self) -> String {
        match self.0.as_slice() {
            [only] => only.remedy.clone(),
            all => {
                joined(all, "; or ", |tried| format!("for {} at {}: {}", tried.engine, tried.endpoint, tried.remedy))
            }
        }
    }
}

fn joined(all: &[FailedAttempt], between: &str, form: impl Fn(&FailedAttempt) -> String) -> String {
    all.iter().map(form).collect::<Vec<_>>().join(between)
}

impl fmt::Display for NoEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "find a container engine: none responds ({}). Remedy {}", self.tried(), self.remedy())
    }
}

impl std::error::Error for NoEngine {}

/// Selects the engine with most containers of this app, otherwise the first one that responds, and returns the reason.
///
/// Running nodes take precedence over the order: another engine would start each node a second time.
pub(super) fn select_engine(
    results: Vec<Result<FoundEngine, FailedAttempt>>,
) -> Result<(FoundEngine, &'static str), NoEngine> {
    let (mut found, mut tried) = (Vec::new(), Vec::new());
    for one in results {
        match one {
            Ok(engine) => found.push(engine),
            Err(failed) => tried.push(failed),
        }
    }
    let most = found.iter().map(|engine| engine.containers).max().unwrap_or(0);
    let reason = match (found.len(), most) {
        (1, _) => "it is the only one that responds",
        (_, 0) => "it is the preferred one of those that respond",
        _ => "it already holds containers of this app",
    };
    let best = found.into_iter().find(|engine| engine.containers == most);
    best.map(|best| (best, reason)).ok_or(NoEngine(tried))
}
