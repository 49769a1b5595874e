//! A managed node as its owner defines it.

use async_graphql::Enum;

/// A managed node: `Node::default().image("example/a:1").tcp(8080, 80).volume("data", "/data")`.
#[derive(Debug, Clone, Default)]
pub struct Node {
    /// Name of its managed node type; empty until the node is added if only an image was given.
    pub node_type: String,
    /// JSON text.
    pub config: Option<String>,
    /// Its logging level.
    pub logging_level: Option<LogLevel>,
    /// Whether processing is stopped.
    pub stopped: bool,
    /// Ports to publish.
    pub ports: Vec<Port>,
    /// Mounts.
    pub mounts: Vec<Mount>,
    /// Name of the message type that it receives.
    pub receives: Option<String>,
    /// Name of the message type that it sends.
    pub sends: Option<String>,
    /// Image of a type that is created together with the node.
    pub(super) image: Option<String>,
}

/// The levels of the published schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[graphql(rename_items = "UPPERCASE")]
pub enum LogLevel {
    /// Everything.
    Debug,
    /// Failures only.
    Error,
    /// Information for operators.
    Info,
    /// Failures and recoveries.
    Warning,
}

impl LogLevel {
    /// Name in the cloud's API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Debug => "DEBUG",
            Self::Error => "ERROR",
            Self::Info => "INFO",
            Self::Warning => "WARNING",
        }
    }
}

/// The protocols of the published schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[graphql(rename_items = "lowercase")]
pub enum Protocol {
    /// SCTP.
    Sctp,
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl Protocol {
    /// Name in the cloud's API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sctp => "sctp",
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
}

/// A published port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Port {
    /// Port inside the container.
    pub container_port: u16,
    /// Port of the host.
    pub host_port: u16,
    /// Address of the host; `None` is all of them.
    pub host_address: Option<String>,
    /// Protocol.
    pub protocol: Protocol,
    /// Description for users.
    pub description: String,
}

impl Port {
    /// A TCP port on all addresses of the host.
    pub fn tcp(host_port: u16, container_port: u16) -> Self {
        let description = format!("port {container_port}");
        Self { container_port, host_port, host_address: None, protocol: Protocol::Tcp, description }
    }

    /// A UDP port on all addresses of the host.
    pub fn udp(host_port: u16, container_port: u16) -> Self {
        Self { protocol: Protocol::Udp, ..Self::tcp(host_port, container_port) }
    }

    /// The same on one address of the host.
    pub fn at(self, host_address: &str) -> Self {
        Self { host_address: Some(host_address.to_owned()), ..self }
    }
}

/// A mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// Absolute path, name of a volume, or `None` for an anonymous volume.
    pub source: Option<String>,
    /// Path inside the container.
    pub target: String,
    /// Description for users.
    pub description: String,
}

impl Mount {
    /// A named volume or, with an absolute path, a host directory.
    pub fn new(source: &str, target: &str) -> Self {
        Self { source: Some(source.to_owned()), ..Self::anonymous(target) }
    }

    /// An anonymous volume.
    pub fn anonymous(target: &str) -> Self {
        Self { source: None, target: target.to_owned(), description: format!("mount {target}") }
    }
}

impl Node {
    /// Image of the node's type, which is created with the node unless `of_type` names an existing one.
    pub fn image(self, uri: &str) -> Self {
        Self { image: Some(uri.to_owned()), ..self }
    }

    /// Name of its managed node type.
    pub fn of_type(self, node_type: &str) -> Self {
        Self { node_type: node_type.to_owned(), ..self }
    }

    /// Publishes a port.
    pub fn port(mut self, port: Port) -> Self {
        self.ports.push(port);
        self
    }

    /// Publishes a TCP port on all addresses of the host.
    pub fn tcp(self, host_port: u16, container_port: u16) -> Self {
        self.port(Port::tcp(host_port, container_port))
    }

    /// Adds a mount.
    pub fn mount(mut self, mount: Mount) -> Self {
        self.mounts.push(mount);
        self
    }

    /// Mounts a named volume or, with an absolute path, a host directory.
    pub fn volume(self, source: &str, target: &str) -> Self {
        self.mount(Mount::new(source, target))
    }

    /// Sets its configuration, JSON text.
    pub fn config(self, config: &str) -> Self {
        Self { config: Some(config.to_owned()), ..self }
    }

    /// Sets the message type that it receives; created if it is new.
    pub fn receives(self, message_type: &str) -> Self {
        Self { receives: Some(message_type.to_owned()), ..self }
    }

    /// Sets the message type that it sends; created if it is new.
    pub fn sends(self, message_type: &str) -> Self {
        Self { sends: Some(message_type.to_owned()), ..self }
    }

    /// Sets its logging level.
    pub fn logging_level(self, level: LogLevel) -> Self {
        Self { logging_level: Some(level), ..self }
    }
}
