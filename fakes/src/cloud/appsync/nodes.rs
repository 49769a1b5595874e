//! The nodes of the schema: managed nodes, the change receiver, the change router and nodes elsewhere in the tenant.

use std::sync::Arc;

use async_graphql::{Interface, Object, Union};

use super::parts::{Edge, ManagedNodeType, MessageType, Mount, Port, Tenant};
use super::remote::ExternalNode;
use super::scalars::Json;
use super::schema::{App, ManagedApp};
use crate::cloud::commands::LogLevel;
use crate::cloud::{CHANGE_MESSAGE_TYPE, CHANGE_ROUTER, World, commands, state};

#[derive(Interface)]
#[graphql(field(name = "name", ty = "String"), field(name = "tenant", ty = "Tenant"))]
pub(super) enum Node {
    Receiver(AppChangeReceiverNode),
    Router(AppChangeRouterNode),
    Managed(ManagedNode),
    Processor(ProcessorNode),
    External(ExternalNode),
}

impl Node {
    /// The node of this name; an unknown one is a processor elsewhere in the tenant.
    pub(super) fn of(world: &Arc<World>, name: &str) -> Self {
        Self::find(world, name)
            .unwrap_or_else(|| Self::Processor(ProcessorNode { world: Arc::clone(world), name: name.to_owned() }))
    }

    /// The node of this name, if `GetNode` finds it.
    pub(super) fn find(world: &Arc<World>, name: &str) -> Option<Self> {
        let of_world = Arc::clone(world);
        if name == CHANGE_ROUTER {
            return Some(Self::Router(AppChangeRouterNode { world: of_world }));
        }
        world.app.as_ref()?;
        if name == world.change_edge.target {
            return Some(Self::Receiver(AppChangeReceiverNode { world: of_world }));
        }
        let name = world.nodes.get_key_value(name)?.0.clone();
        Some(Self::Managed(ManagedNode { world: of_world, name }))
    }
}

#[derive(Union)]
pub(super) enum ManagedAppNode {
    Receiver(AppChangeReceiverNode),
    Managed(ManagedNode),
}

impl ManagedAppNode {
    /// The change receiver and all managed nodes.
    pub(super) fn all(world: &Arc<World>) -> Vec<Option<Self>> {
        let receiver = Self::Receiver(AppChangeReceiverNode { world: Arc::clone(world) });
        let managed =
            world.nodes.keys().map(|name| Self::Managed(ManagedNode { world: Arc::clone(world), name: name.clone() }));
        std::iter::once(receiver).chain(managed).map(Some).collect()
    }
}

pub(super) struct AppChangeReceiverNode {
    world: Arc<World>,
}

#[Object]
impl AppChangeReceiverNode {
    async fn app(&self) -> App {
        App::ManagedApp(ManagedApp(Arc::clone(&self.world)))
    }

    async fn name(&self) -> String {
        self.world.change_edge.target.clone()
    }

    async fn receive_edge(&self) -> Edge {
        Edge { world: Arc::clone(&self.world), edge: self.world.change_edge.clone() }
    }

    async fn receive_message_type(&self) -> Option<MessageType> {
        Some(MessageType::of(&self.world, CHANGE_MESSAGE_TYPE))
    }

    async fn tenant(&self) -> Tenant {
        Tenant::of(&self.world)
    }
}

pub(super) struct AppChangeRouterNode {
    world: Arc<World>,
}

#[Object]
impl AppChangeRouterNode {
    async fn name(&self) -> String {
        CHANGE_ROUTER.to_owned()
    }

    async fn tenant(&self) -> Tenant {
        Tenant::of(&self.world)
    }
}

pub(super) struct ProcessorNode {
    world: Arc<World>,
    name: String,
}

#[Object]
impl ProcessorNode {
    async fn name(&self) -> String {
        self.name.clone()
    }

    async fn tenant(&self) -> Tenant {
        Tenant::of(&self.world)
    }
}

pub(super) struct ManagedNode {
    world: Arc<World>,
    name: String,
}

impl ManagedNode {
    fn described(&self) -> &commands::Node {
        self.world.node(&self.name)
    }

    fn edges(&self, is_mine: impl Fn(&state::Edge) -> bool) -> Vec<Option<Edge>> {
        let mine = self.world.edges.iter().filter(|edge| is_mine(edge));
        mine.map(|edge| Some(Edge { world: Arc::clone(&self.world), edge: edge.clone() })).collect()
    }
}

#[Object]
impl ManagedNode {
    async fn app(&self) -> ManagedApp {
        ManagedApp(Arc::clone(&self.world))
    }

    async fn config(&self) -> Option<Json> {
        self.described().config.clone().map(Json)
    }

    async fn logging_level(&self) -> Option<LogLevel> {
        self.described().logging_level
    }

    async fn managed_node_type(&self) -> ManagedNodeType {
        ManagedNodeType::of(&self.world, &self.described().node_type)
    }

    async fn mounts(&self) -> Option<Vec<Mount>> {
        Some(self.described().mounts.iter().map(Mount::from).collect())
    }

    async fn name(&self) -> String {
        self.name.clone()
    }

    async fn ports(&self) -> Option<Vec<Port>> {
        Some(self.described().ports.iter().map(Port::from).collect())
    }

    async fn receive_edges(&self) -> Option<Vec<Option<Edge>>> {
        Some(self.edges(|edge| edge.target == self.name))
    }

    async fn receive_message_type(&self) -> Option<MessageType> {
        self.described().receives.as_ref().map(|name| MessageType::of(&self.world, name))
    }

    async fn send_edges(&self) -> Option<Vec<Option<Edge>>> {
        Some(self.edges(|edge| edge.source == self.name))
    }

    async fn send_message_type(&self) -> Option<MessageType> {
        self.described().sends.as_ref().map(|name| MessageType::of(&self.world, name))
    }

    async fn stopped(&self) -> Option<bool> {
        Some(self.described().stopped)
    }

    async fn tenant(&self) -> Tenant {
        Tenant::of(&self.world)
    }
}
