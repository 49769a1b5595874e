//! Networks: created once, and created again for a stopped container whose network was removed.

use bollard::errors::Error;
use bollard::models::{EndpointSettings, NetworkConnectRequest, NetworkCreateRequest, NetworkDisconnectRequest};
use serde::Deserialize;
use serde_json::json;
use tokio::sync::Mutex;

use super::client::{Client, encoded};
use super::convert::network_body;
use super::responses::Inspected;
use crate::Owner;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Network {
    id: String,
    name: String,
}

/// The id of the network named `name`, if there is one.
///
/// The engine's filter matches parts of names and its lookup by name matches ids too: names are compared here.
pub(super) async fn id(client: &Client, name: &str) -> Result<Option<String>, Error> {
    let path = format!("/networks?filters={}", encoded(&json!({ "name": [name] }).to_string()));
    let networks: Vec<Network> = client.get(&path).await?;
    Ok(networks.into_iter().find(|network| network.name == name).map(|network| network.id))
}

/// Creates the owner's network if no network has that name. Must not be called concurrently.
pub(super) async fn ensure(client: &Client, name: &str, owner: &Owner) -> Result<(), Error> {
    ensure_id(client, network_body(name, owner.labels())).await.map(drop)
}

/// The id of the network that `request` describes; it is created if no network has that name.
async fn ensure_id(client: &Client, request: NetworkCreateRequest) -> Result<String, Error> {
    let name = request.name.clone();
    if let Some(present) = id(client, &name).await? {
        return Ok(present);
    }
    match client.docker.create_network(request).await {
        // Another program was faster; newer engines report that.
        Err(error @ Error::DockerResponseServerError { status_code: 409, .. }) => id(client, &name).await?.ok_or(error),
        made => made.map(|made| made.id),
    }
}

/// Whether a start (404) or a restart (500) failed because a network that the container is connected to was removed.
pub(super) fn is_lost(error: &Error) -> bool {
    matches!(error, Error::DockerResponseServerError { status_code: 404 | 500, message }
        if message.contains("network ") && message.contains(" not found"))
}

/// Connects a stopped container again to its removed networks: to networks of the same names, which are created if
/// absent, with the labels of the container's owner.
///
/// The container refers to its network by id, so that a new network of that name is not enough (seen on 20.10 and
/// 26.1). `error` is the error of the start; it is returned when there is nothing to connect.
pub(super) async fn reconnect(client: &Client, id: &str, alone: &Mutex<()>, error: Error) -> Result<(), Error> {
    let container: Inspected = client.get(&format!("/containers/{id}/json")).await?;
    let mut is_mended = false;
    for (name, aliases) in container.endpoints() {
        let network = {
            let _alone = alone.lock().await;
            let labels = container.owner().map(|owner| owner.labels()).unwrap_or_default();
            ensure_id(client, network_body(&name, labels)).await?
        };
        if container.is_connected_to(&network) {
            continue;
        }
        tracing::info!(
            container = id,
            network = name,
            "container is connected again to its network, which was removed"
        );
        let request = NetworkDisconnectRequest { container: id.to_owned(), force: Some(true) };
        client.docker.disconnect_network(&network, request).await?;
        let endpoint = EndpointSettings { aliases: Some(aliases), ..EndpointSettings::default() };
        let request = NetworkConnectRequest { container: id.to_owned(), endpoint_config: Some(endpoint) };
        client.docker.connect_network(&network, request).await?;
        is_mended = true;
    }
    if is_mended { Ok(()) } else { Err(error) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_removed_network_counts_as_lost() {
        let id = "a8037acff61b5b8e".repeat(4);
        let lost = format!("network {id} not found");
        let cases = [
            (404, lost.as_str(), true),
            (500, "Cannot restart container web: network app not found", true),
            (404, "No such container: web", false),
            (403, lost.as_str(), false),
        ];
        for (status_code, message, wanted) in cases {
            let error = Error::DockerResponseServerError { status_code, message: message.to_owned() };
            assert_eq!(is_lost(&error), wanted, "{status_code} {message}");
        }
    }
}
