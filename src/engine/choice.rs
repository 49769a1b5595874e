//! The choice among engines that were asked. Pure: asks nothing itself.

use std::fmt;
use std::sync::Arc;

use managed_app_runtimes::{ContainerRuntime, EngineInfo, EngineKind, ErrorKind, RuntimeError};

use super::remedy::remedy;
use crate::driver::chain;

/// An engine that answers.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) runtime: Arc<dyn ContainerRuntime>,
    pub(super) info: EngineInfo,
    /// How many containers of this app it holds.
    pub(super) containers: usize,
}

/// An engine that does not answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Tried {
    engine: EngineKind,
    endpoint: String,
    kind: ErrorKind,
    why: String,
    remedy: String,
}

impl Tried {
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

/// Why no engine can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoEngineKind {
    /// One may answer later.
    Unreachable,
    /// Its address cannot be used, or it is not part of this program.
    Unusable,
}

/// No engine can be used. `Display` fits after "failed to" and says what was tried and what to do about each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoEngine(Vec<Tried>);

impl NoEngine {
    /// The one engine there could be failed with `error`.
    pub fn of(engine: EngineKind, endpoint: &str, error: &RuntimeError) -> Self {
        Self(vec![Tried::new(engine, endpoint, error)])
    }

    /// The engine in memory was chosen and is not there.
    #[cfg(not(feature = "demo"))]
    pub(super) fn not_built_in() -> Self {
        let remedy = "choose docker, podman or auto for MANAGED_APP_RUNTIME, or build with the feature `demo`";
        Self(vec![Tried {
            engine: EngineKind::Memory,
            endpoint: "memory".to_owned(),
            kind: ErrorKind::Refused,
            why: "it is not part of this program".to_owned(),
            remedy: remedy.to_owned(),
        }])
    }

    /// Why.
    pub fn kind(&self) -> NoEngineKind {
        let is_final = self.0.iter().all(|tried| tried.kind == ErrorKind::Refused);
        if is_final { NoEngineKind::Unusable } else { NoEngineKind::Unreachable }
    }

    /// What was tried and how it failed.
    pub fn tried(&self) -> String {
        match self.0.as_slice() {
            [only] => only.why.clone(),
            all => joined(all, "; ", |tried| format!("{}: {}", tried.engine, tried.why)),
        }
    }

    /// What to do, an alternative for each engine that was tried.
    pub fn remedy(&self) -> String {
        match self.0.as_slice() {
            [only] => only.remedy.clone(),
            all => {
                joined(all, "; or ", |tried| format!("for {} at {}: {}", tried.engine, tried.endpoint, tried.remedy))
            }
        }
    }
}

fn joined(all: &[Tried], between: &str, form: impl Fn(&Tried) -> String) -> String {
    all.iter().map(form).collect::<Vec<_>>().join(between)
}

impl fmt::Display for NoEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "find a container engine: none answers ({}). What to do {}", self.tried(), self.remedy())
    }
}

impl std::error::Error for NoEngine {}

/// The engine that holds most of this app's containers, else the first that answers, and why it was chosen.
///
/// Nodes that run are worth more than a preference: another engine would start every node a second time.
pub(super) fn choose(asked: Vec<Result<Answer, Tried>>) -> Result<(Answer, &'static str), NoEngine> {
    let (mut answers, mut tried) = (Vec::new(), Vec::new());
    for one in asked {
        match one {
            Ok(answer) => answers.push(answer),
            Err(failed) => tried.push(failed),
        }
    }
    let most = answers.iter().map(|answer| answer.containers).max().unwrap_or(0);
    let reason = match (answers.len(), most) {
        (1, _) => "it is the only one that answers",
        (_, 0) => "it is the preferred one of those that answer",
        _ => "it already holds containers of this app",
    };
    let best = answers.into_iter().find(|answer| answer.containers == most);
    best.map(|best| (best, reason)).ok_or(NoEngine(tried))
}
