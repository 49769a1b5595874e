//! Converts one managed node. An error text is the reason for the operator why the node is invalid.

use std::net::{IpAddr, Ipv4Addr};

use managed_app_runtimes::{ImageReference, Mount, MountSource, PortBinding, Protocol};

pub(super) use super::super::operations::get_app::GetAppGetAppOnManagedAppNodesOnManagedNode as WireNode;
use super::super::operations::get_app::Protocol as WireProtocol;
use super::super::operations::get_app::{
    GetAppGetAppOnManagedAppNodesOnManagedNodeManagedNodeType as WireType,
    GetAppGetAppOnManagedAppNodesOnManagedNodeMounts as WireMount,
    GetAppGetAppOnManagedAppNodesOnManagedNodePorts as WirePort,
};
use super::super::registry_host;
use super::{is_name, required, text};
use crate::model::{Edge, MessageType, Node, NodeName, NodeType};
use crate::text::excerpt;

/// Limit of ports or mounts of one node.
const PARTS_MAX: usize = 1_000;

/// Limit of edges of one node in one direction.
const EDGES_MAX: usize = 10_000;

/// Converts a node. Lists are sorted and deduplicated, because their order on the wire is arbitrary.
pub(super) fn read(wire: WireNode, name: NodeName) -> Result<Node, String> {
    let receives = wire.receive_edges.unwrap_or_default().into_iter().flatten();
    let sends = wire.send_edges.unwrap_or_default().into_iter().flatten();
    Ok(Node {
        name,
        node_type: node_type(wire.managed_node_type)?,
        config: text(wire.config, "its config")?,
        logging_level: wire.logging_level.filter(|level| is_name(level)),
        is_stopped: wire.stopped.unwrap_or(false),
        ports: list(wire.ports, "port", port)?,
        mounts: list(wire.mounts, "mount", mount)?,
        receive_edges: edges(receives.map(|edge| (edge.source.and_then(|end| end.name), edge.queue)))?,
        send_edges: edges(sends.map(|edge| (edge.target.and_then(|end| end.name), edge.queue)))?,
        receive_message_type: wire
            .receive_message_type
            .map(|wire| message_type(wire.name, wire.auditor))
            .transpose()?,
        send_message_type: wire.send_message_type.map(|wire| message_type(wire.name, wire.auditor)).transpose()?,
    })
}

fn node_type(wire: Option<WireType>) -> Result<NodeType, String> {
    let wire = wire.ok_or("its node type is missing")?;
    let image_uri = required(wire.image_uri, "the image of its node type")?;
    let image: Option<ImageReference> = image_uri.parse().ok();
    let registry = image.and_then(|image| registry_host(image.registry()));
    Ok(NodeType { name: required(wire.name, "the name of its node type")?, image_uri, registry })
}

fn message_type(name: Option<String>, auditor: Option<String>) -> Result<MessageType, String> {
    Ok(MessageType {
        name: required(name, "the name of a message type")?,
        auditor: text(auditor, "an auditor")?.unwrap_or_default(),
    })
}

fn list<W, T: Ord>(
    wire: Option<Vec<Option<W>>>,
    what: &str,
    read: impl Fn(W) -> Result<T, String>,
) -> Result<Vec<T>, String> {
    let wire = wire.unwrap_or_default();
    if wire.len() > PARTS_MAX {
        return Err(format!("it has more than {PARTS_MAX} {what}s"));
    }
    let one = |part: Option<W>| read(part.ok_or_else(|| format!("a {what} is null"))?);
    let mut parts = wire.into_iter().map(one).collect::<Result<Vec<T>, String>>()?;
    parts.sort();
    parts.dedup();
    Ok(parts)
}

/// An edge without a queue or another end is being created or removed, and is omitted.
fn edges(wire: impl Iterator<Item = (Option<String>, Option<String>)>) -> Result<Vec<Edge>, String> {
    let mut edges: Vec<Edge> =
        wire.filter_map(|(other, queue)| Some(Edge { other: other?, queue: queue? })).take(EDGES_MAX + 1).collect();
    if edges.len() > EDGES_MAX {
        return Err(format!("it has more than {EDGES_MAX} edges"));
    }
    if !edges.iter().all(|edge| is_name(&edge.other) && is_name(&edge.queue)) {
        return Err("an edge has an empty or too long name or queue".to_owned());
    }
    edges.sort();
    edges.dedup();
    Ok(edges)
}

fn port(wire: WirePort) -> Result<PortBinding, String> {
    Ok(PortBinding {
        container_port: port_number(wire.container_port, "container port")?,
        protocol: protocol(wire.protocol)?,
        host_address: address(wire.host_address.as_deref())?,
        host_port: port_number(wire.host_port, "host port")?,
    })
}

fn port_number(wire: Option<i64>, what: &str) -> Result<u16, String> {
    let number = wire.ok_or_else(|| format!("a {what} is missing"))?;
    let port = u16::try_from(number).ok().filter(|&port| port > 0);
    port.ok_or_else(|| format!("{what} {number} is not within 1 to 65535"))
}

fn protocol(wire: Option<WireProtocol>) -> Result<Protocol, String> {
    match wire {
        Some(WireProtocol::tcp) => Ok(Protocol::Tcp),
        Some(WireProtocol::udp) => Ok(Protocol::Udp),
        Some(WireProtocol::sctp) => Ok(Protocol::Sctp),
        Some(WireProtocol::Other(name)) => Err(format!("protocol {:?} is not tcp, udp or sctp", excerpt(&name))),
        None => Err("the protocol of a port is missing".to_owned()),
    }
}

/// Absent means all IPv4 addresses. An `AWSIPAddress` may be a network, which is not valid for a port.
fn address(wire: Option<&str>) -> Result<IpAddr, String> {
    match wire {
        None | Some("") => Ok(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
        Some(text) if text.contains('/') => {
            Err(format!("host address {:?} is a network; a port needs one address", excerpt(text)))
        }
        Some(text) => {
            let address = text.parse().map_err(|_| format!("host address {:?} is not an IP address", excerpt(text)))?;
            let is_multicast = match address {
                IpAddr::V4(address) => address.is_multicast() || address.is_broadcast(),
                IpAddr::V6(address) => address.is_multicast(),
            };
            if is_multicast {
                Err(format!(
                    "host address {address} is a multicast or broadcast address; a port needs a unicast address"
                ))
            } else {
                Ok(address)
            }
        }
    }
}

fn mount(wire: WireMount) -> Result<Mount, String> {
    let target = required(wire.target, "the target of a mount")?;
    if !target.starts_with('/') {
        return Err(format!("mount target {:?} is not an absolute path", excerpt(&target)));
    }
    let source = match wire.source {
        None => MountSource::Anonymous,
        Some(source) if source.is_empty() => MountSource::Anonymous,
        Some(source) if source.starts_with('/') && is_name(&source) => MountSource::Bind(source),
        Some(source) if is_volume_name(&source) => MountSource::Volume(source),
        Some(source) => {
            return Err(format!("mount source {:?} is neither an absolute path nor a volume name", excerpt(&source)));
        }
    };
    Ok(Mount { source, target })
}

/// Whether Docker and Podman accept the name.
fn is_volume_name(text: &str) -> bool {
    is_name(text)
        && text.bytes().next().is_some_and(|first| first.is_ascii_alphanumeric())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-'))
}
