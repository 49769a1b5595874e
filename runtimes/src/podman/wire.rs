//! The shapes of libpod's JSON, as far as this backend reads or writes them. No logic except tolerant parsing.
//!
//! Parsing is tolerant on purpose: a field that is missing, null or of another type gets its default, so that one
//! invalid container never hides the others and a newer engine does not break an older daemon. Field names are those of
//! Podman 4.3.1 and 5.4.2.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

/// Reads a field, or its default if the engine sends another type.
fn lenient<'de, D: Deserializer<'de>, T: DeserializeOwned + Default>(deserializer: D) -> Result<T, D::Error> {
    Ok(serde_json::from_value(Value::deserialize(deserializer)?).unwrap_or_default())
}

/// One item of `GET /libpod/containers/json`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(super) struct ListItem {
    #[serde(deserialize_with = "lenient")]
    pub(super) id: String,
    #[serde(deserialize_with = "lenient")]
    pub(super) names: Vec<String>,
    #[serde(rename = "ImageID", deserialize_with = "lenient")]
    pub(super) image_id: String,
    #[serde(deserialize_with = "lenient")]
    pub(super) labels: BTreeMap<String, String>,
    #[serde(deserialize_with = "lenient")]
    pub(super) state: String,
    #[serde(deserialize_with = "lenient")]
    pub(super) exit_code: Option<i64>,
    #[serde(deserialize_with = "lenient")]
    pub(super) networks: Vec<String>,
    /// Seconds since 1970; a large negative number when never started.
    #[serde(deserialize_with = "lenient")]
    pub(super) started_at: i64,
}

/// The part of `GET /libpod/containers/{id}/json` that is used.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(super) struct Inspect {
    #[serde(deserialize_with = "lenient")]
    pub(super) name: String,
    #[serde(deserialize_with = "lenient")]
    pub(super) restart_count: Option<u64>,
    #[serde(deserialize_with = "lenient")]
    pub(super) state: InspectState,
    #[serde(deserialize_with = "lenient")]
    pub(super) config: InspectConfig,
    #[serde(deserialize_with = "lenient")]
    pub(super) network_settings: InspectNetworks,
    #[serde(deserialize_with = "lenient")]
    pub(super) host_config: InspectHostConfig,
}

/// `HostConfig` of an inspection.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(super) struct InspectHostConfig {
    #[serde(deserialize_with = "lenient")]
    pub(super) log_config: InspectLogConfig,
}

/// `HostConfig.LogConfig` of an inspection.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(super) struct InspectLogConfig {
    #[serde(deserialize_with = "lenient")]
    pub(super) r#type: String,
    /// Path of the log file.
    #[serde(deserialize_with = "lenient")]
    pub(super) path: String,
}

/// `State` of an inspection.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(super) struct InspectState {
    #[serde(deserialize_with = "lenient")]
    pub(super) status: String,
    /// RFC 3339 with nanoseconds; year 1 when never started.
    #[serde(deserialize_with = "lenient")]
    pub(super) started_at: String,
    /// As `started_at`; stays while the next process runs.
    #[serde(deserialize_with = "lenient")]
    pub(super) finished_at: String,
    /// 0 while a process runs.
    #[serde(deserialize_with = "lenient")]
    pub(super) exit_code: Option<i64>,
    /// Not set where the runtime does not monitor it (seen with runc on cgroup v1).
    #[serde(rename = "OOMKilled", deserialize_with = "lenient")]
    pub(super) oom_killed: bool,
}

/// `Config` of an inspection.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(super) struct InspectConfig {
    #[serde(deserialize_with = "lenient")]
    pub(super) labels: BTreeMap<String, String>,
}

/// `NetworkSettings` of an inspection; only the names of the networks are used.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(super) struct InspectNetworks {
    #[serde(deserialize_with = "lenient")]
    pub(super) networks: BTreeMap<String, Value>,
}

/// The part of `GET /libpod/images/{name}/json` that is used.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(super) struct ImageInspect {
    #[serde(deserialize_with = "lenient")]
    pub(super) id: String,
    #[serde(deserialize_with = "lenient")]
    pub(super) architecture: String,
}

/// The part of `GET /libpod/info` that is used.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Info {
    #[serde(deserialize_with = "lenient")]
    pub(super) host: InfoHost,
    #[serde(deserialize_with = "lenient")]
    pub(super) store: InfoStore,
}

/// `store` of the information.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct InfoStore {
    #[serde(deserialize_with = "lenient")]
    pub(super) graph_root: String,
}

/// `host` of the information.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct InfoHost {
    #[serde(deserialize_with = "lenient")]
    pub(super) security: InfoSecurity,
    #[serde(deserialize_with = "lenient")]
    pub(super) arch: String,
}

/// `host.security` of the information.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct InfoSecurity {
    #[serde(deserialize_with = "lenient")]
    pub(super) rootless: bool,
}

/// One item of `GET /libpod/networks/json`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct NetworkItem {
    #[serde(deserialize_with = "lenient")]
    pub(super) name: String,
}

/// One line of a pull. libpod's endpoint sends a text, an error, or at the end only the image's id. The Docker-like
/// endpoint sends a status with the short id of a layer.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct PullLine {
    #[serde(deserialize_with = "lenient")]
    pub(super) error: String,
    #[serde(deserialize_with = "lenient")]
    pub(super) id: String,
    #[serde(deserialize_with = "lenient")]
    pub(super) status: String,
    #[serde(rename = "progressDetail", deserialize_with = "lenient")]
    pub(super) progress_detail: ProgressDetail,
}

/// Bytes of one layer.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ProgressDetail {
    #[serde(deserialize_with = "lenient")]
    pub(super) current: u64,
    #[serde(deserialize_with = "lenient")]
    pub(super) total: u64,
}

/// One line of the event stream.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(super) struct Event {
    #[serde(rename = "Type", deserialize_with = "lenient")]
    pub(super) kind: String,
    #[serde(deserialize_with = "lenient")]
    pub(super) action: String,
    #[serde(deserialize_with = "lenient")]
    pub(super) actor: Actor,
    #[serde(rename = "timeNano", deserialize_with = "lenient")]
    pub(super) time_nano: i64,
}

/// The object of an event. The attributes contain the name and all labels.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(super) struct Actor {
    #[serde(rename = "ID", deserialize_with = "lenient")]
    pub(super) id: String,
    #[serde(deserialize_with = "lenient")]
    pub(super) attributes: BTreeMap<String, String>,
}

/// The response to a creation.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(super) struct Created {
    #[serde(deserialize_with = "lenient")]
    pub(super) id: String,
}

/// libpod's SpecGenerator, the body of `POST /libpod/containers/create`. Contains secrets: its `Debug` shows the name
/// only.
#[derive(Serialize)]
pub(super) struct SpecGenerator<'a> {
    pub(super) name: &'a str,
    pub(super) hostname: &'a str,
    pub(super) image: String,
    pub(super) env: BTreeMap<&'a str, &'a str>,
    pub(super) labels: &'a BTreeMap<String, String>,
    pub(super) netns: Namespace,
    #[serde(rename = "Networks")]
    pub(super) networks: BTreeMap<&'a str, NetworkOptions<'a>>,
    pub(super) portmappings: Vec<PortMapping>,
    pub(super) volumes: Vec<NamedVolume<'a>>,
    pub(super) mounts: Vec<BindMount<'a>>,
    pub(super) log_configuration: LogConfiguration,
    pub(super) restart_policy: &'static str,
    /// Whole seconds.
    pub(super) stop_timeout: u64,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) no_new_privileges: bool,
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub(super) cap_drop: &'a BTreeSet<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) resource_limits: Option<ResourceLimits>,
}

/// Limits in the format of the OCI runtime; an absent limit is the engine's default.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct ResourceLimits {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) memory: Option<Limit>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) pids: Option<Limit>,
}

/// `{"limit": …}`.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Limit {
    pub(super) limit: i64,
}

impl fmt::Debug for SpecGenerator<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SpecGenerator").field("name", &self.name).finish_non_exhaustive()
    }
}

/// `{"nsmode": …}`.
#[derive(Debug, Serialize)]
pub(super) struct Namespace {
    pub(super) nsmode: &'static str,
}

/// Options of a container in a network.
#[derive(Debug, Serialize)]
pub(super) struct NetworkOptions<'a> {
    pub(super) aliases: &'a BTreeSet<String>,
}

/// A published port.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct PortMapping {
    pub(super) host_ip: String,
    pub(super) host_port: u16,
    pub(super) container_port: u16,
    pub(super) protocol: &'static str,
}

/// A volume; an anonymous one has an empty name.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct NamedVolume<'a> {
    pub(super) name: &'a str,
    pub(super) dest: &'a str,
}

/// A bind mount.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct BindMount<'a> {
    #[serde(rename = "type")]
    pub(super) kind: &'static str,
    pub(super) source: &'a str,
    pub(super) destination: &'a str,
    pub(super) options: Vec<&'static str>,
}

/// The log driver; `size` is the maximum size of the file, bytes.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct LogConfiguration {
    pub(super) driver: &'static str,
    pub(super) size: i64,
}

/// The value of `X-Registry-Auth`, before base64. Contains a secret: no `Debug`.
#[derive(Serialize)]
pub(super) struct RegistryAuth<'a> {
    pub(super) username: &'a str,
    pub(super) password: &'a str,
}

/// The `filters` parameter of lists and events.
pub(super) type Filters<'a> = BTreeMap<&'a str, Vec<String>>;
