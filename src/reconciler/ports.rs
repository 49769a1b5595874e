//! Host ports that move from one of our nodes to another: the order of replacements.
//!
//! A node whose new container needs a port of another node's container waits, and its old container keeps running.
//! Nodes that wait for each other in a circle would wait forever, so they are all replaced at once, and each start is
//! retried until its port is free. If one of them cannot be replaced now (its image is absent, it backs off), all wait for
//! it: a replacement alone would stop its node in vain. Ports of foreign containers are unknown here: the start fails and is rolled back.

use std::collections::BTreeSet;

use managed_app_runtimes::PortBinding;

use super::desired::Desired;
use super::node::{Intent, ManagedNode};
use super::nodes::Nodes;
use crate::model::NodeName;

/// Whether the host ports of a new container are free.
#[derive(Debug)]
pub enum Ports {
    /// No known container holds them.
    Free,
    /// A container of another node holds one; the text is for people.
    Held(String),
    /// They belong to nodes that wait for this node in turn.
    Cycle,
}

/// Whether a node is being replaced, or can be replaced now.
type IsReady<'a> = &'a dyn Fn(&ManagedNode) -> bool;

/// Whether the host ports of a new container of `name` are free.
pub fn ports(nodes: &Nodes, name: &NodeName, desired: &Desired, is_ready: IsReady<'_>) -> Ports {
    let holders = holders(nodes, name, desired);
    let held = holders
        .iter()
        .find(|(holder, port)| !releases(nodes, holder, port) || !waits_for(nodes, holder, name, is_ready));
    match held {
        None if holders.is_empty() => Ports::Free,
        None => Ports::Cycle,
        Some((holder, port)) => {
            let protocol = port.protocol.as_str();
            Ports::Held(format!("host port {}/{protocol} is still held by node {:?}", port.host_port, holder.as_str()))
        }
    }
}

/// The other nodes whose containers hold ports of `desired`.
fn holders<'a>(nodes: &'a Nodes, name: &NodeName, desired: &'a Desired) -> Vec<(&'a NodeName, &'a PortBinding)> {
    let ports = &desired.target.spec.ports;
    if ports.is_empty() {
        return Vec::new();
    }
    // A port that the node has itself is not contested.
    let own = nodes.get(name);
    let wanted = || ports.iter().filter(|port| !own.is_some_and(|own| has(own, port)));
    let others = nodes.iter().filter(|(other, _)| *other != name);
    others.flat_map(|(other, node)| wanted().filter(|port| holds(node, port)).map(move |port| (other, port))).collect()
}

/// Whether `holder` releases `port` when it reaches its desired state.
fn releases(nodes: &Nodes, holder: &NodeName, port: &PortBinding) -> bool {
    match nodes.get(holder).map(|node| &node.intent) {
        Some(Intent::Run(desired)) => !desired.target.spec.ports.iter().any(|kept| kept.shares_host_port(port)),
        Some(Intent::Remove) => true,
        _ => false,
    }
}

/// Whether `from` waits, directly or through other nodes, for a port of `goal`, and all of these are ready.
fn waits_for(nodes: &Nodes, from: &NodeName, goal: &NodeName, is_ready: IsReady<'_>) -> bool {
    let mut seen = BTreeSet::from([from]);
    let mut open = vec![from];
    while let Some(name) = open.pop() {
        let node = nodes.get(name).filter(|node| is_ready(node));
        let Some(desired) = node.and_then(ManagedNode::desired) else { continue };
        for (holder, _) in holders(nodes, name, desired) {
            if holder == goal {
                return true;
            }
            if seen.insert(holder) {
                open.push(holder);
            }
        }
    }
    false
}

/// Whether a container of `node` that is up or being created has the host port of `port`.
fn holds(node: &ManagedNode, port: &PortBinding) -> bool {
    has(node, port) || node.candidate().is_some_and(|candidate| candidate.publishes(port))
}

/// Whether a container of `node` that is up has the host port of `port`.
fn has(node: &ManagedNode, port: &PortBinding) -> bool {
    let mut up = node.containers.iter().filter(|container| container.is_up());
    up.any(|container| container.record.as_ref().is_some_and(|record| record.publishes(port)))
}
