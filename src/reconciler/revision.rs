//! The revision of a node within an app: a digest of everything it reads at its start.

use std::sync::Arc;

use managed_app_runtimes::{Revision, StartupInputs};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::model::{App, Edge, MessageType, Node};

/// The inputs that all nodes of an app share, digested once per snapshot.
#[derive(Debug, PartialEq, Eq)]
pub struct AppInputs {
    digest: [u8; 32],
    inputs: StartupInputs,
}

impl AppInputs {
    /// Digests tenant and app.
    pub fn of(app: &App) -> Self {
        let mut digest = Sha256::new();
        put(&mut digest, "v1");
        put_json(&mut digest, app.tenant.config.as_deref());
        put(&mut digest, if app.tenant.audit { "audit" } else { "" });
        put(&mut digest, &app.tenant.region);
        put(&mut digest, &app.tenant.table);
        put_json(&mut digest, app.config.as_deref());
        put(&mut digest, if app.table_access { "table" } else { "" });
        let mut inputs = StartupInputs::new();
        insert_json(&mut inputs, "tenant config", app.tenant.config.as_deref());
        insert(&mut inputs, "tenant audit", yes_no(app.tenant.audit));
        insert(&mut inputs, "tenant region", &app.tenant.region);
        insert(&mut inputs, "tenant table", &app.tenant.table);
        insert_json(&mut inputs, "app config", app.config.as_deref());
        insert(&mut inputs, "app table access", yes_no(app.table_access));
        Self { digest: digest.finalize().into(), inputs }
    }

    /// The revision of one node.
    ///
    /// Inputs (contract): the tenant's config, audit, region and table; the app's config and table access; the node's
    /// config, stopped and logging level; its edges; its message types.
    pub fn revision(&self, node: &Node) -> Revision {
        let mut digest = Sha256::new_with_prefix(self.digest);
        put_json(&mut digest, node.config.as_deref());
        put(&mut digest, if node.is_stopped { "stopped" } else { "" });
        put(&mut digest, node.logging_level.as_deref().unwrap_or(""));
        put_edges(&mut digest, &node.receive_edges);
        put_edges(&mut digest, &node.send_edges);
        put_message_type(&mut digest, node.receive_message_type.as_ref());
        put_message_type(&mut digest, node.send_message_type.as_ref());
        let inputs = self.inputs_of(node);
        Revision::new(hex::encode(&digest.finalize()[..16]), Some(Arc::new(inputs)))
    }

    fn inputs_of(&self, node: &Node) -> StartupInputs {
        let mut inputs = self.inputs.clone();
        insert_json(&mut inputs, "node config", node.config.as_deref());
        insert(&mut inputs, "stopped", yes_no(node.is_stopped));
        if let Some(level) = &node.logging_level {
            insert(&mut inputs, "logging level", level);
        }
        for (direction, edges) in [("from", &node.receive_edges), ("to", &node.send_edges)] {
            for edge in edges {
                inputs.insert(format!("edge {direction} {}", edge.other), short(&edge.queue));
            }
        }
        let types = [("receive", &node.receive_message_type), ("send", &node.send_message_type)];
        for (direction, message_type) in types {
            if let Some(message_type) = message_type {
                insert(&mut inputs, &format!("{direction} message type"), &message_type.name);
                insert(&mut inputs, &format!("{direction} auditor"), &short(&message_type.auditor));
            }
        }
        inputs
    }
}

fn insert(inputs: &mut StartupInputs, name: &str, value: &str) {
    inputs.insert(name.to_owned(), value.to_owned());
}

fn insert_json(inputs: &mut StartupInputs, name: &str, text: Option<&str>) {
    if let Some(text) = text {
        inputs.insert(name.to_owned(), short(&canonical(text)));
    }
}

fn yes_no(is_so: bool) -> &'static str {
    if is_so { "yes" } else { "no" }
}

fn short(text: &str) -> String {
    format!("#{}", hex::encode(&Sha256::digest(text)[..4]))
}

/// Each text is preceded by its length, so that neighbours cannot be confused.
fn put(digest: &mut Sha256, text: &str) {
    digest.update((text.len() as u64).to_be_bytes());
    digest.update(text);
}

fn put_edges(digest: &mut Sha256, edges: &[Edge]) {
    let mut sorted: Vec<&Edge> = edges.iter().collect();
    sorted.sort();
    put(digest, &sorted.len().to_string());
    for edge in sorted {
        put(digest, &edge.other);
        put(digest, &edge.queue);
    }
}

fn put_message_type(digest: &mut Sha256, message_type: Option<&MessageType>) {
    put(digest, message_type.map_or("", |t| &t.name));
    put(digest, message_type.map_or("", |t| &t.auditor));
}

/// JSON is compared by meaning: the order of keys and white space do not count.
fn put_json(digest: &mut Sha256, text: Option<&str>) {
    put(digest, &text.map(canonical).unwrap_or_default());
}

fn canonical(text: &str) -> String {
    let Ok(value) = serde_json::from_str::<Value>(text) else { return text.to_owned() };
    let mut canonical = String::with_capacity(text.len());
    write_canonical(&value, &mut canonical);
    canonical
}

fn write_canonical(value: &Value, out: &mut String) {
    match value {
        Value::Object(map) => {
            let mut keys: Vec<&String> = map.keys().collect();
            keys.sort();
            out.push('{');
            for key in keys {
                out.push_str(&Value::String(key.clone()).to_string());
                out.push(':');
                write_canonical(&map[key], out);
                out.push(',');
            }
            out.push('}');
        }
        Value::Array(items) => {
            out.push('[');
            for item in items {
                write_canonical(item, out);
                out.push(',');
            }
            out.push(']');
        }
        scalar => out.push_str(&scalar.to_string()),
    }
}
