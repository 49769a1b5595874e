//! The smaller objects of the schema: tenant, types, ports, mounts, edges, credentials.

use std::sync::Arc;

use async_graphql::{Object, SimpleObject};

use super::nodes::Node;
use super::scalars::{DateTime, IpAddress, Json, Url};
use crate::cloud::commands::Protocol;
use crate::cloud::{World, commands, state};

#[derive(SimpleObject)]
pub(super) struct Tenant {
    audit: Option<bool>,
    config: Option<Json>,
    name: String,
    region: String,
    table: String,
}

impl Tenant {
    pub(super) fn of(world: &World) -> Self {
        let tenant = world.tenant.clone();
        Self {
            audit: Some(tenant.audit),
            config: tenant.config.map(Json),
            name: tenant.name,
            region: tenant.region,
            table: tenant.table,
        }
    }
}

#[derive(SimpleObject)]
pub(super) struct MessageType {
    auditor: String,
    name: String,
}

impl MessageType {
    pub(super) fn of(world: &World, name: &str) -> Self {
        Self { auditor: world.message_types.get(name).cloned().unwrap_or_default(), name: name.to_owned() }
    }
}

#[derive(SimpleObject)]
#[graphql(rename_fields = "camelCase")]
pub(super) struct ManagedNodeType {
    image_uri: String,
    name: String,
}

impl ManagedNodeType {
    pub(super) fn of(world: &World, name: &str) -> Self {
        Self { image_uri: world.node_types.get(name).cloned().unwrap_or_default(), name: name.to_owned() }
    }
}

#[derive(SimpleObject)]
pub(super) struct Port {
    container_port: i32,
    description: String,
    host_address: Option<IpAddress>,
    host_port: i32,
    protocol: Protocol,
}

impl From<&commands::Port> for Port {
    fn from(port: &commands::Port) -> Self {
        Self {
            container_port: port.container_port.into(),
            description: port.description.clone(),
            host_address: port.host_address.clone().map(IpAddress),
            host_port: port.host_port.into(),
            protocol: port.protocol,
        }
    }
}

#[derive(SimpleObject)]
pub(super) struct Mount {
    description: String,
    source: Option<String>,
    target: String,
}

impl From<&commands::Mount> for Mount {
    fn from(mount: &commands::Mount) -> Self {
        let commands::Mount { source, target, description } = mount.clone();
        Self { description, source, target }
    }
}

#[derive(SimpleObject)]
pub(super) struct AwsCredentials {
    pub(super) access_key_id: String,
    pub(super) expiration: DateTime,
    pub(super) secret_access_key: String,
    pub(super) session_token: String,
}

pub(super) struct Edge {
    pub(super) world: Arc<World>,
    pub(super) edge: state::Edge,
}

#[Object]
impl Edge {
    async fn message_type(&self) -> MessageType {
        MessageType::of(&self.world, &self.edge.message_type)
    }

    async fn queue(&self) -> Url {
        Url(self.edge.queue.clone())
    }

    async fn source(&self) -> Node {
        Node::of(&self.world, &self.edge.source)
    }

    async fn target(&self) -> Node {
        Node::of(&self.world, &self.edge.target)
    }
}
