//! The answer to `GetApp` into the model. Pure. What is odd about one node stays with that node.

mod node;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

use super::operations::get_app::{self, GetAppGetApp as WireApp};
use super::operations::get_app::{
    GetAppGetAppOnManagedApp as ManagedApp, GetAppGetAppOnManagedAppNodes as WireNode,
    GetAppGetAppOnManagedAppNodesOnAppChangeReceiverNode as WireReceiver, GetAppGetAppOnManagedAppTenant as WireTenant,
};
use crate::config;
use crate::model::{App, ChangeReceiver, Node, NodeName, Snapshot, Tenant};

/// Most nodes of one app.
const NODES_MAX: usize = 10_000;

/// Longest configuration or auditor, bytes.
const TEXT_MAX: usize = 1024 * 1024;

/// Longest name, URL, address or path, bytes. AWS allows 2,048 for a URL.
const NAME_MAX: usize = 2_048;

/// Reads an answer that came without errors. The error says what is missing; it shows nothing of the content.
pub(super) fn snapshot(data: get_app::ResponseData, app: &str, tenant: &str) -> Result<Snapshot, String> {
    match data.get_app {
        None => Ok(Snapshot::Gone),
        Some(WireApp::Unknown) => Err("the app is not a ManagedApp".to_owned()),
        Some(WireApp::ManagedApp(wire)) => Ok(Snapshot::App(Arc::new(managed_app(wire, app, tenant)?))),
    }
}

fn managed_app(wire: ManagedApp, app: &str, tenant: &str) -> Result<App, String> {
    if wire.name.as_deref() != Some(app) {
        return Err("the answer is about another app".to_owned());
    }
    let wire_nodes = wire.nodes.ok_or("the list of nodes is missing")?;
    if wire_nodes.len() > NODES_MAX {
        return Err(format!("there are more than {NODES_MAX} nodes"));
    }
    let nodes = Nodes::read(wire_nodes, app);
    Ok(App {
        name: app.to_owned(),
        tenant: read_tenant(wire.tenant.ok_or("the tenant is missing")?, tenant)?,
        config: text(wire.config, "the app's config")?,
        table_access: wire.table_access.unwrap_or(false),
        audit_records_endpoint: wire.audit_records_endpoint.filter(|url| is_name(url)),
        change_receiver: nodes.receiver,
        nodes: nodes.good,
        invalid_nodes: nodes.invalid,
        is_complete: nodes.is_complete,
    })
}

fn read_tenant(wire: WireTenant, name: &str) -> Result<Tenant, String> {
    // A part of host names that signed calls go to.
    let region = required(wire.region, "the tenant's region")?;
    if !config::is_region(&region) {
        return Err("the tenant's region is no AWS region".to_owned());
    }
    Ok(Tenant {
        name: name.to_owned(),
        region,
        config: text(wire.config, "the tenant's config")?,
        audit: wire.audit.unwrap_or(false),
        table: required(wire.table, "the tenant's table")?,
    })
}

/// The list of nodes, taken apart.
struct Nodes {
    receiver: Option<ChangeReceiver>,
    good: BTreeMap<NodeName, Node>,
    invalid: BTreeMap<NodeName, String>,
    is_complete: bool,
}

impl Nodes {
    fn read(wire: Vec<Option<WireNode>>, app: &str) -> Self {
        let mut nodes = Self { receiver: None, good: BTreeMap::new(), invalid: BTreeMap::new(), is_complete: true };
        for node in wire {
            match node {
                // A null hides a node, perhaps one that runs here.
                None => nodes.is_complete = false,
                Some(WireNode::AppChangeReceiverNode(receiver)) => nodes.take_receiver(receiver, app),
                Some(WireNode::ManagedNode(node)) => nodes.take(node),
                Some(WireNode::Unknown) => tracing::debug!("node of an unknown type skipped"),
            }
        }
        nodes
    }

    fn take(&mut self, wire: node::WireNode) {
        // Without a name it cannot even be called invalid, and it may be one that runs here.
        let Some(name) = wire.name.clone().and_then(|name| NodeName::new(name).ok()) else {
            tracing::warn!("node without a valid name in the app");
            self.is_complete = false;
            return;
        };
        if self.invalid.contains_key(&name) {
            return;
        }
        match (node::read(wire, name.clone()), self.good.entry(name.clone())) {
            (Ok(node), Entry::Vacant(place)) => drop(place.insert(node)),
            (Ok(node), Entry::Occupied(place)) if *place.get() == node => {}
            (Ok(_), Entry::Occupied(place)) => {
                place.remove();
                self.invalid.insert(name, "it is described twice, in two ways".to_owned());
            }
            (Err(why), place) => {
                if let Entry::Occupied(place) = place {
                    place.remove();
                }
                self.invalid.insert(name, why);
            }
        }
    }

    /// The one with the contract's name wins over any other.
    fn take_receiver(&mut self, wire: WireReceiver, app: &str) {
        let expected = format!("{app}:Change Receiver");
        let name = wire.name.filter(|name| is_name(name)).unwrap_or_else(|| expected.clone());
        if self.receiver.is_some() && name != expected {
            return;
        }
        let Some(edge) = wire.receive_edge else { return };
        let Some(queue) = edge.queue.filter(|queue| is_name(queue)) else { return };
        let source = edge.source.and_then(|source| source.name).filter(|name| is_name(name)).unwrap_or_default();
        self.receiver = Some(ChangeReceiver { name, queue, source });
    }
}

/// A name, URL or path within bounds.
fn is_name(text: &str) -> bool {
    (1..=NAME_MAX).contains(&text.len()) && !text.chars().any(char::is_control)
}

fn required(value: Option<String>, what: &str) -> Result<String, String> {
    let value = value.filter(|value| !value.is_empty()).ok_or_else(|| format!("{what} is missing"))?;
    if is_name(&value) { Ok(value) } else { Err(format!("{what} is too long or holds control characters")) }
}

fn text(value: Option<String>, what: &str) -> Result<Option<String>, String> {
    match value {
        Some(text) if text.len() > TEXT_MAX => Err(format!("{what} is longer than {TEXT_MAX} bytes")),
        value => Ok(value),
    }
}

#[cfg(test)]
mod tests;
