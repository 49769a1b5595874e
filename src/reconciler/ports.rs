//! Host ports that pass from one of our nodes to another: who has to move first.
//!
//! A node whose new container needs a port that another node's container holds waits, and its old container runs on
//! meanwhile. Nodes that wait for each other in a circle would wait for ever, so they all move at once, and each start
//! is tried until its port is free. A port that a stranger holds is not known here: the start fails and is rolled back.

use std::collections::BTreeSet;

use managed_app_runtimes::PortBinding;

use super::Reconciler;
use super::desired::Desired;
use super::node::{Intent, NodeState};
use crate::model::NodeName;

/// What the ports of a new container meet.
#[derive(Debug)]
pub enum Ports {
    /// Nothing that is known.
    Free,
    /// A container of another node, as said here for people.
    Held(String),
    /// Containers of nodes that in turn wait for this one.
    Circle,
}

impl Reconciler {
    /// What the ports of a new container of `name` meet.
    pub(super) fn ports(&self, name: &NodeName, desired: &Desired) -> Ports {
        let holders = self.holders(name, desired);
        let held = holders.iter().find(|(holder, port)| !self.lets_go(holder, port) || !self.waits_for(holder, name));
        match held {
            None if holders.is_empty() => Ports::Free,
            None => Ports::Circle,
            Some((holder, port)) => {
                let protocol = port.protocol.as_str();
                Ports::Held(format!(
                    "host port {}/{protocol} is still held by node {:?}",
                    port.host_port,
                    holder.as_str()
                ))
            }
        }
    }

    /// The other nodes whose containers hold ports of `desired`.
    fn holders<'a>(&'a self, name: &NodeName, desired: &'a Desired) -> Vec<(&'a NodeName, &'a PortBinding)> {
        let ports = &desired.target.spec.ports;
        if ports.is_empty() {
            return Vec::new();
        }
        let others = self.nodes.iter().filter(|(other, _)| *other != name);
        others
            .flat_map(|(other, node)| ports.iter().filter(|port| holds(node, port)).map(move |p| (other, p)))
            .collect()
    }

    /// Whether `holder` will not have `port` any more once it is as wanted.
    fn lets_go(&self, holder: &NodeName, port: &PortBinding) -> bool {
        match self.nodes.get(holder).map(|node| &node.intent) {
            Some(Intent::Run(desired)) => !desired.target.spec.ports.iter().any(|kept| kept.shares_host_port(port)),
            Some(Intent::Remove) => true,
            _ => false,
        }
    }

    /// Whether `from` cannot get its ports before `goal` lets go of one, through others if need be.
    fn waits_for(&self, from: &NodeName, goal: &NodeName) -> bool {
        let mut seen = BTreeSet::from([from]);
        let mut open = vec![from];
        while let Some(name) = open.pop() {
            let Some(desired) = self.nodes.get(name).and_then(NodeState::desired) else { continue };
            for (holder, _) in self.holders(name, desired) {
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
}

/// Whether a container of `node` that is up, or that is being made, has the host port of `port`.
fn holds(node: &NodeState, port: &PortBinding) -> bool {
    let mut up = node.containers.iter().filter(|container| container.is_up());
    up.any(|container| container.record.as_ref().is_some_and(|record| record.publishes(port)))
        || node.candidate.as_ref().is_some_and(|candidate| candidate.publishes(port))
}
