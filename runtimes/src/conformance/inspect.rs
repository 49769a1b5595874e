//! Parses the output of `container inspect` and `network inspect`: Docker's format, which Podman prints with
//! variations.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{Failure, Outcome, Seen, SeenMount};
use crate::{Hardening, PortBinding, Protocol};

pub(super) fn container(value: &Value) -> Outcome<Seen> {
    let config = &value["Config"];
    let host = &value["HostConfig"];
    let logs = &host["LogConfig"];
    let image = text(&value["Image"]);
    let size = [&logs["Config"]["max-size"], &logs["Size"]].into_iter().find_map(Value::as_str);
    Ok(Seen {
        id: text(&value["Id"]),
        name: text(&value["Name"]).trim_start_matches('/').to_owned(),
        image_id: if image.starts_with("sha256:") { image } else { format!("sha256:{image}") },
        hostname: text(&config["Hostname"]),
        env: environment(&config["Env"]),
        labels: strings(&config["Labels"]),
        networks: value["NetworkSettings"]["Networks"]
            .as_object()
            .into_iter()
            .flat_map(|all| all.keys().cloned())
            .collect(),
        ports: ports(&host["PortBindings"])?,
        mounts: mounts(&value["Mounts"]),
        log_driver: text(&logs["Type"]),
        log_bytes_max: size.and_then(bytes),
        log_files_max: logs["Config"]["max-file"].as_str().and_then(|files| files.parse().ok()),
        restart_policy: text(&host["RestartPolicy"]["Name"]),
        stop_timeout_s: config["StopTimeout"].as_u64(),
        hardening: hardening(host),
        is_running: ["Running", "Paused"].iter().any(|state| value["State"][state] == true),
        started: text(&value["State"]["StartedAt"]),
    })
}

/// Labels of a network; Podman spells the key in lower case.
pub(super) fn network_labels(value: &Value) -> BTreeMap<String, String> {
    strings(if value["Labels"].is_null() { &value["labels"] } else { &value["Labels"] })
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn strings(value: &Value) -> BTreeMap<String, String> {
    let pairs = value.as_object().into_iter().flatten();
    pairs.map(|(key, value)| (key.clone(), text(value))).collect()
}

fn environment(value: &Value) -> BTreeMap<String, String> {
    let entries = value.as_array().into_iter().flatten().filter_map(Value::as_str);
    entries.filter_map(|entry| entry.split_once('=')).map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

fn ports(value: &Value) -> Outcome<BTreeSet<PortBinding>> {
    let mut found = BTreeSet::new();
    for (port, bindings) in value.as_object().into_iter().flatten() {
        for binding in bindings.as_array().into_iter().flatten() {
            let invalid = || Failure::new(format!("inspect shows the port {port} -> {binding}"));
            let (container_port, protocol) = port.split_once('/').ok_or_else(invalid)?;
            // An empty address means every address.
            let address = binding["HostIp"].as_str().filter(|address| !address.is_empty()).unwrap_or("0.0.0.0");
            found.insert(PortBinding {
                container_port: container_port.parse().map_err(|_| invalid())?,
                protocol: match protocol {
                    "tcp" => Protocol::Tcp,
                    "udp" => Protocol::Udp,
                    "sctp" => Protocol::Sctp,
                    _ => return Err(invalid()),
                },
                host_address: address.parse().map_err(|_| invalid())?,
                host_port: binding["HostPort"].as_str().and_then(|port| port.parse().ok()).ok_or_else(invalid)?,
            });
        }
    }
    Ok(found)
}

/// A limit of 0 or less means none.
fn hardening(host: &Value) -> Hardening {
    let entries = |name: &str| host[name].as_array().into_iter().flatten().filter_map(Value::as_str);
    let limit = |name: &str| host[name].as_u64().filter(|limit| *limit > 0);
    Hardening {
        no_new_privileges: entries("SecurityOpt").any(|entry| entry.starts_with("no-new-privileges")),
        dropped_capabilities: entries("CapDrop").map(|entry| entry.trim_start_matches("CAP_").to_owned()).collect(),
        pids_max: limit("PidsLimit").and_then(|limit| limit.try_into().ok()),
        memory_bytes_max: limit("Memory"),
    }
}

fn mounts(value: &Value) -> BTreeMap<String, SeenMount> {
    let mounts = value.as_array().into_iter().flatten();
    let seen = |mount: &Value| match mount["Type"].as_str() {
        Some("volume") => SeenMount::Volume(text(&mount["Name"])),
        _ => SeenMount::Bind(text(&mount["Source"])),
    };
    mounts.map(|mount| (text(&mount["Destination"]), seen(mount))).collect()
}

/// Parses `10000000`, `10m`, `9.537MB` or `10MB`: Docker's options are powers of two, Podman prints powers of ten.
fn bytes(text: &str) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let number: f64 = text[..digits].parse().ok()?;
    let factor = match &text[digits..] {
        "" | "b" | "B" => 1.0,
        "k" => 1024.0,
        "m" => 1024.0 * 1024.0,
        "g" => 1024.0 * 1024.0 * 1024.0,
        "kB" => 1e3,
        "MB" => 1e6,
        "GB" => 1e9,
        _ => return None,
    };
    Some((number * factor).round() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_of_both_engines_are_read() {
        for (text, wanted) in [("10000000", 10_000_000), ("10m", 10_485_760), ("10MB", 10_000_000), ("0B", 0)] {
            assert_eq!(bytes(text), Some(wanted), "{text}");
        }
        assert_eq!(bytes("much"), None);
    }
}
