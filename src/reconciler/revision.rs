//! The revision of a node: a digest of everything it reads when it starts. A running container whose revision is not
//! the wanted one is stale.

use std::fmt;

use managed_app_runtimes::names::hex;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::model::{App, Edge, MessageType, Node};

/// Digest of a node's start-time inputs: 32 hex digits. Secrets cannot be read back from it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Revision(String);

impl Revision {
    /// A revision as kept in the state file.
    pub fn from_text(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The revision of `node` within `app`.
    ///
    /// Inputs (contract): the tenant's config, audit, region and table; the app's config and table access; the node's
    /// config, stopped and logging level; its edges; its message types.
    pub fn of(app: &App, node: &Node) -> Self {
        Surroundings::of(app).revision(node)
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0[..self.0.len().min(8)])
    }
}

/// What all nodes of an app read alike, digested once a snapshot.
#[derive(Debug, PartialEq, Eq)]
pub struct Surroundings([u8; 32]);

impl Surroundings {
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
        Self(digest.finalize().into())
    }

    /// The revision of one node.
    pub fn revision(&self, node: &Node) -> Revision {
        let mut digest = Sha256::new_with_prefix(self.0);
        put_json(&mut digest, node.config.as_deref());
        put(&mut digest, if node.is_stopped { "stopped" } else { "" });
        put(&mut digest, node.logging_level.as_deref().unwrap_or(""));
        put_edges(&mut digest, &node.receive_edges);
        put_edges(&mut digest, &node.send_edges);
        put_message_type(&mut digest, node.receive_message_type.as_ref());
        put_message_type(&mut digest, node.send_message_type.as_ref());
        Revision(hex(&digest.finalize()[..16]))
    }
}

/// Each text goes in with its length, so that two neighbours never run into each other.
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

/// JSON counts by its meaning: another order of keys or other white space is no change.
fn put_json(digest: &mut Sha256, text: Option<&str>) {
    let Some(text) = text else { return put(digest, "") };
    match serde_json::from_str::<Value>(text) {
        Ok(value) => {
            let mut canonical = String::with_capacity(text.len());
            write_canonical(&value, &mut canonical);
            put(digest, &canonical);
        }
        Err(_) => put(digest, text),
    }
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
