//! The engine's events about the owner's containers as a stream.
//!
//! The subscription covers all events of containers and networks, and the owner's are selected here: the engine's
//! filters cannot express "our labels, or the Python program's", and events of networks carry no labels.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bollard::models::{EventMessage, EventMessageTypeEnum};
use bollard::query_parameters::EventsOptions;
use futures_util::{StreamExt, stream};
use serde_json::json;
use time::OffsetDateTime;

use super::client::{Client, Raw, encoded, within};
use super::error::translate;
use super::logs::seconds;
use super::responses::Inspected;
use crate::{Action, Container, ContainerId, EngineEvent, EventStream, Owner, Result, labels};

const OPERATION: &str = "watch the events of app";

/// Subscribes to all events from now on; returns when the engine has begun its response.
///
/// The engine subscribes shortly after it begins its response. The request therefore contains the current time, and the
/// engine repeats the events in between.
pub(super) async fn open(client: &Client, owner: &Owner) -> Result<Raw<EventMessage>> {
    let filters = encoded(&json!({"type": ["container", "network"]}).to_string());
    let path = format!("/events?since={}&filters={filters}", seconds(OffsetDateTime::now_utc()));
    client.open(OPERATION, &owner.app, path, |docker| docker.events(None::<EventsOptions>)).await
}

/// The events among `raw` that concern the owner's containers; `present` are the containers at the moment.
pub(super) fn pick(raw: Raw<EventMessage>, client: Arc<Client>, owner: Owner, present: &[Container]) -> EventStream {
    let names = present.iter().map(|container| (container.id.clone(), container.name.clone())).collect();
    let filter = OwnerFilter { raw, client, owner, names };
    Box::pin(stream::unfold(Some(filter), |filter| async {
        let mut filter = filter?;
        let event = filter.next().await?;
        let filter = event.is_ok().then_some(filter);
        Some((event, filter))
    }))
}

struct OwnerFilter {
    raw: Raw<EventMessage>,
    client: Arc<Client>,
    owner: Owner,
    /// Names of the owner's known containers by id; a removed container is dropped.
    names: HashMap<ContainerId, String>,
}

impl OwnerFilter {
    async fn next(&mut self) -> Option<Result<EngineEvent>> {
        loop {
            match self.raw.next().await? {
                Err(error) => return Some(Err(translate(OPERATION, &self.owner.app, error))),
                Ok(message) => {
                    if let Some(event) = self.convert(message).await {
                        return Some(Ok(event));
                    }
                }
            }
        }
    }

    async fn convert(&mut self, message: EventMessage) -> Option<EngineEvent> {
        let is_network = message.typ == Some(EventMessageTypeEnum::NETWORK);
        let action = action(is_network, message.action.as_deref()?)?;
        let actor = message.actor?;
        let attributes: BTreeMap<String, String> = actor.attributes.unwrap_or_default().into_iter().collect();
        let at = message.time_nano.and_then(|nanos| OffsetDateTime::from_unix_timestamp_nanos(nanos.into()).ok());
        let container = ContainerId(if is_network { attributes.get("container")?.clone() } else { actor.id? });
        if !is_network && self.is_ours(&container, &attributes).await {
            self.names.insert(container.clone(), attributes.get("name").cloned().unwrap_or_default());
        }
        let exit_code = attributes.get("exitCode").filter(|_| action == Action::Died);
        let exit_code = exit_code.and_then(|code| code.parse().ok());
        let name = match action {
            Action::Removed => self.names.remove(&container)?,
            _ => self.names.get(&container)?.clone(),
        };
        Some(EngineEvent { container, name, action, at, exit_code })
    }

    /// Whether a container event concerns one of ours; `attributes` contain the container's labels.
    async fn is_ours(&mut self, id: &ContainerId, attributes: &BTreeMap<String, String>) -> bool {
        if self.owner.owns(attributes) || self.names.contains_key(id) {
            return true;
        }
        // A container of the Python program is also identified by its network, which only an inspection shows.
        let may_be_legacy = attributes.contains_key(labels::MANAGED_NODE_TYPE) && !attributes.contains_key(labels::APP);
        may_be_legacy && is_of(&self.client, &self.owner, id).await
    }
}

/// Asks the engine whether a container belongs to `owner`; an absent one does not.
async fn is_of(client: &Client, owner: &Owner, id: &ContainerId) -> bool {
    let path = format!("/containers/{id}/json");
    let inspected: Result<Inspected> = within(client.limits.call, OPERATION, &owner.app, client.get(&path)).await;
    inspected.is_ok_and(|inspected| inspected.is_of(owner))
}

/// The action of an event; `None` for an event without effect on the state (exec, attach, kill, ...).
fn action(is_network: bool, name: &str) -> Option<Action> {
    match (is_network, name) {
        (false, "create") => Some(Action::Created),
        (false, "start") => Some(Action::Started),
        (false, "die") => Some(Action::Died),
        (false, "pause") => Some(Action::Paused),
        (false, "unpause") => Some(Action::Unpaused),
        (false, "rename") => Some(Action::Renamed),
        (false, "destroy") => Some(Action::Removed),
        (false, "oom") => Some(Action::OutOfMemory),
        (true, "connect" | "disconnect") => Some(Action::Network),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_become_actions_or_are_ignored() {
        let cases = [
            (false, "create", Some(Action::Created)),
            (false, "die", Some(Action::Died)),
            (false, "destroy", Some(Action::Removed)),
            (false, "oom", Some(Action::OutOfMemory)),
            (false, "exec_start: sh -c x", None),
            (false, "kill", None),
            (false, "connect", None),
            (true, "connect", Some(Action::Network)),
            (true, "disconnect", Some(Action::Network)),
            (true, "create", None),
        ];
        for (is_network, name, wanted) in cases {
            assert_eq!(action(is_network, name), wanted, "{name}");
        }
    }
}
