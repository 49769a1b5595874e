//! Commands for nodes and their types. They edit the world and return the changes to send; nothing is sent here.

use super::Node;
use crate::cloud::World;
use crate::cloud::messages::{Change, node_object, node_type_object};

impl World {
    /// Adds a node, and its types if they are new.
    ///
    /// # Panics
    /// When the name is taken, when no image is known for its type, or when the type exists with another image.
    pub fn add_node(&mut self, name: &str, mut node: Node) -> Vec<Change> {
        assert!(!self.nodes.contains_key(name), "the fake cloud already has a node {name:?}");
        if node.node_type.is_empty() {
            node.node_type = format!("{name}:type");
        }
        self.adopt_type(&node);
        for message_type in node.receives.iter().chain(&node.sends) {
            self.message_types.entry(message_type.clone()).or_insert_with(|| auditor(message_type));
        }
        self.nodes.insert(name.to_owned(), node);
        vec![Change::created(node_object(self, name))]
    }

    /// Removes a node; first its edges, as in the real cloud.
    pub fn remove_node(&mut self, name: &str) -> Vec<Change> {
        let old = node_object(self, name);
        let edges: Vec<_> =
            self.edges.iter().filter(|edge| edge.source == name || edge.target == name).cloned().collect();
        let mut changes: Vec<_> = edges.iter().flat_map(|edge| self.disconnect(&edge.source, &edge.target)).collect();
        self.nodes.remove(name);
        changes.push(Change::removed(old));
        changes
    }

    /// Changes the node itself.
    pub fn change_node(&mut self, name: &str, edit: impl FnOnce(&mut Node)) -> Vec<Change> {
        let old = node_object(self, name);
        edit(self.nodes.get_mut(name).expect("node_object has found it"));
        vec![Change::updated(old, node_object(self, name))]
    }

    /// Sets the image of a managed node type.
    ///
    /// # Panics
    /// When there is no such type.
    pub fn set_image(&mut self, node_type: &str, uri: &str) -> Vec<Change> {
        let old = node_type_object(self, node_type);
        self.node_types.insert(node_type.to_owned(), uri.to_owned());
        vec![Change::updated(old, node_type_object(self, node_type))]
    }

    fn adopt_type(&mut self, node: &Node) {
        match (self.node_types.get(&node.node_type), &node.image) {
            (Some(known), Some(image)) => {
                assert_eq!(known, image, "the type {:?} has another image; use set_image", node.node_type);
            }
            (Some(_), None) => {}
            (None, Some(image)) => {
                self.node_types.insert(node.node_type.clone(), image.clone());
            }
            (None, None) => panic!("no image is known for the node type {:?}", node.node_type),
        }
    }
}

fn auditor(message_type: &str) -> String {
    format!("def auditor(*, message, **kwargs):\n    return {{\"type\": \"{message_type}\"}}\n")
}
