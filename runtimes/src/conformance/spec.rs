//! Checks: every field of a spec is visible afterwards through the engine's own tools.

use std::collections::BTreeMap;

use secrecy::SecretString;

use super::bench::Bench;
use super::outcome::{ensure, ensure_eq};
use super::{Check, Outcome, Program, Seen, checks};
use crate::{ContainerSpec, EnvValue, Hardening, PortBinding, Protocol};

pub(super) const CHECKS: &[Check] = checks![
    the_name_and_the_host_name_are_set,
    the_image_is_the_requested_one,
    the_environment_is_set_with_odd_values_and_secrets,
    labels_are_set_with_odd_values_and_listed,
    it_joins_its_only_network,
    tcp_and_udp_ports_are_published_with_their_addresses,
    an_sctp_port_is_configured,
    the_log_driver_keeps_output_with_size_limits,
    the_restart_policy_is_unless_stopped,
    the_stop_grace_is_set,
    hardening_is_set_only_on_request,
    a_spec_does_not_show_its_secrets,
];

async fn created(bench: &Bench<'_>, change: impl FnOnce(&mut ContainerSpec)) -> Outcome<Seen> {
    let mut spec = bench.spec("web", Program::Idle);
    change(&mut spec);
    bench.subject.prepare(&spec.name, Program::Idle).await?;
    bench.runtime.create(&spec).await?;
    bench.seen("web").await
}

async fn the_name_and_the_host_name_are_set(bench: &Bench<'_>) -> Outcome {
    let hostname = "a-host-name-of-63-characters-0123456789-0123456789-0123456789-x";
    let seen = created(bench, |spec| spec.hostname = hostname.to_owned()).await?;
    ensure_eq!(seen.name, bench.name("web"), "name");
    ensure_eq!(seen.hostname, hostname, "host name");
    Ok(())
}

async fn the_image_is_the_requested_one(bench: &Bench<'_>) -> Outcome {
    let seen = created(bench, |_| ()).await?;
    let id = bench.runtime.image(&bench.image).await?;
    ensure_eq!(Some(seen.image_id), id.map(|id| id.0), "image id");
    Ok(())
}

async fn the_environment_is_set_with_odd_values_and_secrets(bench: &Bench<'_>) -> Outcome {
    let values = [
        ("PLAIN", "value"),
        ("EMPTY", ""),
        ("ODD", "a=b; $HOME \"quoted\" 'single' `x` \\ ä 日本 ~?>"),
        ("LINES", "first\nsecond"),
    ];
    let secret = "pass~word?>=\"x";
    let seen = created(bench, |spec| {
        for (key, value) in values {
            spec.env.insert(key.to_owned(), EnvValue::Plain(value.to_owned()));
        }
        spec.env.insert("PASSWORD".to_owned(), EnvValue::Secret(SecretString::from(secret)));
    })
    .await?;
    for (key, value) in values.into_iter().chain([("PASSWORD", secret)]) {
        ensure_eq!(seen.env.get(key).map(String::as_str), Some(value), format!("variable {key}"));
    }
    Ok(())
}

async fn labels_are_set_with_odd_values_and_listed(bench: &Bench<'_>) -> Outcome {
    let odd: BTreeMap<String, String> = [
        ("plain", "value"),
        ("empty", ""),
        ("stream.echo.managed-app.node", "a node: \"x\", 'y' = {\"json\": [1, 2]} ä 日本 \\ $"),
        ("lines", "first\nsecond"),
    ]
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .into();
    let seen = created(bench, |spec| spec.labels.extend(odd.clone())).await?;
    for (key, value) in odd.iter().chain(&bench.owner.labels()) {
        ensure_eq!(seen.labels.get(key), Some(value), format!("label {key}"));
    }
    let listed = bench.listed(&crate::ContainerId(seen.id)).await?;
    for (key, value) in &odd {
        ensure_eq!(listed.labels.get(key), Some(value), format!("listed label {key}"));
    }
    Ok(())
}

async fn it_joins_its_only_network(bench: &Bench<'_>) -> Outcome {
    let seen = created(bench, |_| ()).await?;
    ensure_eq!(seen.networks.into_iter().collect::<Vec<_>>(), vec![bench.owner.app.clone()], "networks");
    Ok(())
}

fn port(container_port: u16, protocol: Protocol, address: &str, host_port: u16) -> PortBinding {
    let host_address = address.parse().expect("an address written in this file");
    PortBinding { container_port, protocol, host_address, host_port }
}

async fn tcp_and_udp_ports_are_published_with_their_addresses(bench: &Bench<'_>) -> Outcome {
    let ports = vec![
        port(80, Protocol::Tcp, "0.0.0.0", 41_080),
        port(80, Protocol::Udp, "127.0.0.1", 41_081),
        port(443, Protocol::Tcp, "127.0.0.1", 41_082),
        port(443, Protocol::Tcp, "127.0.0.1", 41_083),
    ];
    let wanted = ports.iter().cloned().collect();
    let seen = created(bench, |spec| spec.ports = ports).await?;
    ensure_eq!(seen.ports, wanted, "ports");
    Ok(())
}

async fn an_sctp_port_is_configured(bench: &Bench<'_>) -> Outcome {
    // Not started: many kernels lack SCTP.
    let ports = vec![port(5000, Protocol::Sctp, "127.0.0.1", 41_084)];
    let wanted = ports.iter().cloned().collect();
    let seen = created(bench, |spec| spec.ports = ports).await?;
    ensure_eq!(seen.ports, wanted, "ports");
    Ok(())
}

async fn the_log_driver_keeps_output_with_size_limits(bench: &Bench<'_>) -> Outcome {
    let seen = created(bench, |_| ()).await?;
    ensure!(
        ["json-file", "k8s-file", "memory"].contains(&seen.log_driver.as_str()),
        "the log driver is {:?}",
        seen.log_driver
    );
    // A single file has the size of all.
    let bytes_max = if seen.log_files_max.is_some() { 10_000_000 } else { 30_000_000 };
    ensure_eq!(seen.log_bytes_max, Some(bytes_max), "largest size of a log file");
    ensure!(seen.log_files_max.is_none_or(|files| files == 3), "{:?} log files, not 3", seen.log_files_max);
    Ok(())
}

async fn the_restart_policy_is_unless_stopped(bench: &Bench<'_>) -> Outcome {
    ensure_eq!(created(bench, |_| ()).await?.restart_policy, "unless-stopped", "restart policy");
    Ok(())
}

async fn the_stop_grace_is_set(bench: &Bench<'_>) -> Outcome {
    ensure_eq!(created(bench, |_| ()).await?.stop_timeout_s, Some(17), "stop timeout");
    Ok(())
}

async fn hardening_is_set_only_on_request(bench: &Bench<'_>) -> Outcome {
    let wanted = Hardening {
        no_new_privileges: true,
        dropped_capabilities: ["CHOWN", "KILL"].map(str::to_owned).into(),
        pids_max: Some(200),
        memory_bytes_max: Some(64 << 20),
    };
    let asked = wanted.clone();
    let seen = created(bench, |spec| spec.hardening = asked).await?;
    let mut found = seen.hardening;
    // Podman lists all capabilities of its default set that the container lacks.
    ensure!(found.dropped_capabilities.is_superset(&wanted.dropped_capabilities), "dropped: {found:?}");
    found.dropped_capabilities.retain(|name| wanted.dropped_capabilities.contains(name));
    ensure_eq!(found, wanted, "hardening");
    bench.runtime.remove(&crate::ContainerId(seen.id)).await?;
    let found = created(bench, |_| ()).await?.hardening;
    ensure!(!found.no_new_privileges && found.memory_bytes_max.is_none(), "set without being asked for: {found:?}");
    ensure!(found.dropped_capabilities.is_disjoint(&wanted.dropped_capabilities), "dropped unasked: {found:?}");
    Ok(())
}

async fn a_spec_does_not_show_its_secrets(bench: &Bench<'_>) -> Outcome {
    let mut spec = bench.spec("web", Program::Idle);
    let secret = "a-secret-that-nobody-may-see";
    spec.env.insert("PASSWORD".to_owned(), EnvValue::Secret(SecretString::from(secret)));
    spec.network = bench.name("no-such-net");
    let Err(error) = bench.runtime.create(&spec).await else {
        return Err(super::Failure::new("create without a network succeeded"));
    };
    let texts = [format!("{error:?}"), super::Failure::from(error).to_string(), format!("{:?}", bench.runtime)];
    ensure!(!texts.iter().any(|text| text.contains(secret)), "an error or the runtime shows a secret");
    Ok(())
}
