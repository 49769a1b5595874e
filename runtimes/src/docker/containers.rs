//! The operations on containers and their network.

use std::time::Duration;

use bollard::errors::Error;
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, RemoveContainerOptionsBuilder, RenameContainerOptionsBuilder,
    RestartContainerOptionsBuilder, StartContainerOptions, StopContainerOptionsBuilder,
};
use futures_util::{StreamExt, stream};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::client::{Client, encoded, within};
use super::convert::{create_body, whole_seconds};
use super::error::{CREATE, RESTART, START};
use super::networks;
use super::responses::{Info, Inspected, Listed, Version, engine_host, engine_info};
use crate::{
    Container, ContainerId, ContainerSpec, EngineHost, EngineInfo, ErrorKind, Owner, Result, RuntimeError, labels,
};

/// Limit for the details of the containers of a list; one that hangs must not hide the others for long.
const DETAILS_LIMIT: Duration = Duration::from_secs(5);
/// Inspections at the same time.
const DETAILS_AT_ONCE: usize = 32;
/// Pause between two checks of a removal in progress.
const REMOVAL_POLL: Duration = Duration::from_millis(100);

/// An id that is valid in a path; any other cannot exist.
pub(super) fn checked<'a>(id: &'a ContainerId, operation: &'static str) -> Result<&'a ContainerId> {
    let is_safe = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    let is_id = id.0.starts_with(|c: char| c.is_ascii_alphanumeric()) && id.0.bytes().all(is_safe);
    is_id.then_some(id).ok_or_else(|| RuntimeError::new(ErrorKind::NotFound, operation, &id.0))
}

pub(super) async fn info(client: &Client) -> Result<EngineInfo> {
    const OPERATION: &str = "ask the engine at";
    let endpoint = client.endpoint.to_string();
    let responses = futures_util::future::try_join(client.get::<Version>("/version"), client.get::<Info>("/info"));
    let (version, info) = within(client.limits.call, OPERATION, &endpoint, responses).await?;
    if !version.is_supported() {
        let reason =
            format!("its API version is {}, but 1.41 (Docker 20.10) or later is required", version.api_version);
        return Err(RuntimeError::new(ErrorKind::Refused, OPERATION, endpoint).with_source(reason));
    }
    Ok(engine_info(version, &info, endpoint))
}

/// Information about the engine's host.
pub(super) async fn host(client: &Client) -> Result<EngineHost> {
    let endpoint = client.endpoint.to_string();
    let answer = client.get::<Info>("/info");
    within(client.limits.call, "ask for the host of", &endpoint, answer).await.map(|info| engine_host(&info))
}

/// The listed containers, then the details of each.
pub(super) async fn list(client: &Client, owner: &Owner) -> Result<Vec<Container>> {
    let end = Instant::now() + client.limits.call;
    let found = present(client, owner).await?;
    let end = end.min(Instant::now() + DETAILS_LIMIT);
    let detailed = stream::iter(found).map(|container| detailed(client, container, end)).buffered(DETAILS_AT_ONCE);
    Ok(detailed.filter_map(std::future::ready).collect().await)
}

/// Two lists, by our labels and by the Python program's: all containers, without details that need an inspection.
pub(super) async fn present(client: &Client, owner: &Owner) -> Result<Vec<Container>> {
    let ours: Vec<String> = owner.labels().iter().map(|(key, value)| format!("{key}={value}")).collect();
    let lists = futures_util::future::try_join(
        listed(client, json!({ "label": ours })),
        listed(client, json!({ "label": [labels::MANAGED_NODE_TYPE] })),
    );
    let (ours, legacy) = within(client.limits.call, "list the containers of app", &owner.app, lists).await?;
    let mut found: Vec<Container> = Vec::with_capacity(ours.len());
    for listed in ours.into_iter().chain(legacy) {
        match listed.origin(owner) {
            Some(origin) if !found.iter().any(|known| known.id.0 == listed.id) => {
                found.push(listed.into_container(origin));
            }
            _ => {}
        }
    }
    Ok(found)
}

/// One list; an element with an invalid shape is skipped with a warning, so that it does not hide the others.
async fn listed(client: &Client, filters: Value) -> Result<Vec<Listed>, Error> {
    let path = format!("/containers/json?all=1&filters={}", encoded(&filters.to_string()));
    let elements: Vec<Value> = client.get(&path).await?;
    let read = |element: Value| {
        Listed::deserialize(element)
            .inspect_err(|error| tracing::warn!(%error, "cannot parse a listed container, skipped"))
            .ok()
    };
    Ok(elements.into_iter().filter_map(read).collect())
}

/// The container with its details, or as listed when they are not available, or `None` when it is absent.
async fn detailed(client: &Client, container: Container, end: Instant) -> Option<Container> {
    let path = format!("/containers/{}/json", container.id);
    match tokio::time::timeout_at(end, client.get::<Inspected>(&path)).await {
        Ok(Ok(inspected)) => Some(inspected.complete(container)),
        Ok(Err(error)) if is_absent(&error) => None,
        Ok(Err(error)) => {
            tracing::warn!(container = %container.name, %error, "cannot inspect container");
            Some(container)
        }
        Err(_) => {
            tracing::warn!(container = %container.name, "inspection of container timed out");
            Some(container)
        }
    }
}

fn is_absent(error: &Error) -> bool {
    matches!(error, Error::DockerResponseServerError { status_code: 404, .. })
}

pub(super) async fn create(client: &Client, spec: &ContainerSpec) -> Result<ContainerId> {
    let call = async {
        // The engine itself would detect this only at the start.
        if networks::id(client, &spec.network).await?.is_none() {
            let message = format!("no such network: {}", spec.network);
            return Err(Error::DockerResponseServerError { status_code: 404, message });
        }
        let options = CreateContainerOptionsBuilder::new().name(&spec.name).build();
        let made =
            client.docker.create_container(Some(options), create_body(spec)).await.map_err(|e| redacted(e, spec))?;
        for warning in made.warnings {
            tracing::warn!(container = %spec.name, error = %warning, "engine returned a warning for container");
        }
        Ok(ContainerId(made.id))
    };
    within(client.limits.call, CREATE, &spec.name, call).await
}

/// The engine may quote the input that it rejects: secret values are redacted.
fn redacted(error: Error, spec: &ContainerSpec) -> Error {
    let Error::DockerResponseServerError { status_code, mut message } = error else { return error };
    for value in spec.env.values() {
        if let crate::EnvValue::Secret(_) = value
            && !value.expose().is_empty()
        {
            message = message.replace(value.expose(), "[secret]");
        }
    }
    Error::DockerResponseServerError { status_code, message }
}

/// Starts a container; one whose network was removed is first connected to the network of that name.
pub(super) async fn start(client: &Client, id: &ContainerId, alone: &Mutex<()>) -> Result<()> {
    let id = &checked(id, START)?.0;
    let call = async {
        match start_once(client, id).await {
            Err(error) if networks::is_lost(&error) => {
                networks::reconnect(client, id, alone, error).await?;
                start_once(client, id).await
            }
            other => other,
        }
    };
    within(client.limits.call, START, id, call).await
}

async fn start_once(client: &Client, id: &str) -> Result<(), Error> {
    match client.docker.start_container(id, None::<StartContainerOptions>).await {
        // The engine rejects the start of a paused container. If it cannot be unpaused either, the reason was another
        // one.
        Err(error @ Error::DockerResponseServerError { status_code: 409, .. }) => {
            client.docker.unpause_container(id).await.map_err(|_| error)
        }
        other => other,
    }
}

pub(super) async fn stop(client: &Client, id: &ContainerId, grace: Duration) -> Result<()> {
    const OPERATION: &str = "stop container";
    let id = &checked(id, OPERATION)?.0;
    let options = StopContainerOptionsBuilder::new().t(whole_seconds(grace)).build();
    within(stop_limit(client, grace), OPERATION, id, client.docker.stop_container(id, Some(options))).await
}

/// Restarts a container. If its network was removed, it is down when the engine notices, and is started as in
/// [`start`].
pub(super) async fn restart(client: &Client, id: &ContainerId, grace: Duration, alone: &Mutex<()>) -> Result<()> {
    let id = &checked(id, RESTART)?.0;
    let options = RestartContainerOptionsBuilder::new().t(whole_seconds(grace)).build();
    let call = async {
        match client.docker.restart_container(id, Some(options)).await {
            Err(error) if networks::is_lost(&error) => {
                networks::reconnect(client, id, alone, error).await?;
                start_once(client, id).await
            }
            other => other,
        }
    };
    within(stop_limit(client, grace), RESTART, id, call).await
}

/// Counted from the rounded grace that is sent to the engine.
fn stop_limit(client: &Client, grace: Duration) -> Duration {
    Duration::from_secs(whole_seconds(grace).unsigned_abs().into()) + client.limits.stop_margin
}

pub(super) async fn rename(client: &Client, id: &ContainerId, name: &str) -> Result<()> {
    const OPERATION: &str = "rename container";
    let id = &checked(id, OPERATION)?.0;
    let call = async {
        let options = RenameContainerOptionsBuilder::new().name(name).build();
        let Err(error) = client.docker.rename_container(id, options).await else { return Ok(()) };
        // The engine rejects a container's own name; the text differs between versions.
        let inspected: Inspected = client.get(&format!("/containers/{id}/json")).await?;
        let present = inspected.name.unwrap_or_default();
        if present.trim_start_matches('/') == name { Ok(()) } else { Err(error) }
    };
    within(client.limits.call, OPERATION, id, call).await
}

pub(super) async fn remove(client: &Client, id: &ContainerId) -> Result<()> {
    const OPERATION: &str = "remove container";
    let Ok(ContainerId(id)) = checked(id, OPERATION) else { return Ok(()) };
    let options = || RemoveContainerOptionsBuilder::new().force(true).v(true).build();
    let call = async {
        loop {
            match client.docker.remove_container(id, Some(options())).await {
                Err(error) if is_absent(&error) => return Ok(()),
                Err(Error::DockerResponseServerError { status_code: 409, message })
                    if message.contains("already in progress") =>
                {
                    tokio::time::sleep(REMOVAL_POLL).await;
                }
                done => return done,
            }
        }
    };
    within(client.limits.call, OPERATION, id, call).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{EnvValue, LogSettings};

    #[test]
    fn a_secret_that_the_engine_quotes_is_redacted() {
        let spec = ContainerSpec {
            name: "web".to_owned(),
            hostname: "web".to_owned(),
            image: "a.b/n:1".parse().expect("a reference"),
            env: [
                ("P".to_owned(), EnvValue::Secret("hunter2".to_owned().into())),
                ("E".to_owned(), EnvValue::Secret(String::new().into())),
            ]
            .into(),
            labels: [].into(),
            network: "net".to_owned(),
            aliases: [].into(),
            ports: Vec::new(),
            mounts: Vec::new(),
            logs: LogSettings::Engine { file_bytes_max: 1, files_max: 1 },
            stop_grace: Duration::ZERO,
            hardening: Default::default(),
        };
        let message = "invalid environment variable: P=hunter2".to_owned();
        let error = redacted(Error::DockerResponseServerError { status_code: 400, message }, &spec);
        assert!(error.to_string().ends_with("invalid environment variable: P=[secret]"), "{error}");
    }

    #[test]
    fn only_ids_that_are_valid_in_a_path_are_requested() {
        for (id, wanted) in
            [("0a1b", true), ("a_b-c.d", true), ("", false), ("../x", false), ("a/b", false), ("a?b", false)]
        {
            assert_eq!(checked(&ContainerId(id.to_owned()), START).is_ok(), wanted, "{id:?}");
        }
    }
}
