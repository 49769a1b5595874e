//! Commands for edges and message types. They edit the world and return the changes to send; nothing is sent here.

use crate::cloud::World;
use crate::cloud::messages::{Change, edge_object, message_type_object};
use crate::cloud::state::Edge;

/// The message type of an edge whose source declares no message type.
const PLAIN_MESSAGE_TYPE: &str = "text";

impl World {
    /// Creates an edge.
    ///
    /// # Panics
    /// When an edge between the two exists.
    pub fn connect(&mut self, source: &str, target: &str) -> Vec<Change> {
        let is_new = !self.edges.iter().any(|edge| edge.source == source && edge.target == target);
        assert!(is_new, "the fake cloud already has an edge {source:?} -> {target:?}");
        let sends = self.nodes.get(source).and_then(|node| node.sends.clone());
        let receives = self.nodes.get(target).and_then(|node| node.receives.clone());
        self.edges_made += 1;
        let edge = Edge {
            source: source.to_owned(),
            target: target.to_owned(),
            queue: format!("{}/edge_{}.fifo", self.edge_queues, self.edges_made),
            message_type: sends.or(receives).unwrap_or_else(|| PLAIN_MESSAGE_TYPE.to_owned()),
        };
        self.edges.push(edge.clone());
        vec![Change::created(edge_object(self, &edge))]
    }

    /// Removes an edge.
    ///
    /// # Panics
    /// When there is none.
    pub fn disconnect(&mut self, source: &str, target: &str) -> Vec<Change> {
        let index = self.edge_index(source, target);
        let edge = self.edges.remove(index);
        vec![Change::removed(edge_object(self, &edge))]
    }

    /// Moves an edge to other ends; it keeps its queue.
    ///
    /// # Panics
    /// When there is none.
    pub fn move_edge(&mut self, from: (&str, &str), to: (&str, &str)) -> Vec<Change> {
        let index = self.edge_index(from.0, from.1);
        let old = edge_object(self, &self.edges[index]);
        let edge = &mut self.edges[index];
        edge.source = to.0.to_owned();
        edge.target = to.1.to_owned();
        vec![Change::updated(old, edge_object(self, &self.edges[index]))]
    }

    /// Gives a message type another auditor.
    ///
    /// # Panics
    /// When no node has ever received or sent it.
    pub fn change_auditor(&mut self, message_type: &str, auditor: &str) -> Vec<Change> {
        let old = message_type_object(self, message_type);
        self.message_types.insert(message_type.to_owned(), auditor.to_owned());
        vec![Change::updated(old, message_type_object(self, message_type))]
    }

    fn edge_index(&self, source: &str, target: &str) -> usize {
        let found = self.edges.iter().position(|edge| edge.source == source && edge.target == target);
        found.unwrap_or_else(|| panic!("the fake cloud has no edge {source:?} -> {target:?}"))
    }
}
