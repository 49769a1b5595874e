//! Remedies for an engine that does not respond, in the terms of that engine. Text only.

use managed_app_runtimes::{EngineKind, ErrorKind, RuntimeError};

use crate::text::chain;

/// The remedy for `error` of the engine of `kind` at `endpoint`.
pub fn remedy(kind: EngineKind, endpoint: &str, error: &RuntimeError) -> String {
    let variable = if kind == EngineKind::Podman { "CONTAINER_HOST" } else { "DOCKER_HOST" };
    // Clients report a socket without permission as "unreachable"; only the text differs.
    if chain(error).to_ascii_lowercase().contains("permission denied") {
        return permission(kind).to_owned();
    }
    match error.kind() {
        ErrorKind::Unreachable => start(kind, endpoint),
        ErrorKind::TimedOut => format!("it hangs: {}", restart(kind, endpoint)),
        ErrorKind::Refused => format!("check {variable}"),
        _ => format!("check that {variable} names the socket of {kind}"),
    }
}

fn permission(kind: EngineKind) -> &'static str {
    match kind {
        EngineKind::Podman => {
            "this user may not use the socket: run as root, or use the user's own Podman: \
             systemctl --user enable --now podman.socket"
        }
        _ => "this user may not use the socket: run as root, or add the user to the group `docker`",
    }
}

fn start(kind: EngineKind, endpoint: &str) -> String {
    match kind {
        EngineKind::Podman if is_of_user(endpoint) => "systemctl --user enable --now podman.socket".to_owned(),
        EngineKind::Podman => "systemctl enable --now podman.socket".to_owned(),
        _ => "systemctl start docker".to_owned(),
    }
}

fn restart(kind: EngineKind, endpoint: &str) -> &'static str {
    match kind {
        EngineKind::Podman if is_of_user(endpoint) => "systemctl --user restart podman",
        EngineKind::Podman => "systemctl restart podman",
        _ => "systemctl restart docker",
    }
}

/// systemd creates the sockets of a user below `/run/user/<uid>`.
fn is_of_user(endpoint: &str) -> bool {
    endpoint.starts_with("unix:///run/user/")
}
