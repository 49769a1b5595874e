//! Converts the response to `GetApp` to the model. Pure. An invalid node does not affect other nodes.

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

/// Limit of nodes of one app.
const NODES_MAX: usize = 10_000;

/// Longest configuration or auditor, bytes.
const TEXT_MAX: usize = 1024 * 1024;

/// Longest name, URL, address or path, bytes. AWS allows 2,048 for a URL.
const NAME_MAX: usize = 2_048;

/// Converts a response without errors. The error text names the missing part and shows no content.
pub(super) fn snapshot(data: get_app::ResponseData, app: &str, tenant: &str) -> Result<Snapshot, String> {
    match data.get_app {
        None => Ok(Snapshot::Gone),
        Some(WireApp::Unknown) => Err("the app is not a ManagedApp".to_owned()),
        Some(WireApp::ManagedApp(wire)) => Ok(Snapshot::App(Arc::new(managed_app(wire, app, tenant)?))),
    }
}

fn managed_app(wire: ManagedApp, app: &str, tenant: &str) -> Result<App, String> {
    if wire.name.as_deref() != Some(app) {
        return Err("the response is about another app".to_owned());
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
        nodes: nodes.valid,
        invalid_nodes: nodes.invalid,
        is_complete: nodes.is_complete,
    })
}

fn read_tenant(wire: WireTenant, name: &str) -> Result<Tenant, String> {
    // It becomes part of the host names of signed requests.
    let region = required(wire.region, "the tenant's region")?;
    if !config::is_region(&region) {
        return Err("the tenant's region is not an AWS region".to_owned());
    }
    Ok(Tenant {
        name: name.to_owned(),
        region,
        config: text(wire.config, "the tenant's config")?,
        audit: wire.audit.unwrap_or(false),
        table: required(wire.table, "the tenant's table")?,
    })
}

/// The list of nodes by kind.
struct Nodes {
    receiver: Option<ChangeReceiver>,
    valid: BTreeMap<NodeName, Node>,
    invalid: BTreeMap<NodeName, String>,
    is_complete: bool,
}

impl Nodes {
    fn read(wire: Vec<Option<WireNode>>, app: &str) -> Self {
        let mut nodes = Self { receiver: None, valid: BTreeMap::new(), invalid: BTreeMap::new(), is_complete: true };
        for node in wire {
            match node {
                // A null is a node that could not be read, perhaps one that runs here.
                None => nodes.is_complete = false,
                Some(WireNode::AppChangeReceiverNode(receiver)) => nodes.add_receiver(receiver, app),
                Some(WireNode::ManagedNode(node)) => nodes.add_node(node),
                Some(WireNode::Unknown) => tracing::debug!("node of an unknown type skipped"),
            }
        }
        nodes
    }

    fn add_node(&mut self, wire: node::WireNode) {
        // Without a name it cannot be reported as invalid, and it may be one that runs here.
        let Some(name) = wire.name.clone().and_then(|name| NodeName::new(name).ok()) else {
            tracing::warn!("node without a valid name in the app");
            self.is_complete = false;
            return;
        };
        if self.invalid.contains_key(&name) {
            return;
        }
        match (node::read(wire, name.clone()), self.valid.entry(name.clone())) {
            (Ok(node), Entry::Vacant(entry)) => drop(entry.insert(node)),
            (Ok(node), Entry::Occupied(entry)) if *entry.get() == node => {}
            (Ok(_), Entry::Occupied(entry)) => {
                entry.remove();
                self.invalid.insert(name, "the node is listed twice with different contents".to_owned());
            }
            (Err(why), entry) => {
                if let Entry::Occupied(entry) = entry {
                    entry.remove();
                }
                self.invalid.insert(name, why);
            }
        }
    }

    /// The receiver with the contract's name takes precedence.
    fn add_receiver(&mut self, wire: WireReceiver, app: &str) {
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

/// Whether a name, URL or path has a valid length and no control characters.
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
