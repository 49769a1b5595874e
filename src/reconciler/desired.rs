//! Derives the desired container of a node of the cloud.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use managed_app_runtimes::{
    AwslogsMode, ContainerSpec, EnvValue, Hardening, ImageReference, LogSettings, Owner, Target, labels, names,
};
use secrecy::SecretString;

use super::policy::Policy;
use super::revision::AppInputs;
use crate::model::{App, Node};

/// Contract: a line of a node's output that matches this begins a log event; other lines belong to the event before.
pub const LOG_EVENT_PATTERN: &str = r"^\[(CRITICAL|DEBUG|ERROR|INFO|WARNING)\]";

/// Settings that are the same for all nodes.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The owner of the containers.
    pub owner: Owner,
    /// Environment of every container, apart from NODE (contract) and NAME.
    pub env: BTreeMap<String, EnvValue>,
    /// Destination of the output.
    pub logs: NodeLogSettings,
    /// Output settings that existing containers may keep: nobody configured a destination, so the default may differ
    /// from an earlier one.
    pub kept_logs: Option<NodeLogSettings>,
    /// Time limit of a stop before the engine kills the node.
    pub stop_grace: Duration,
    /// Interval of full comparisons without a change message.
    pub resync: Duration,
    /// Whether a node without host ports and mounts is replaced without downtime, with two running containers at a
    /// time.
    pub overlap: bool,
    /// Whether the nodes are removed when the app is gone, or only stopped.
    pub remove_nodes_with_app: bool,
    /// Allowed images and mounts.
    pub policy: Policy,
    /// Restrictions of the containers.
    pub hardening: Hardening,
}

/// Destination of the output of nodes.
#[derive(Debug, Clone)]
pub enum NodeLogSettings {
    /// Docker's log driver ships it to `<group>/node/<node>` in the tenant's region.
    Awslogs {
        /// The daemon's own log group.
        group: String,
        /// The mode while CloudWatch is slow or unavailable.
        mode: AwslogsMode,
    },
    /// The engine keeps it; the daemon ships it or people read it.
    Engine {
        /// Size of one file, bytes.
        file_bytes_max: u64,
        /// Files kept.
        files_max: u32,
    },
}

/// The desired container of a node.
#[derive(Debug, Clone)]
pub struct Desired {
    /// Its spec and startup inputs.
    pub target: Target,
    /// Its image, fully qualified.
    pub image: ImageReference,
    /// Whether two of its containers may run for a moment.
    pub can_overlap: bool,
}

impl Settings {
    /// The contract's environment of every node.
    pub fn node_env(
        appsync_endpoint: &str,
        client_id: &str,
        password: &SecretString,
        tenant: &str,
        user_pool_id: &str,
        user_name: &str,
    ) -> BTreeMap<String, EnvValue> {
        let plain = |value: &str| EnvValue::Plain(value.to_owned());
        [
            ("APPSYNC_ENDPOINT", plain(appsync_endpoint)),
            ("CLIENT_ID", plain(client_id)),
            ("PASSWORD", EnvValue::Secret(password.clone())),
            ("TENANT", plain(tenant)),
            ("USER_POOL_ID", plain(user_pool_id)),
            ("USER_NAME", plain(user_name)),
        ]
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value))
        .collect()
    }

    /// The app's network.
    pub fn network(&self) -> String {
        names::network_name(&self.owner.app)
    }

    /// The desired container of `node`, or why it is not possible.
    pub fn desired(&self, app: &App, node: &Node, app_inputs: &AppInputs) -> Result<Desired, String> {
        let image: ImageReference = node
            .node_type
            .image_uri
            .parse()
            .map_err(|error| format!("node type {:?}: {error}", node.node_type.name))?;
        self.policy.check(&image, node.node_type.registry.as_ref(), &node.mounts)?;
        let (name, hostname) = (names::container_name(node.name.as_str()), names::host_name(node.name.as_str()));
        let spec = ContainerSpec {
            aliases: [name.clone(), hostname.clone()].into(),
            name,
            hostname,
            image: image.clone(),
            env: self.env_of(node),
            labels: self.labels_of(node),
            network: self.network(),
            ports: node.ports.clone(),
            mounts: node.mounts.clone(),
            logs: logs_of(&self.logs, app, node),
            stop_grace: self.stop_grace,
            hardening: self.hardening.clone(),
        };
        let revision = app_inputs.revision(node);
        let can_overlap = self.overlap && spec.ports.is_empty() && spec.mounts.is_empty();
        let kept_logs = self.kept_logs.as_ref().map(|kept| Arc::new(logs_of(kept, app, node)));
        let target = Target { spec: Arc::new(spec), revision, image_id: None, kept_logs };
        Ok(Desired { target, image, can_overlap })
    }

    fn env_of(&self, node: &Node) -> BTreeMap<String, EnvValue> {
        let mut env = self.env.clone();
        // The Python program sets NODE, EchoStream's documentation names NAME: images read either.
        for variable in ["NODE", labels::UNRECORDED_VARIABLE] {
            env.insert(variable.to_owned(), EnvValue::Plain(node.name.to_string()));
        }
        env
    }

    fn labels_of(&self, node: &Node) -> BTreeMap<String, String> {
        let mut all = self.owner.labels();
        all.insert(labels::NODE.to_owned(), node.name.to_string());
        all.insert(labels::MANAGED_NODE_TYPE.to_owned(), node.node_type.name.clone());
        let types = [
            (labels::RECEIVE_MESSAGE_TYPE, &node.receive_message_type),
            (labels::SEND_MESSAGE_TYPE, &node.send_message_type),
        ];
        for (label, message_type) in types {
            if let Some(message_type) = message_type {
                all.insert(label.to_owned(), message_type.name.clone());
            }
        }
        all
    }
}

fn logs_of(settings: &NodeLogSettings, app: &App, node: &Node) -> LogSettings {
    match settings {
        NodeLogSettings::Awslogs { group, mode } => LogSettings::Awslogs {
            group: names::log_group(group, node.name.as_str()),
            region: app.tenant.region.clone(),
            stream: String::new(),
            endpoint: None,
            multiline_pattern: LOG_EVENT_PATTERN.to_owned(),
            mode: *mode,
        },
        &NodeLogSettings::Engine { file_bytes_max, files_max } => LogSettings::Engine { file_bytes_max, files_max },
    }
}
