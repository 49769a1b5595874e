//! Converts a spec to bollard's types. Pure: makes no calls.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use bollard::models::{
    ContainerCreateBody, EndpointSettings, HostConfig, HostConfigLogConfig, Mount as EngineMount, MountType,
    NetworkCreateRequest, NetworkingConfig, PortBinding as EnginePort, PortMap, RestartPolicy, RestartPolicyNameEnum,
};

use crate::{AwslogsMode, ContainerSpec, Hardening, LogSettings, Mount, MountSource, PortBinding};

/// The body of a create call.
pub(super) fn create_body(spec: &ContainerSpec) -> ContainerCreateBody {
    ContainerCreateBody {
        hostname: Some(spec.hostname.clone()),
        image: Some(spec.image.to_pull()),
        env: Some(spec.env.iter().map(|(key, value)| format!("{key}={}", value.expose())).collect()),
        labels: Some(spec.labels.clone().into_iter().collect()),
        exposed_ports: Some(exposed(&spec.ports)),
        stop_timeout: Some(i64::from(whole_seconds(spec.stop_grace))),
        networking_config: Some(NetworkingConfig { endpoints_config: Some(endpoint(spec)) }),
        host_config: Some(HostConfig {
            network_mode: Some(spec.network.clone()),
            port_bindings: Some(published(&spec.ports)),
            mounts: Some(spec.mounts.iter().map(mount).collect()),
            log_config: Some(log_config(&spec.logs)),
            restart_policy: Some(RestartPolicy {
                name: Some(RestartPolicyNameEnum::UNLESS_STOPPED),
                maximum_retry_count: None,
            }),
            ..hardened(&spec.hardening)
        }),
        ..ContainerCreateBody::default()
    }
}

/// Its only network, with its aliases there.
fn endpoint(spec: &ContainerSpec) -> HashMap<String, EndpointSettings> {
    let aliases = Some(spec.aliases.iter().cloned().collect());
    [(spec.network.clone(), EndpointSettings { aliases, ..EndpointSettings::default() })].into()
}

/// Sets only requested restrictions; all others stay at the engine's defaults.
fn hardened(wanted: &Hardening) -> HostConfig {
    let capabilities = Some(wanted.dropped_capabilities.iter().cloned().collect::<Vec<_>>());
    HostConfig {
        security_opt: wanted.no_new_privileges.then(|| vec!["no-new-privileges".to_owned()]),
        cap_drop: capabilities.filter(|list| !list.is_empty()),
        pids_limit: wanted.pids_max.map(i64::from),
        memory: wanted.memory_bytes_max.map(|most| i64::try_from(most).unwrap_or(i64::MAX)),
        ..HostConfig::default()
    }
}

/// The body of a network's create call.
pub(super) fn network_body(name: &str, labels: BTreeMap<String, String>) -> NetworkCreateRequest {
    NetworkCreateRequest {
        name: name.to_owned(),
        driver: Some("bridge".to_owned()),
        labels: Some(labels.into_iter().collect()),
        ..NetworkCreateRequest::default()
    }
}

/// The engine counts whole seconds: rounded up, so that a grace is never shortened.
pub(super) fn whole_seconds(time: Duration) -> i32 {
    let seconds = time.as_secs() + u64::from(time.subsec_nanos() > 0);
    i32::try_from(seconds).unwrap_or(i32::MAX)
}

fn key(port: &PortBinding) -> String {
    format!("{}/{}", port.container_port, port.protocol.as_str())
}

fn exposed(ports: &[PortBinding]) -> Vec<String> {
    let mut keys: Vec<String> = ports.iter().map(key).collect();
    keys.sort();
    keys.dedup();
    keys
}

fn published(ports: &[PortBinding]) -> PortMap {
    let mut map = PortMap::new();
    for port in ports {
        let binding =
            EnginePort { host_ip: Some(port.host_address.to_string()), host_port: Some(port.host_port.to_string()) };
        map.entry(key(port)).or_default().get_or_insert_with(Vec::new).push(binding);
    }
    map
}

/// A volume without a name is anonymous; the engine removes it with the container.
fn mount(mount: &Mount) -> EngineMount {
    let (typ, source) = match &mount.source {
        MountSource::Anonymous => (MountType::VOLUME, None),
        MountSource::Volume(name) => (MountType::VOLUME, Some(name.clone())),
        MountSource::Bind(path) => (MountType::BIND, Some(path.clone())),
    };
    EngineMount { target: Some(mount.target.clone()), source, typ: Some(typ), ..EngineMount::default() }
}

fn log_config(logs: &LogSettings) -> HostConfigLogConfig {
    let (driver, options) = match logs {
        LogSettings::Engine { file_bytes_max, files_max } => {
            ("json-file", vec![("max-size", file_bytes_max.to_string()), ("max-file", files_max.to_string())])
        }
        LogSettings::Awslogs { group, region, stream, endpoint, multiline_pattern, mode } => {
            let mut options = vec![
                ("awslogs-group", group.clone()),
                ("awslogs-region", region.clone()),
                ("awslogs-stream", stream.clone()),
                ("awslogs-multiline-pattern", multiline_pattern.clone()),
            ];
            options.extend(endpoint.iter().map(|endpoint| ("awslogs-endpoint", endpoint.clone())));
            match mode {
                AwslogsMode::Blocking => options.push(("mode", "blocking".to_owned())),
                AwslogsMode::NonBlocking { buffer_bytes_max } => options
                    .extend([("mode", "non-blocking".to_owned()), ("max-buffer-size", buffer_bytes_max.to_string())]),
            }
            ("awslogs", options)
        }
    };
    let config: HashMap<String, String> = options.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
    HostConfigLogConfig { typ: Some(driver.to_owned()), config: Some(config) }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::{EnvValue, Protocol};

    fn spec() -> ContainerSpec {
        let port = |container_port, protocol, host: &str, host_port| PortBinding {
            container_port,
            protocol,
            host_address: host.parse().expect("an address"),
            host_port,
        };
        let mount = |source, target: &str| Mount { source, target: target.to_owned() };
        ContainerSpec {
            name: "web".to_owned(),
            hostname: "web-host".to_owned(),
            image: "a.b/n:1".parse().expect("a reference"),
            env: [
                ("A".to_owned(), EnvValue::Plain("1=2".to_owned())),
                ("S".to_owned(), EnvValue::Secret("x".to_owned().into())),
            ]
            .into(),
            labels: [("l".to_owned(), "v".to_owned())].into(),
            network: "net".to_owned(),
            aliases: ["web", "web-host"].map(str::to_owned).into(),
            ports: vec![
                port(80, Protocol::Tcp, "0.0.0.0", 8080),
                port(80, Protocol::Tcp, "::1", 8081),
                port(53, Protocol::Udp, "127.0.0.1", 53),
                port(9, Protocol::Sctp, "0.0.0.0", 9),
            ],
            mounts: vec![
                mount(MountSource::Anonymous, "/a"),
                mount(MountSource::Volume("data".to_owned()), "/v"),
                mount(MountSource::Bind("/srv".to_owned()), "/b"),
            ],
            logs: LogSettings::Engine { file_bytes_max: 1_000_000, files_max: 3 },
            stop_grace: Duration::from_millis(1500),
            hardening: Default::default(),
        }
    }

    #[test]
    fn every_field_of_a_spec_is_sent() {
        let body = serde_json::to_value(create_body(&spec())).expect("it is JSON");
        let host = &body["HostConfig"];
        let networks = &body["NetworkingConfig"]["EndpointsConfig"];
        let cases: [(&Value, Value); 12] = [
            (networks, json!({"net": {"Aliases": ["web", "web-host"]}})),
            (&body["Hostname"], json!("web-host")),
            (&body["Image"], json!("a.b/n:1")),
            (&body["Env"], json!(["A=1=2", "S=x"])),
            (&body["Labels"], json!({"l": "v"})),
            (&body["StopTimeout"], json!(2)),
            (&body["ExposedPorts"], json!({"53/udp": {}, "80/tcp": {}, "9/sctp": {}})),
            (&host["NetworkMode"], json!("net")),
            (&host["RestartPolicy"], json!({"Name": "unless-stopped"})),
            (&host["LogConfig"], json!({"Type": "json-file", "Config": {"max-size": "1000000", "max-file": "3"}})),
            (
                &host["PortBindings"],
                json!({
                    "80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "8080"}, {"HostIp": "::1", "HostPort": "8081"}],
                    "53/udp": [{"HostIp": "127.0.0.1", "HostPort": "53"}],
                    "9/sctp": [{"HostIp": "0.0.0.0", "HostPort": "9"}],
                }),
            ),
            (
                &host["Mounts"],
                json!([
                    {"Target": "/a", "Type": "volume"},
                    {"Target": "/v", "Source": "data", "Type": "volume"},
                    {"Target": "/b", "Source": "/srv", "Type": "bind"},
                ]),
            ),
        ];
        for (found, wanted) in cases {
            assert_eq!(*found, wanted);
        }
    }

    #[test]
    fn only_requested_hardening_is_sent() {
        let names = ["SecurityOpt", "CapDrop", "PidsLimit", "Memory"];
        let sent = |spec: &ContainerSpec| {
            let body = serde_json::to_value(create_body(spec)).expect("it is JSON");
            names.map(|name| body["HostConfig"][name].clone())
        };
        assert_eq!(sent(&spec()), [Value::Null, Value::Null, Value::Null, Value::Null]);
        let hardening = Hardening {
            no_new_privileges: true,
            dropped_capabilities: ["NET_RAW".to_owned()].into(),
            pids_max: Some(100),
            memory_bytes_max: Some(1 << 29),
        };
        let all = [json!(["no-new-privileges"]), json!(["NET_RAW"]), json!(100), json!(1 << 29)];
        assert_eq!(sent(&ContainerSpec { hardening, ..spec() }), all);
    }

    #[test]
    fn awslogs_blocks_a_node_only_on_request() {
        let config_at = |mode, endpoint| {
            let logs = LogSettings::Awslogs {
                endpoint,
                group: "g/node/n".to_owned(),
                region: "eu-west-1".to_owned(),
                stream: "2026/11/22/x".to_owned(),
                multiline_pattern: "^\\[INFO".to_owned(),
                mode,
            };
            serde_json::to_value(log_config(&logs)).expect("it is JSON")
        };
        let config = |mode| config_at(mode, None);
        let mut wanted = json!({"Type": "awslogs", "Config": {
            "awslogs-group": "g/node/n", "awslogs-region": "eu-west-1", "awslogs-stream": "2026/11/22/x",
            "awslogs-multiline-pattern": "^\\[INFO", "mode": "non-blocking", "max-buffer-size": "26214400",
        }});
        assert_eq!(config(AwslogsMode::default()), wanted);
        wanted["Config"]["mode"] = json!("blocking");
        wanted["Config"].as_object_mut().expect("an object").remove("max-buffer-size");
        assert_eq!(config(AwslogsMode::Blocking), wanted);
        let endpoint = "https://logs-fips.us-east-1.amazonaws.com";
        wanted["Config"]["awslogs-endpoint"] = json!(endpoint);
        assert_eq!(config_at(AwslogsMode::Blocking, Some(endpoint.to_owned())), wanted);
    }

    #[test]
    fn a_grace_is_never_shortened() {
        let cases = [(0, 0), (1, 1), (1000, 1), (1001, 2), (u64::MAX, i32::MAX)];
        for (ms, wanted) in cases {
            assert_eq!(whole_seconds(Duration::from_millis(ms)), wanted, "{ms} ms");
        }
    }
}
