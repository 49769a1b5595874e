//! Networks: made once, looked up by their exact name, and made again for a stopped container whose network is gone.

use std::time::Duration;

use futures_util::future::join_all;
use podman_api::opts::NetworkCreateOpts;

use super::containers::inspect;
use super::error::Doing;
use super::socket::{Request, Socket, typed};
use super::wire::NetworkItem;
use crate::{ContainerId, ErrorKind, Limits, Owner, Result, RuntimeError};

/// Attempts in all when a change of the host's networks is in the way.
pub(super) const ATTEMPTS_MAX: u32 = 4;
/// The pause before another attempt.
pub(super) const RACE_PAUSE: Duration = Duration::from_millis(300);

/// Creates at once, without a look before: the engine refuses a second network of the name by itself, and its look-up
/// by name would also take the beginning of another network's id.
pub(super) async fn ensure(socket: &Socket, limits: &Limits, name: &str, owner: Option<&Owner>) -> Result<()> {
    let doing = Doing { operation: "create network", subject: name };
    let labels = owner.map(Owner::labels).unwrap_or_default();
    let options = NetworkCreateOpts::builder().name(name).driver("bridge").dns_enabled(true).labels(labels).build();
    let mut attempt = 1;
    loop {
        match typed(doing, limits.call, socket.podman.networks().create(&options)).await {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => return Ok(()),
            Err(error) if is_race(&error) && attempt < ATTEMPTS_MAX => {
                tracing::debug!(network = name, attempt, %error, "network creation repeated");
                tokio::time::sleep(RACE_PAUSE).await;
                attempt += 1;
            }
            other => return other.map(|_| ()),
        }
    }
}

/// Fails as the creation of a container would, where there is no network of exactly this name: the engine also takes the
/// beginning of another network's id for a name, and the container would join that.
pub(super) async fn require(socket: &Socket, limits: &Limits, name: &str, container: &str) -> Result<()> {
    let doing = Doing { operation: "create container", subject: container };
    let networks: Vec<NetworkItem> = socket.json(doing, limits.call, Request::Get("/networks/json".to_owned())).await?;
    if networks.iter().any(|network| network.name == name) {
        return Ok(());
    }
    Err(doing.error(ErrorKind::NotFound).with_source(format!("no such network: {name}")))
}

/// Whether a start failed because a network that the container is connected to is gone. The container knows it by name, so
/// that a new one of that name will do.
pub(super) fn is_lost(error: &RuntimeError) -> bool {
    source_of(error).is_some_and(|source| source.contains("network not found"))
}

/// Makes the networks of a container again that are gone, with the labels of its owner.
pub(super) async fn restore(socket: &Socket, limits: &Limits, operation: &'static str, id: &ContainerId) -> Result<()> {
    let container = inspect(socket, limits.call, operation, id).await?;
    let owner = Owner::from_labels(&container.config.labels);
    tracing::info!(container = %id, "a network that was removed is made again for container");
    let names = container.network_settings.networks.keys();
    join_all(names.map(|name| ensure(socket, limits, name, owner.as_ref()))).await.into_iter().collect()
}

/// Whether Podman stumbled over another container that ended in that moment. As the last of its network it takes the
/// bridge along, and the one name server of all networks cannot bind the vanished address (seen on 5.4.2). An interface
/// that vanishes while a new network looks for a free name and range fails that look (seen on 4.3.1).
pub(super) fn is_race(error: &RuntimeError) -> bool {
    let texts = ["aardvark-dns failed to start", "no such network interface"];
    source_of(error).is_some_and(|source| texts.iter().any(|text| source.contains(text)))
}

fn source_of(error: &RuntimeError) -> Option<String> {
    std::error::Error::source(error).map(ToString::to_string)
}
