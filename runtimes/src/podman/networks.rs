//! Networks: created once, found by their exact name, and created again for a stopped container whose network is gone.

use std::time::Duration;

use futures_util::future::join_all;
use podman_api::opts::NetworkCreateOpts;

use super::containers::inspect;
use super::error::Context;
use super::socket::{Request, Socket, typed};
use super::wire::NetworkItem;
use crate::{ContainerId, ErrorKind, Limits, Owner, Result, RuntimeError};

/// Maximum number of attempts when a change of the host's networks interferes.
pub(super) const ATTEMPTS_MAX: u32 = 4;
/// The pause before another attempt.
pub(super) const RACE_PAUSE: Duration = Duration::from_millis(300);

/// Creates without a lookup: the engine itself rejects a second network of the name, and its lookup by name also
/// matches the beginning of another network's id.
pub(super) async fn ensure(socket: &Socket, limits: &Limits, name: &str, owner: Option<&Owner>) -> Result<()> {
    let context = Context { operation: "create network", subject: name };
    let labels = owner.map(Owner::labels).unwrap_or_default();
    let options = NetworkCreateOpts::builder().name(name).driver("bridge").dns_enabled(true).labels(labels).build();
    let mut attempt = 1;
    loop {
        match typed(context, limits.call, socket.podman.networks().create(&options)).await {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => return Ok(()),
            Err(error) if is_race(&error) && attempt < ATTEMPTS_MAX => {
                tracing::debug!(network = name, attempt, %error, "network creation failed, retrying");
                tokio::time::sleep(RACE_PAUSE).await;
                attempt += 1;
            }
            other => return other.map(|_| ()),
        }
    }
}

/// Fails like the creation of a container if no network has exactly this name: the engine also accepts the beginning of
/// another network's id, and the container would join that network.
pub(super) async fn require(socket: &Socket, limits: &Limits, name: &str, container: &str) -> Result<()> {
    let context = Context { operation: "create container", subject: container };
    let networks: Vec<NetworkItem> =
        socket.json(context, limits.call, Request::Get("/networks/json".to_owned())).await?;
    if networks.iter().any(|network| network.name == name) {
        return Ok(());
    }
    Err(context.error(ErrorKind::NotFound).with_source(format!("no such network: {name}")))
}

/// Whether a start failed because a network of the container is gone. The container refers to it by name, so that a new
/// network of that name is sufficient.
pub(super) fn is_lost(error: &RuntimeError) -> bool {
    source_of(error).is_some_and(|source| source.contains("network not found"))
}

/// Creates the missing networks of a container again, with the labels of its owner.
pub(super) async fn restore(socket: &Socket, limits: &Limits, operation: &'static str, id: &ContainerId) -> Result<()> {
    let container = inspect(socket, limits.call, operation, id).await?;
    let owner = Owner::from_labels(&container.config.labels);
    tracing::info!(container = %id, "recreating removed network of container");
    let names = container.network_settings.networks.keys();
    join_all(names.map(|name| ensure(socket, limits, name, owner.as_ref()))).await.into_iter().collect()
}

/// Whether Podman failed because another container ended at that moment. When the last container of a network ends,
/// Podman removes the bridge, and the name server that serves all networks cannot bind the vanished address (seen on
/// 5.4.2). An interface that vanishes while a new network searches a free name and range fails that search (seen on
/// 4.3.1).
pub(super) fn is_race(error: &RuntimeError) -> bool {
    let texts = ["aardvark-dns failed to start", "no such network interface"];
    source_of(error).is_some_and(|source| texts.iter().any(|text| source.contains(text)))
}

fn source_of(error: &RuntimeError) -> Option<String> {
    std::error::Error::source(error).map(ToString::to_string)
}
