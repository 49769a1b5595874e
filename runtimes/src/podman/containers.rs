//! Containers and networks: list, create, start, stop, restart, rename, remove. Other modules handle streams and
//! images.

use std::path::Path;
use std::time::Duration;

use futures_util::{StreamExt as _, stream, try_join};
use serde_json::Value;

use super::convert::{self, encode, whole_seconds};
use super::error::Context;
use super::networks::{self, ATTEMPTS_MAX, RACE_PAUSE};
use super::socket::{Request, Socket, typed};
use super::wire::{Created, Filters, Inspect, ListItem};
use crate::{
    Container, ContainerId, ContainerSpec, ContainerState, ErrorKind, Limits, Origin, Owner, Result, RuntimeError,
    labels,
};

/// Concurrent inspections of one list.
const INSPECTIONS_AT_ONCE_MAX: usize = 8;
/// Limit for the inspection of one container of a list; the list contains enough to do without it.
const LIST_INSPECT_LIMIT: Duration = Duration::from_secs(3);

/// All containers of `owner`, with the details that only an inspection reports.
pub(super) async fn list(socket: &Socket, limits: &Limits, owner: &Owner) -> Result<Vec<Container>> {
    let found = present(socket, limits, owner).await?.into_iter();
    let refined = stream::iter(found).map(|(item, origin)| refine(socket, limits, item, origin));
    Ok(refined.buffered(INSPECTIONS_AT_ONCE_MAX).filter_map(std::future::ready).collect().await)
}

/// All containers of `owner` as the engine lists them: those that carry the labels, and those of the Python program.
async fn present(socket: &Socket, limits: &Limits, owner: &Owner) -> Result<Vec<(ListItem, Origin)>> {
    let context = Context { operation: "list containers of", subject: &owner.app };
    let labelled = owner.labels().into_iter().map(|(key, value)| format!("{key}={value}")).collect();
    let (labelled, legacy) = try_join!(list_by(socket, limits, context, labelled), legacy(socket, limits, owner))?;
    let mut ours: Vec<(ListItem, Origin)> = Vec::new();
    for item in labelled.into_iter().chain(legacy) {
        let is_new = ours.iter().all(|(known, _)| known.id != item.id);
        if let Some(origin) = convert::origin(owner, &item).filter(|_| is_new) {
            ours.push((item, origin));
        }
    }
    Ok(ours)
}

/// All containers that look like the Python program's, of this app or not.
pub(super) async fn legacy(socket: &Socket, limits: &Limits, owner: &Owner) -> Result<Vec<ListItem>> {
    let context = Context { operation: "list containers of", subject: &owner.app };
    list_by(socket, limits, context, vec![labels::MANAGED_NODE_TYPE.to_owned()]).await
}

/// Items that are not objects are skipped; invalid fields get their defaults.
async fn list_by(socket: &Socket, limits: &Limits, context: Context<'_>, labels: Vec<String>) -> Result<Vec<ListItem>> {
    let filters: Filters<'_> = [("label", labels)].into();
    let path = format!("/containers/json?all=true&filters={}", encode(&json(&filters)));
    let items: Vec<Value> = socket.json(context, limits.call, Request::Get(path)).await?;
    Ok(items.into_iter().filter_map(|item| serde_json::from_value(item).ok()).collect())
}

/// Adds the details that only an inspection reports (the start time to the nanosecond). `None` when the container is
/// gone.
async fn refine(socket: &Socket, limits: &Limits, item: ListItem, origin: Origin) -> Option<Container> {
    let id = ContainerId(item.id.clone());
    let limit = LIST_INSPECT_LIMIT.min(limits.call);
    match inspect(socket, limit, "inspect container", &id).await {
        Ok(found) => Some(convert::container(item, origin, Some(found))),
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        Err(error) => {
            tracing::debug!(container = %id, %error, "cannot inspect container, listed without details");
            Some(convert::container(item, origin, None))
        }
    }
}

/// Inspects one container with our own types.
pub(super) async fn inspect(
    socket: &Socket,
    limit: Duration,
    operation: &'static str,
    id: &ContainerId,
) -> Result<Inspect> {
    let context = Context { operation, subject: &id.0 };
    socket.json(context, limit, Request::Get(format!("/containers/{}/json", encode(&id.0)))).await
}

/// Creates a container; `relabel` is true if SELinux is enabled.
pub(super) async fn create(
    socket: &Socket,
    limits: &Limits,
    spec: &ContainerSpec,
    relabel: bool,
) -> Result<ContainerId> {
    let context = Context { operation: "create container", subject: &spec.name };
    let generator =
        convert::generator(spec, relabel).map_err(|reason| context.error(ErrorKind::Refused).with_source(reason))?;
    let request = Request::Post("/containers/create".to_owned(), Some(json(&generator)));
    let created: Created = socket.json(context, limits.call, request).await?;
    if created.id.is_empty() {
        return Err(context.invalid_response("the response has no container id"));
    }
    Ok(ContainerId(created.id))
}

/// Removes the leftover of a creation during which Podman crashed, if the name is taken by one: storage that no list
/// shows and that blocks the name for every container (seen on 4.3.1). A container of that name stays.
pub(super) async fn clear_leftover(socket: &Socket, limits: &Limits, name: &str) -> Result<bool> {
    let id = ContainerId(name.to_owned());
    match inspect(socket, limits.call, "inspect container", &id).await {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            tracing::info!(name, "removed the leftover of an interrupted container creation");
            remove(socket, limits, &id).await.map(|()| true)
        }
        other => other.map(|_| false),
    }
}

/// Starts a container. Retries when the host's networks were changing, or when its own network was gone and is created
/// again.
pub(super) async fn start(socket: &Socket, limits: &Limits, id: &ContainerId) -> Result<()> {
    let (mut attempt, mut is_restored) = (1, false);
    loop {
        match start_once(socket, limits, id).await {
            Err(error) if networks::is_lost(&error) && !is_restored => {
                networks::restore(socket, limits, error.operation(), id).await?;
                is_restored = true;
            }
            Err(error) if networks::is_race(&error) && attempt < ATTEMPTS_MAX => {
                tracing::debug!(container = %id, attempt, %error, "container start failed, retrying");
                tokio::time::sleep(RACE_PAUSE).await;
                attempt += 1;
            }
            // This also happens when the container is paused, which the engine reports only in its text.
            Err(error) if matches!(error.kind(), ErrorKind::Conflict | ErrorKind::Other) => {
                return match thaw(socket, limits, error.operation(), id).await {
                    Ok(true) => Ok(()),
                    Ok(false) | Err(_) => Err(error),
                };
            }
            other => return other,
        }
    }
}

/// The crate reports "already started" (304) as an error.
async fn start_once(socket: &Socket, limits: &Limits, id: &ContainerId) -> Result<()> {
    let context = Context { operation: "start container", subject: &id.0 };
    let call = async {
        match socket.podman.containers().get(encode(&id.0)).start(None).await {
            Err(podman_api::Error::Fault { code, .. }) if code.as_u16() == NOT_MODIFIED => Ok(()),
            other => other,
        }
    };
    typed(context, limits.call, call).await
}

/// "Not modified": a start of a running container.
const NOT_MODIFIED: u16 = 304;

/// Stops a container, paused or not.
pub(super) async fn stop(socket: &Socket, limits: &Limits, id: &ContainerId, grace: Duration) -> Result<()> {
    end(socket, limits, "stop container", "stop", id, grace).await
}

/// Restarts a container, paused or not.
pub(super) async fn restart(socket: &Socket, limits: &Limits, id: &ContainerId, grace: Duration) -> Result<()> {
    match end(socket, limits, "restart container", "restart", id, grace).await {
        Err(error) if networks::is_race(&error) || networks::is_lost(&error) => start(socket, limits, id).await,
        other => other,
    }
}

/// Podman rejects both operations on a paused container (after it waited and killed in vain), so it is unpaused first.
async fn end(
    socket: &Socket,
    limits: &Limits,
    operation: &'static str,
    verb: &str,
    id: &ContainerId,
    grace: Duration,
) -> Result<()> {
    let context = Context { operation, subject: &id.0 };
    thaw(socket, limits, operation, id).await?;
    let path = format!("/containers/{}/{verb}?timeout={}", encode(&id.0), whole_seconds(grace));
    socket.call(context, grace + limits.stop_margin, Request::Post(path, None)).await.map(|_| ())
}

/// Unpauses a paused container; returns whether it was paused.
async fn thaw(socket: &Socket, limits: &Limits, operation: &'static str, id: &ContainerId) -> Result<bool> {
    let found = inspect(socket, limits.call, operation, id).await?;
    if convert::state(&found.state.status, None) != ContainerState::Paused {
        return Ok(false);
    }
    let context = Context { operation, subject: &id.0 };
    let thawed = typed(context, limits.call, socket.podman.containers().get(encode(&id.0)).unpause()).await;
    // It may have been unpaused or ended meanwhile; the operation itself decides.
    thawed.or_else(|error| if error.kind() == ErrorKind::Conflict { Ok(()) } else { Err(error) })?;
    Ok(true)
}

/// Renames a container. Its own name is `Ok`, whatever the engine responds.
pub(super) async fn rename(socket: &Socket, limits: &Limits, id: &ContainerId, name: &str) -> Result<()> {
    let context = Context { operation: "rename container", subject: &id.0 };
    let renamed = typed(context, limits.call, socket.podman.containers().get(encode(&id.0)).rename(name)).await;
    let Err(error) = renamed else { return Ok(()) };
    let has_it = has_name(socket, limits, id, name, &error).await;
    if has_it { Ok(()) } else { Err(error) }
}

async fn has_name(socket: &Socket, limits: &Limits, id: &ContainerId, name: &str, error: &RuntimeError) -> bool {
    error.kind() == ErrorKind::AlreadyExists
        && inspect(socket, limits.call, error.operation(), id).await.is_ok_and(|found| found.name == name)
}

/// Kills and removes a container with its anonymous volumes: `timeout=0`, because the default waits for the container's
/// own grace, and `volumes`, because libpod ignores the `v` that the crate sends.
pub(super) async fn remove(socket: &Socket, limits: &Limits, id: &ContainerId) -> Result<()> {
    let context = Context { operation: "remove container", subject: &id.0 };
    let path = format!("/containers/{}?force=true&volumes=true&timeout=0", encode(&id.0));
    match socket.call(context, limits.call, Request::Delete(path)).await {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        other => other.map(|_| ()),
    }
}

/// Whether this kernel enforces or logs SELinux rules, so that bind mounts need relabelling.
pub(super) fn selinux_is_on() -> bool {
    Path::new("/sys/fs/selinux/enforce").exists()
}

/// The JSON text of a body or of filters: maps of text and numbers only.
pub(super) fn json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).expect("maps of text and numbers are always JSON")
}
