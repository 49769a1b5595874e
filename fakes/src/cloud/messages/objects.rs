//! The cloud's objects in change messages: flat, with a `type`, other objects by name.

use serde_json::{Value, json};

use crate::cloud::World;
use crate::cloud::state::Edge;

pub(in crate::cloud) fn tenant_object(world: &World) -> Value {
    let tenant = &world.tenant;
    json!({
        "type": "Tenant", "name": tenant.name, "region": tenant.region, "config": tenant.config,
        "audit": tenant.audit, "table": tenant.table,
    })
}

/// # Panics
/// When the app was removed.
pub(in crate::cloud) fn app_object(world: &World) -> Value {
    let app = world.app.as_ref().expect("the app was removed from the fake cloud");
    json!({
        "type": "ManagedApp", "name": app.name, "tenant": world.tenant.name, "config": app.config,
        "tableAccess": app.table_access, "auditRecordsEndpoint": app.audit_records_endpoint,
    })
}

/// # Panics
/// When there is no such node.
pub(in crate::cloud) fn node_object(world: &World, name: &str) -> Value {
    let node = world.node(name);
    let ports: Vec<_> = node
        .ports
        .iter()
        .map(|port| {
            json!({
                "containerPort": port.container_port, "description": port.description, "hostAddress": port.host_address,
                "hostPort": port.host_port, "protocol": port.protocol.as_str(),
            })
        })
        .collect();
    let mounts: Vec<_> = node
        .mounts
        .iter()
        .map(|mount| {
            json!({
                "description": mount.description, "source": mount.source, "target": mount.target,
            })
        })
        .collect();
    json!({
        "type": "ManagedNode", "name": name, "app": world.app.as_ref().map(|app| &app.name),
        "tenant": world.tenant.name, "config": node.config,
        "loggingLevel": node.logging_level.map(crate::cloud::commands::LogLevel::as_str),
        "managedNodeType": node.node_type, "mounts": mounts, "ports": ports,
        "receiveMessageType": node.receives, "sendMessageType": node.sends, "stopped": node.stopped,
    })
}

/// # Panics
/// When there is no such type.
pub(in crate::cloud) fn node_type_object(world: &World, name: &str) -> Value {
    let image = world.node_types.get(name);
    let image = image.unwrap_or_else(|| panic!("the fake cloud has no node type {name:?}"));
    json!({"type": "ManagedNodeType", "name": name, "tenant": world.tenant.name, "imageUri": image})
}

/// # Panics
/// When there is no such type.
pub(in crate::cloud) fn message_type_object(world: &World, name: &str) -> Value {
    let auditor = world.message_types.get(name);
    let auditor = auditor.unwrap_or_else(|| panic!("the fake cloud has no message type {name:?}"));
    json!({"type": "MessageType", "name": name, "tenant": world.tenant.name, "auditor": auditor})
}

pub(in crate::cloud) fn edge_object(world: &World, edge: &Edge) -> Value {
    json!({
        "type": "Edge", "source": edge.source, "target": edge.target, "tenant": world.tenant.name,
        "queue": edge.queue, "messageType": edge.message_type,
    })
}
