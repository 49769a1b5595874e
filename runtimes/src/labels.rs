//! Labels that mark a container as ours and record its spec.
//!
//! Ownership: app, tenant, host and node, one label each. Spec: one label with versioned JSON. A newer daemon compares
//! it field by field, can report *why* it replaces a container, and does not replace a container because of a field
//! that an older daemon did not write.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{AwslogsMode, ContainerSpec, EnvValue, Hardening, LogSettings, MountSource, PortBinding};

/// Label: name of the app.
pub const APP: &str = "stream.echo.managed-app.app";
/// Label: name of the tenant.
pub const TENANT: &str = "stream.echo.managed-app.tenant";
/// Label: id of the host whose daemon created the container.
pub const HOST: &str = "stream.echo.managed-app.host";
/// Label: name of the node, as in the cloud.
pub const NODE: &str = "stream.echo.managed-app.node";
/// Label: [`SpecRecord`] as JSON.
pub const SPEC: &str = "stream.echo.managed-app.spec";
/// Label of the contract: the node's type. Alone it marks a container of the Python program.
pub const MANAGED_NODE_TYPE: &str = "managed_node_type";
/// Label of the contract: name of the message type the node receives.
pub const RECEIVE_MESSAGE_TYPE: &str = "receive_message_type";
/// Label of the contract: name of the message type the node sends.
pub const SEND_MESSAGE_TYPE: &str = "send_message_type";

/// A variable of a container's environment that its record omits: containers that were created before it was set still
/// match, and so do containers with it for a daemon that does not set it. Its value is always that of `NODE`.
pub const UNRECORDED_VARIABLE: &str = "NAME";

/// The owner of containers: one app of one tenant on one host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// Name of the app.
    pub app: String,
    /// Name of the tenant.
    pub tenant: String,
    /// Id of this host; distinguishes two hosts of one app on a shared engine.
    pub host: String,
}

impl Owner {
    /// The labels of every container of this owner.
    pub fn labels(&self) -> BTreeMap<String, String> {
        [(APP, &self.app), (TENANT, &self.tenant), (HOST, &self.host)]
            .into_iter()
            .map(|(key, value)| (key.to_owned(), value.clone()))
            .collect()
    }

    /// The owner in the labels of a container, if there is one.
    pub fn from_labels(labels: &BTreeMap<String, String>) -> Option<Self> {
        let value = |key| labels.get(key).cloned();
        Some(Self { app: value(APP)?, tenant: value(TENANT)?, host: value(HOST)? })
    }

    /// Whether a container with `labels` belongs to this owner.
    pub fn owns(&self, labels: &BTreeMap<String, String>) -> bool {
        let says = |key: &str, value: &str| labels.get(key).is_some_and(|found| found == value);
        says(APP, &self.app) && says(TENANT, &self.tenant) && says(HOST, &self.host)
    }

    /// Whether the Python program created a container with `labels` on `networks` for this app.
    pub fn owns_legacy<S: AsRef<str>>(&self, labels: &BTreeMap<String, String>, networks: &[S]) -> bool {
        labels.contains_key(MANAGED_NODE_TYPE)
            && !labels.keys().any(|key| key.starts_with("stream.echo.managed-app."))
            && networks.iter().any(|network| network.as_ref() == self.app)
    }
}

/// Prefix of recorded log settings when the engine stores the output.
const KEPT_BY_ENGINE: &str = "engine:";

/// Newest version of the record that this program writes.
const VERSION: u32 = 1;

/// The spec of a container, as recorded in its label.
///
/// To add a field: make it an `Option` with `#[serde(default)]`, so that a record without it can be read and means that
/// the container was created before the field existed; always write it; compare it in [`SpecRecord::differences`] only
/// if the record has it. The version stays. To change the meaning of a field: add a new field and continue to write the
/// old one. Raise the version only when that is impossible: each container is then replaced once. An older daemon
/// ignores fields that it does not know. The tests contain the output of each released version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpecRecord {
    version: u32,
    salt: String,
    image: String,
    hostname: String,
    network: String,
    env: BTreeMap<String, EnvRecord>,
    ports: Vec<String>,
    mounts: Vec<String>,
    logs: String,
    stop_grace_s: u64,
    /// Missing in records of version 0.1, whose containers had no hardening.
    #[serde(default)]
    hardening: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum EnvRecord {
    Value(String),
    Sha256(String),
}

impl EnvRecord {
    fn shown(&self) -> Option<&str> {
        match self {
            Self::Value(value) => Some(value),
            Self::Sha256(_) => None,
        }
    }
}

/// A field whose desired value differs from the observed one. `Display` prints the field only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The field, such as `image` or `env.TENANT`.
    pub field: String,
    /// Observed value; `None` if absent or secret.
    pub before: Option<String>,
    /// Desired value; `None` if absent or secret.
    pub after: Option<String>,
}

impl Difference {
    /// A difference with values that may be shown.
    pub fn between(field: impl Into<String>, before: Option<&str>, after: Option<&str>) -> Self {
        Self { field: field.into(), before: before.map(str::to_owned), after: after.map(str::to_owned) }
    }

    /// A difference without values.
    pub fn of(field: impl Into<String>) -> Self {
        Self { field: field.into(), before: None, after: None }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.field)
    }
}

impl SpecRecord {
    /// The record of `spec`; `salt` is random and differs from container to container.
    pub fn new(spec: &ContainerSpec, salt: &str) -> Self {
        let mut ports: Vec<String> = spec
            .ports
            .iter()
            .map(|p| format!("{}:{}->{}/{}", p.host_address, p.host_port, p.container_port, p.protocol.as_str()))
            .collect();
        ports.sort();
        let mut mounts: Vec<String> =
            spec.mounts.iter().map(|m| format!("{}={}", m.target, source(&m.source))).collect();
        mounts.sort();
        Self {
            version: VERSION,
            salt: salt.to_owned(),
            image: spec.image.to_string(),
            hostname: spec.hostname.clone(),
            network: spec.network.clone(),
            env: recorded(&spec.env).map(|(key, value)| (key.clone(), env_record(value, salt))).collect(),
            ports,
            mounts,
            logs: logs(&spec.logs),
            stop_grace_s: spec.stop_grace.as_secs(),
            hardening: Some(hardening(&spec.hardening)),
        }
    }

    /// Reads the record of a container; `None` when there is none or it is not readable, for example a newer version.
    pub fn from_labels(labels: &BTreeMap<String, String>) -> Option<Self> {
        let record: Self = serde_json::from_str(labels.get(SPEC)?).ok()?;
        (record.version <= VERSION).then_some(record)
    }

    /// The value of the label [`SPEC`].
    pub fn to_label(&self) -> String {
        serde_json::to_string(self).expect("a record of strings and numbers is always JSON")
    }

    /// The fields in which `spec` differs from this record, such as `image` or `env.TENANT`; empty when the container
    /// matches. Secrets appear by name only.
    pub fn differences(&self, spec: &ContainerSpec) -> Vec<Difference> {
        let wanted = Self::new(spec, &self.salt);
        let mut found = Vec::new();
        let mut note = |field: &str, before: &str, after: &str| {
            if before != after {
                let shown = |text| Some(text).filter(|text: &&str| !text.is_empty());
                found.push(Difference::between(field, shown(before), shown(after)));
            }
        };
        note("image", &self.image, &wanted.image);
        note("hostname", &self.hostname, &wanted.hostname);
        note("network", &self.network, &wanted.network);
        note("ports", &self.ports.join(", "), &wanted.ports.join(", "));
        note("mounts", &self.mounts.join(", "), &wanted.mounts.join(", "));
        note("logs", &self.logs, &wanted.logs);
        note("stop_grace", &format!("{}s", self.stop_grace_s), &format!("{}s", wanted.stop_grace_s));
        let hardened = |record: &Self| record.hardening.clone().unwrap_or_default();
        note("hardening", &hardened(self), &hardened(&wanted));
        let keys: std::collections::BTreeSet<&String> = self.env.keys().chain(wanted.env.keys()).collect();
        for key in keys {
            let (before, after) = (self.env.get(key), wanted.env.get(key));
            if before != after {
                let shown = |value: Option<&EnvRecord>| value.and_then(EnvRecord::shown).map(str::to_owned);
                found.push(Difference { field: format!("env.{key}"), before: shown(before), after: shown(after) });
            }
        }
        found
    }

    /// Reference of the image, as written at creation.
    pub fn image(&self) -> &str {
        &self.image
    }

    /// Whether the container was created with the log settings `settings`.
    pub fn has_logs(&self, settings: &LogSettings) -> bool {
        self.logs == logs(settings)
    }

    /// Whether the engine stores the container's output so that it can be read, instead of shipping it.
    pub fn keeps_output(&self) -> bool {
        self.logs.starts_with(KEPT_BY_ENGINE)
    }

    /// Whether a container of this record occupies the host port of `port` while it runs.
    pub fn publishes(&self, port: &PortBinding) -> bool {
        self.ports.iter().filter_map(|text| host_port(text)).any(|(address, number, protocol)| {
            protocol == port.protocol.as_str() && number == port.host_port && port.shares_address(address)
        })
    }
}

/// The host's part of a recorded port, `0.0.0.0:8080->80/tcp`.
fn host_port(text: &str) -> Option<(IpAddr, u16, &str)> {
    let (host, container) = text.split_once("->")?;
    let (address, number) = host.rsplit_once(':')?;
    let (_, protocol) = container.split_once('/')?;
    Some((address.parse().ok()?, number.parse().ok()?, protocol))
}

fn recorded(env: &BTreeMap<String, EnvValue>) -> impl Iterator<Item = (&String, &EnvValue)> {
    env.iter().filter(|(key, _)| *key != UNRECORDED_VARIABLE)
}

fn env_record(value: &EnvValue, salt: &str) -> EnvRecord {
    match value {
        EnvValue::Plain(value) => EnvRecord::Value(value.clone()),
        EnvValue::Secret(value) => {
            let digest =
                Sha256::new().chain_update(salt).chain_update([0]).chain_update(value.expose_secret()).finalize();
            EnvRecord::Sha256(hex::encode(digest))
        }
    }
}

fn source(source: &MountSource) -> String {
    match source {
        MountSource::Anonymous => "anonymous".to_owned(),
        MountSource::Volume(name) => format!("volume:{name}"),
        MountSource::Bind(path) => format!("bind:{path}"),
    }
}

/// Empty without hardening.
fn hardening(wanted: &Hardening) -> String {
    let Hardening { no_new_privileges, dropped_capabilities, pids_max, memory_bytes_max } = wanted;
    let mut parts = Vec::new();
    if *no_new_privileges {
        parts.push("no-new-privileges".to_owned());
    }
    parts.extend(dropped_capabilities.iter().map(|capability| format!("drop:{capability}")));
    parts.extend(pids_max.map(|most| format!("pids:{most}")));
    parts.extend(memory_bytes_max.map(|most| format!("memory:{most}")));
    parts.join(" ")
}

/// The stream is omitted because it is new for each container. The mode is present only if it differs from that of
/// version 1, which had only one.
fn logs(settings: &LogSettings) -> String {
    match settings {
        LogSettings::Engine { file_bytes_max, files_max } => format!("{KEPT_BY_ENGINE}{file_bytes_max}x{files_max}"),
        LogSettings::Awslogs { group, region, multiline_pattern, mode, .. } => {
            let mode = match mode {
                AwslogsMode::NonBlocking { buffer_bytes_max: AwslogsMode::BUFFER_BYTES } => String::new(),
                AwslogsMode::NonBlocking { buffer_bytes_max } => format!("[buffer={buffer_bytes_max}]"),
                AwslogsMode::Blocking => "[blocking]".to_owned(),
            };
            format!("awslogs{mode}:{region}:{group}:{multiline_pattern}")
        }
    }
}

#[cfg(test)]
mod tests;
