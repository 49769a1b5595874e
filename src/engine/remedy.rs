//! Remedies for an engine that does not respond, in the terms of that engine. Text only.

use managed_app_runtimes::{EngineKind, ErrorKind, RuntimeError};

use super::backend;
use crate::text::chain;

/// The remedy for `error` of the engine of `kind` at `endpoint`.
pub fn remedy(kind: EngineKind, endpoint: &str, error: &RuntimeError) -> String {
    let Some(backend) = backend(kind) else { return NOT_BUILT_IN.to_owned() };
    // Clients report a socket without permission as "unreachable"; only the text differs.
    if chain(error).to_ascii_lowercase().contains("permission denied") {
        return backend.remedies.permission.to_owned();
    }
    match error.kind() {
        ErrorKind::Unreachable => (backend.remedies.start)(endpoint).to_owned(),
        ErrorKind::TimedOut => format!("it hangs: {}", (backend.remedies.restart)(endpoint)),
        ErrorKind::Refused => format!("check {}", backend.endpoint_variable),
        _ => format!("check that {} names the socket of {kind}", backend.endpoint_variable),
    }
}

/// The remedy for a configured engine that this program does not have.
pub(super) const NOT_BUILT_IN: &str =
    "choose docker, podman or auto for MANAGED_APP_RUNTIME, or build with the feature `demo`";
