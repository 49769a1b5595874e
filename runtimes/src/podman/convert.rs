//! Converts our types to libpod's and back. Pure: no calls, no clock.

use std::net::IpAddr;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;
use secrecy::ExposeSecret;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::wire::{
    BindMount, Event, Inspect, InspectState, Limit, ListItem, LogConfiguration, NamedVolume, Namespace, NetworkOptions,
    PortMapping, RegistryAuth, ResourceLimits, SpecGenerator,
};
use crate::{
    Action, Container, ContainerId, ContainerSpec, ContainerState, EngineEvent, Hardening, ImageId, LogSettings, Mount,
    MountSource, Origin, Owner, PortBinding, ProcessExit, RegistryCredentials,
};

/// The body of a creation. `relabel` requests SELinux relabelling of bind mounts; `Err` is the reason why Podman cannot
/// do it.
pub(super) fn generator(spec: &ContainerSpec, relabel: bool) -> Result<SpecGenerator<'_>, &'static str> {
    Ok(SpecGenerator {
        name: &spec.name,
        hostname: &spec.hostname,
        image: spec.image.to_pull(),
        env: spec.env.iter().map(|(key, value)| (key.as_str(), value.expose())).collect(),
        labels: &spec.labels,
        netns: Namespace { nsmode: "bridge" },
        networks: [(spec.network.as_str(), NetworkOptions { aliases: &spec.aliases })].into(),
        portmappings: spec.ports.iter().map(port).collect(),
        volumes: spec.mounts.iter().filter_map(volume).collect(),
        mounts: spec.mounts.iter().filter_map(|mount| bind(mount, relabel)).collect(),
        log_configuration: logs(&spec.logs)?,
        restart_policy: "unless-stopped",
        stop_timeout: whole_seconds(spec.stop_grace),
        no_new_privileges: spec.hardening.no_new_privileges,
        cap_drop: &spec.hardening.dropped_capabilities,
        resource_limits: limits(&spec.hardening),
    })
}

/// `None` without limits, so that Podman's defaults apply.
fn limits(wanted: &Hardening) -> Option<ResourceLimits> {
    let memory = wanted.memory_bytes_max.map(|most| Limit { limit: i64::try_from(most).unwrap_or(i64::MAX) });
    let pids = wanted.pids_max.map(|most| Limit { limit: i64::from(most) });
    (memory.is_some() || pids.is_some()).then_some(ResourceLimits { memory, pids })
}

/// An empty address means all addresses. Podman's network treats 0.0.0.0 as an ordinary address, which receives no
/// traffic.
fn port(binding: &PortBinding) -> PortMapping {
    let address = binding.host_address;
    PortMapping {
        host_ip: if address.is_unspecified() { String::new() } else { address.to_string() },
        host_port: binding.host_port,
        container_port: binding.container_port,
        protocol: binding.protocol.as_str(),
    }
}

fn volume(mount: &Mount) -> Option<NamedVolume<'_>> {
    match &mount.source {
        MountSource::Anonymous => Some(NamedVolume { name: "", dest: &mount.target }),
        MountSource::Volume(name) => Some(NamedVolume { name, dest: &mount.target }),
        MountSource::Bind(_) => None,
    }
}

/// `z`: shared by all containers, because two nodes may mount one directory. Podman relabels at creation.
fn bind(mount: &Mount, relabel: bool) -> Option<BindMount<'_>> {
    let MountSource::Bind(source) = &mount.source else { return None };
    let options = if relabel { vec!["rbind", "rw", "z"] } else { vec!["rbind", "rw"] };
    Some(BindMount { kind: "bind", source, destination: &mount.target, options })
}

/// Podman keeps one file, and truncates it when it is full, so the file gets the size of all.
fn logs(settings: &LogSettings) -> Result<LogConfiguration, &'static str> {
    match settings {
        LogSettings::Engine { file_bytes_max, files_max } => {
            let size = file_bytes_max.saturating_mul(u64::from(*files_max));
            let size = i64::try_from(size).unwrap_or(i64::MAX);
            Ok(LogConfiguration { driver: "k8s-file", size })
        }
        LogSettings::Awslogs { .. } => Err("Podman has no awslogs log driver"),
    }
}

/// Podman counts graces in whole seconds; rounded up, so that a grace is never shortened.
pub(super) fn whole_seconds(grace: Duration) -> u64 {
    grace.as_secs() + u64::from(grace.subsec_nanos() > 0)
}

/// Why a container belongs to the owner; `None` when it does not.
pub(super) fn origin(owner: &Owner, item: &ListItem) -> Option<Origin> {
    if owner.owns(&item.labels) {
        Some(Origin::Labelled)
    } else if owner.owns_legacy(&item.labels, &item.networks) {
        Some(Origin::Legacy)
    } else {
        None
    }
}

/// A listed container, completed by its inspection if there is one.
pub(super) fn container(item: ListItem, origin: Origin, inspect: Option<Inspect>) -> Container {
    let coarse = (item.started_at > 0).then(|| OffsetDateTime::from_unix_timestamp(item.started_at).ok()).flatten();
    let (state, started_at) = match &inspect {
        Some(found) => (state(&found.state.status, found.state.exit_code), stamp(&found.state.started_at)),
        None => (state(&item.state, item.exit_code), coarse),
    };
    let restarts = inspect.as_ref().and_then(|found| found.restart_count);
    let last_exit = inspect.as_ref().and_then(|found| last_exit(&found.state, &state));
    let name = inspect.map(|found| found.name).filter(|name| !name.is_empty());
    Container {
        id: ContainerId(item.id),
        name: name.or_else(|| item.names.into_iter().next()).unwrap_or_default(),
        image_id: image_id(&item.image_id),
        labels: item.labels,
        state,
        networks: item.networks,
        started_at,
        restarts,
        last_exit,
        origin,
    }
}

/// The time of the last end stays while the next process runs; its code does not.
fn last_exit(found: &InspectState, state: &ContainerState) -> Option<ProcessExit> {
    let at = stamp(&found.finished_at)?;
    let has_process = matches!(state, ContainerState::Running | ContainerState::Paused);
    let code = found.exit_code.filter(|_| !has_process);
    Some(ProcessExit { code, is_oom: found.oom_killed && code.is_some(), at: Some(at) })
}

/// The state for Podman's name of it. `initialized` has its namespaces but no process yet; `stopping` still has its
/// process.
pub(super) fn state(status: &str, code: Option<i64>) -> ContainerState {
    match status {
        "created" | "configured" | "initialized" => ContainerState::Created,
        "running" | "stopping" => ContainerState::Running,
        "paused" => ContainerState::Paused,
        "restarting" => ContainerState::Restarting,
        "exited" | "stopped" => ContainerState::Exited { code },
        "removing" => ContainerState::Removing,
        "dead" => ContainerState::Dead,
        other => ContainerState::Unknown(other.to_owned()),
    }
}

/// An RFC 3339 time of the engine; its zero (year 1) is `None`.
pub(super) fn stamp(text: &str) -> Option<OffsetDateTime> {
    OffsetDateTime::parse(text, &Rfc3339).ok().filter(|at| at.unix_timestamp() > 0)
}

/// Podman's bare image ids get the prefix that Docker's have.
pub(super) fn image_id(id: &str) -> ImageId {
    if id.is_empty() || id.starts_with("sha256:") { ImageId(id.to_owned()) } else { ImageId(format!("sha256:{id}")) }
}

/// The event of a line of the stream; `None` for an event without effect on a container's state.
pub(super) fn event(wire: &Event) -> Option<EngineEvent> {
    let action = action(&wire.kind, &wire.action)?;
    if wire.actor.id.is_empty() {
        return None;
    }
    let exit_code = wire.actor.attributes.get("containerExitCode").filter(|_| action == Action::Died);
    Some(EngineEvent {
        exit_code: exit_code.and_then(|code| code.parse().ok()),
        container: ContainerId(wire.actor.id.clone()),
        name: wire.actor.attributes.get("name").cloned().unwrap_or_default(),
        action,
        at: event_time(wire),
    })
}

/// Time of an event by the engine's clock.
pub(super) fn event_time(wire: &Event) -> Option<OffsetDateTime> {
    let nanos = i128::from(wire.time_nano);
    (nanos > 0).then(|| OffsetDateTime::from_unix_timestamp_nanos(nanos).ok()).flatten()
}

/// `sync` and `init` come with every list or start, `exec` and health checks with every probe: they are ignored.
fn action(kind: &str, name: &str) -> Option<Action> {
    Some(match (kind, name) {
        ("network", "connect" | "disconnect") => Action::Network,
        ("container", "create") => Action::Created,
        ("container", "start") => Action::Started,
        ("container", "died") => Action::Died,
        ("container", "pause") => Action::Paused,
        ("container", "unpause") => Action::Unpaused,
        ("container", "rename") => Action::Renamed,
        ("container", "remove") => Action::Removed,
        ("container", "oom") => Action::OutOfMemory,
        ("container", "kill" | "stop" | "restart" | "checkpoint" | "restore") => Action::Other,
        _ => return None,
    })
}

/// The value of `X-Registry-Auth`: libpod reads URL-safe base64 (with padding), so that no byte of a password is lost.
pub(super) fn registry_auth(credentials: &RegistryCredentials) -> String {
    let auth = RegistryAuth { username: &credentials.username, password: credentials.password.expose_secret() };
    URL_SAFE.encode(serde_json::to_string(&auth).expect("two strings are always JSON"))
}

/// Whether the registry is on this host, where traffic never leaves it and valid certificates are not available.
pub(super) fn is_loopback(registry: &str) -> bool {
    let host = registry
        .rsplit_once(':')
        .map_or(registry, |(host, port)| if port.bytes().all(|b| b.is_ascii_digit()) { host } else { registry });
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Percent-encodes a path segment or a query value.
pub(super) fn encode(text: &str) -> String {
    use std::fmt::Write as _;
    text.bytes().fold(String::with_capacity(text.len()), |mut encoded, byte| {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~') {
            encoded.push(char::from(byte));
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
        encoded
    })
}
