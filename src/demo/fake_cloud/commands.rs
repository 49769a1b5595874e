//! The commands of a fake cloud, on the command line and over HTTP, and their effects. A command that fails changes
//! nothing and returns the reason.

use clap::{Args, Subcommand};
use managed_app_fakes::FakeCloud;
use managed_app_fakes::cloud::World;
use managed_app_fakes::cloud::commands::{Mount, Node, Port};
use serde::{Deserialize, Serialize};

use super::parts;

/// One command; a control request contains it as JSON.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand, Serialize, Deserialize)]
pub(super) enum Command {
    /// Print the environment of a daemon for the app, or of one node, as NAME=value lines
    ///
    /// The output works with `--env-file` of this program, of `docker run` and of `podman run`.
    Env {
        /// Print the environment of a container of this node; an image that the daemon runs must set the AWS_ variables itself
        #[arg(long, value_name = "NODE")]
        node: Option<String>,
    },
    /// Show the app, its nodes and edges, and the number of messages in each edge
    Show,
    /// Add a node
    AddNode(NodeArgs),
    /// Remove a node and its edges
    RemoveNode { node: String },
    /// Set the ports of a node
    ChangePorts {
        node: String,
        #[arg(value_name = "PORT", value_parser = parts::port_text)]
        ports: Vec<String>,
    },
    /// Set the mounts of a node
    ChangeMounts {
        node: String,
        #[arg(value_name = "MOUNT", value_parser = parts::mount_text)]
        mounts: Vec<String>,
    },
    /// Set the configuration of a node
    SetNodeConfig {
        node: String,
        #[arg(value_parser = parts::json_text)]
        json: String,
    },
    /// Set the logging level of a node
    SetLoggingLevel {
        node: String,
        #[arg(value_parser = parts::level_text)]
        level: String,
    },
    /// Set whether a node is stopped: with true it processes no messages
    SetStopped {
        node: String,
        #[arg(action = clap::ArgAction::Set)]
        stopped: bool,
    },
    /// Set the image of a managed node type
    SetImage { node_type: String, image: String },
    /// Add an edge; an end that is not a node of the app is a node elsewhere in the tenant
    Connect { source: String, target: String },
    /// Remove an edge
    Disconnect { source: String, target: String },
    /// Move an edge to other ends; its queue stays
    MoveEdge { source: String, target: String, new_source: String, new_target: String },
    /// Set the auditor of a message type
    ChangeAuditor {
        message_type: String,
        /// Python source of a function `auditor(*, message, **kwargs)`
        source: String,
    },
    /// Set the configuration of the app
    SetAppConfig {
        #[arg(value_parser = parts::json_text)]
        json: String,
    },
    /// Set whether the nodes may access the tenant's table
    SetTableAccess {
        #[arg(action = clap::ArgAction::Set)]
        access: bool,
    },
    /// Set the configuration of the tenant
    SetTenantConfig {
        #[arg(value_parser = parts::json_text)]
        json: String,
    },
    /// Set whether nodes and daemon send audit records
    SetAudit {
        #[arg(action = clap::ArgAction::Set)]
        audit: bool,
    },
    /// Remove the app with all its nodes
    RemoveApp,
    /// Send a message to an edge, in place of its source
    Send { source: String, target: String, body: String },
    /// Receive the next message of an edge, in place of its target, and print its body
    Receive {
        source: String,
        target: String,
        /// Seconds to wait for a message
        #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u64).range(..=20))]
        wait: u64,
    },
    /// Print the content of CloudWatch Logs: the log of the daemon, or of a node
    Logs { node: Option<String> },
    /// Print the received audit records, one line of JSON per record
    AuditRecords { node: Option<String> },
    /// Create new temporary AWS keys for the host, reject all others from now on, and print the new ones
    ///
    /// The output has the format of `~/.aws/credentials`. ECR, ECR Public and CloudWatch Logs check the keys; they also
    /// reject the keys that `env` prints.
    RotateKeys {
        /// Also accept the other keys until `retire-keys`
        #[arg(long)]
        keep_old: bool,
    },
    /// Reject all AWS keys of the host except the newest from now on, and print how many of them were valid before
    RetireKeys {
        /// Reject them as expired instead of unknown
        #[arg(long)]
        expired: bool,
    },
    /// Print the calls with AWS keys of the host: time, service, region, operation, subject, key, response
    ///
    /// One line per call, with tabs between the columns. The subject is the account of a registry token or the log group;
    /// the response is `ok` or an error code.
    Calls,
}

/// Options of `add-node`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args, Serialize, Deserialize)]
pub(super) struct NodeArgs {
    /// Its name
    pub(super) node: String,
    /// Image of its type; not needed if --type names an existing type
    #[arg(long)]
    pub(super) image: Option<String>,
    /// Its managed node type; default: <node>:type
    #[arg(long = "type", value_name = "TYPE")]
    pub(super) node_type: Option<String>,
    /// Message type that it receives
    #[arg(long, value_name = "MESSAGE_TYPE")]
    pub(super) receives: Option<String>,
    /// Message type that it sends
    #[arg(long, value_name = "MESSAGE_TYPE")]
    pub(super) sends: Option<String>,
    /// A port to publish, as [ADDRESS:]HOST:CONTAINER[/tcp|udp|sctp]; may be repeated
    #[arg(long = "port", value_name = "PORT", value_parser = parts::port_text)]
    pub(super) ports: Vec<String>,
    /// A mount, as [SOURCE:]TARGET; may be repeated
    #[arg(long = "mount", value_name = "MOUNT", value_parser = parts::mount_text)]
    pub(super) mounts: Vec<String>,
    /// Its configuration, a JSON object
    #[arg(long, value_name = "JSON", value_parser = parts::json_text)]
    pub(super) config: Option<String>,
    /// Its logging level
    #[arg(long, value_name = "LEVEL", value_parser = parts::level_text)]
    pub(super) level: Option<String>,
}

/// Applies a command that changes the cloud; other commands do nothing. The error is the reason of a failure.
pub(super) fn change(cloud: &FakeCloud, command: &Command) -> Result<(), String> {
    let world = cloud.world();
    if world.app.is_none() {
        return Err("the app was removed; restart the fake cloud".to_owned());
    }
    check(&world, command)?;
    match command {
        Command::AddNode(arguments) => {
            let node = node(arguments)?;
            cloud.add_node(&arguments.node, |_| node);
        }
        Command::ChangePorts { node, ports } => {
            cloud.change_ports(node, all(ports, parts::port)?);
        }
        Command::ChangeMounts { node, mounts } => {
            cloud.change_mounts(node, all(mounts, parts::mount)?);
        }
        Command::SetLoggingLevel { node, level } => {
            cloud.set_logging_level(node, parts::level(level)?);
        }
        Command::SetNodeConfig { json, .. } | Command::SetAppConfig { json } | Command::SetTenantConfig { json } => {
            parts::json(json)?;
            configure(cloud, command);
        }
        _ => change_more(cloud, command),
    }
    Ok(())
}

fn configure(cloud: &FakeCloud, command: &Command) {
    match command {
        Command::SetNodeConfig { node, json } => cloud.set_node_config(node, json),
        Command::SetAppConfig { json } => cloud.set_app_config(json),
        Command::SetTenantConfig { json } => cloud.set_tenant_config(json),
        _ => return,
    };
}

/// The commands without arguments to parse.
fn change_more(cloud: &FakeCloud, command: &Command) {
    match command {
        Command::RemoveNode { node } => cloud.remove_node(node),
        Command::SetStopped { node, stopped } => cloud.set_stopped(node, *stopped),
        Command::SetImage { node_type, image } => cloud.set_image(node_type, image),
        Command::Connect { source, target } => cloud.connect(source, target),
        Command::Disconnect { source, target } => cloud.disconnect(source, target),
        Command::MoveEdge { source, target, new_source, new_target } => {
            cloud.move_edge((source, target), (new_source, new_target))
        }
        Command::ChangeAuditor { message_type, source } => cloud.change_auditor(message_type, source),
        Command::SetTableAccess { access } => cloud.set_table_access(*access),
        Command::SetAudit { audit } => cloud.set_audit(*audit),
        Command::RemoveApp => cloud.remove_app(),
        _ => return,
    };
}

/// Checks that all objects that a command uses exist, and that the objects that it creates do not.
fn check(world: &World, command: &Command) -> Result<(), String> {
    match command {
        Command::AddNode(arguments) => check_new(world, arguments),
        Command::RemoveNode { node }
        | Command::ChangePorts { node, .. }
        | Command::ChangeMounts { node, .. }
        | Command::SetNodeConfig { node, .. }
        | Command::SetLoggingLevel { node, .. }
        | Command::SetStopped { node, .. } => known("node", node, world.nodes.keys()),
        Command::SetImage { node_type, .. } => known("managed node type", node_type, world.node_types.keys()),
        Command::ChangeAuditor { message_type, .. } => known("message type", message_type, world.message_types.keys()),
        Command::Connect { source, target } => no_edge(world, source, target),
        Command::Disconnect { source, target }
        | Command::Send { source, target, .. }
        | Command::Receive { source, target, .. } => edge(world, source, target).map(|_| ()),
        Command::MoveEdge { source, target, new_source, new_target } => {
            edge(world, source, target)?;
            no_edge(world, new_source, new_target)
        }
        _ => Ok(()),
    }
}

fn check_new(world: &World, new: &NodeArgs) -> Result<(), String> {
    if new.node.is_empty() || new.node.chars().any(char::is_control) {
        return Err("a node needs a name without control characters".to_owned());
    }
    if world.nodes.contains_key(&new.node) {
        return Err(format!("there is a node {:?} already", new.node));
    }
    let node_type = new.node_type.clone().unwrap_or_else(|| format!("{}:type", new.node));
    match (world.node_types.get(&node_type), &new.image) {
        (None, None) => Err(format!("the type {node_type:?} is new, so the node needs an image")),
        (Some(known), Some(image)) if known != image => {
            Err(format!("the type {node_type:?} has the image {known:?}; change it with set-image"))
        }
        _ => Ok(()),
    }
}

fn known<'a>(kind: &str, name: &str, mut names: impl Iterator<Item = &'a String> + Clone) -> Result<(), String> {
    if names.clone().any(|known| known == name) {
        return Ok(());
    }
    let list: Vec<String> = names.by_ref().map(|name| format!("{name:?}")).collect();
    let list = if list.is_empty() { "none yet".to_owned() } else { list.join(", ") };
    Err(format!("there is no {kind} {name:?}; there is: {list}"))
}

/// The queue of an edge.
pub(super) fn edge(world: &World, source: &str, target: &str) -> Result<String, String> {
    let found = world.edges.iter().find(|edge| edge.source == source && edge.target == target);
    found.map(|edge| edge.queue.clone()).ok_or_else(|| format!("there is no edge {source:?} -> {target:?}"))
}

fn no_edge(world: &World, source: &str, target: &str) -> Result<(), String> {
    match edge(world, source, target) {
        Ok(_) => Err(format!("there is an edge {source:?} -> {target:?} already")),
        Err(_) => Ok(()),
    }
}

fn node(arguments: &NodeArgs) -> Result<Node, String> {
    let mut node = Node::default().of_type(arguments.node_type.as_deref().unwrap_or_default());
    node.ports = all(&arguments.ports, parts::port)? as Vec<Port>;
    node.mounts = all(&arguments.mounts, parts::mount)? as Vec<Mount>;
    node.receives.clone_from(&arguments.receives);
    node.sends.clone_from(&arguments.sends);
    if let Some(config) = &arguments.config {
        parts::json(config)?;
        node = node.config(config);
    }
    if let Some(level) = &arguments.level {
        node = node.logging_level(parts::level(level)?);
    }
    Ok(match &arguments.image {
        Some(image) => node.image(image),
        None => node,
    })
}

fn all<T>(texts: &[String], read: impl Fn(&str) -> Result<T, String>) -> Result<Vec<T>, String> {
    texts.iter().map(|text| read(text)).collect()
}
