//! The response to each command: text for standard output.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use managed_app_fakes::FakeCloud;
use managed_app_fakes::cloud::World;
use managed_app_fakes::cloud::sigv4::{HostCall, Retirement};
use managed_app_fakes::cloud::sqs::Outgoing;

use super::commands::{self, Command};

/// Runs a command on the cloud; returns the response, or the reason of a failure.
pub(super) async fn reply(cloud: &FakeCloud, command: &Command) -> Result<String, String> {
    match command {
        Command::Env { node } => env(cloud, node.as_deref()),
        Command::Show => Ok(show(cloud)),
        Command::Logs { node } => Ok(logs(cloud, node.as_deref())),
        Command::AuditRecords { node } => audit_records(cloud, node.as_deref()),
        Command::RotateKeys { keep_old } => {
            let keys = cloud.add_host_keys();
            if !keep_old {
                cloud.retire_host_keys(Retirement::Unknown);
            }
            Ok(keys.credentials_file())
        }
        Command::RetireKeys { expired } => {
            let how = if *expired { Retirement::Expired } else { Retirement::Unknown };
            Ok(format!("{}\n", cloud.retire_host_keys(how)))
        }
        Command::Calls => cloud.host_calls().iter().map(call).collect(),
        Command::Send { source, target, body } => {
            commands::change(cloud, command)?;
            send(cloud, source, target, body)
        }
        Command::Receive { source, target, wait } => {
            commands::change(cloud, command)?;
            let queue = commands::edge(&cloud.world(), source, target)?;
            let taken = cloud.queues.take(&queue, Duration::from_secs(*wait)).await;
            taken.map(|message| message.body + "\n").ok_or_else(|| "there is no message on the edge".to_owned())
        }
        _ => commands::change(cloud, command).map(|()| String::new()),
    }
}

/// `NAME=value` lines with the same meaning for systemd, Docker and Podman; the seed rejects values that need quotes.
fn env(cloud: &FakeCloud, node: Option<&str>) -> Result<String, String> {
    let all = cloud.env();
    let lines: BTreeMap<String, String> = match node {
        None => all
            .into_iter()
            .chain([
                // `remove-app` must not power this host off.
                ("MANAGED_APP_ON_REMOVED".to_owned(), "exit".to_owned()),
                // Allows plain http to the fake cloud, also from another host.
                ("MANAGED_APP_FAKE_CLOUD".to_owned(), cloud.env()["AWS_ENDPOINT_URL"].clone()),
                // The driver awslogs of dockerd would use the real AWS.
                ("MANAGED_APP_NODE_LOGS".to_owned(), "engine".to_owned()),
            ])
            .collect(),
        Some(node) => {
            if !cloud.world().nodes.contains_key(node) {
                return Err(format!("there is no node {node:?}"));
            }
            let needed = ["APPSYNC_ENDPOINT", "CLIENT_ID", "PASSWORD", "TENANT", "USER_NAME", "USER_POOL_ID"];
            let aws = ["AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL"];
            let mut lines: BTreeMap<_, _> = all
                .into_iter()
                .filter(|(name, _)| needed.contains(&name.as_str()) || aws.contains(&name.as_str()))
                .collect();
            lines.insert("NODE".to_owned(), node.to_owned());
            lines.insert("NAME".to_owned(), node.to_owned());
            // Python nodes verify tokens with the keys that AWS publishes, unless this variable has others.
            lines.insert("COGNITO_JWKS".to_owned(), FakeCloud::token_keys());
            lines
        }
    };
    Ok(lines.iter().map(|(name, value)| format!("{name}={value}\n")).collect())
}

fn show(cloud: &FakeCloud) -> String {
    let world = cloud.world();
    let mut text = String::new();
    let app = world.app.as_ref().map_or("none; it was removed".to_owned(), |app| format!("{:?}", app.name));
    line(
        &mut text,
        format_args!("tenant {:?}, region {}, audit {}", world.tenant.name, world.tenant.region, world.tenant.audit),
    );
    line(&mut text, format_args!("app {app}, {} changes not received by its daemon", cloud.pending_changes()));
    show_nodes(&world, &mut text);
    for edge in &world.edges {
        let (waiting, kind) = (cloud.queues.pending(&edge.queue), &edge.message_type);
        line(&mut text, format_args!("edge {:?} -> {:?}, {kind}, {waiting} messages", edge.source, edge.target));
    }
    text
}

fn show_nodes(world: &World, text: &mut String) {
    for (name, node) in &world.nodes {
        let image = world.node_types.get(&node.node_type).map_or("", String::as_str);
        let stopped = if node.stopped { ", stopped" } else { "" };
        let (ports, mounts) = (node.ports.len(), node.mounts.len());
        let kind = &node.node_type;
        line(
            text,
            format_args!("node {name:?}, type {kind:?}, image {image}, {ports} ports, {mounts} mounts{stopped}"),
        );
    }
}

fn line(text: &mut String, line: std::fmt::Arguments<'_>) {
    writeln!(text, "{line}").expect("writing to a String cannot fail");
}

fn send(cloud: &FakeCloud, source: &str, target: &str, body: &str) -> Result<String, String> {
    if body.is_empty() {
        return Err("a message needs a body".to_owned());
    }
    let queue = commands::edge(&cloud.world(), source, target)?;
    let tracking_id = format!("{:032x}", rand::random::<u128>());
    let message = Outgoing {
        body: body.to_owned(),
        attributes: BTreeMap::from([("trackingId".to_owned(), tracking_id.clone())]),
        group: source.replace(' ', "_"),
        deduplication_id: tracking_id.clone(),
    };
    cloud.queues.send(&queue, message);
    Ok(format!("{tracking_id}\n"))
}

fn logs(cloud: &FakeCloud, node: Option<&str>) -> String {
    let env = cloud.env();
    let events = match node {
        None => cloud.cloudwatch.events(&env["AWS_DEFAULT_REGION"], &env["LOG_GROUP_NAME"]),
        Some(node) => cloud.cloudwatch.events(&cloud.world().tenant.region, &cloud.node_log_group(node)),
    };
    events.iter().map(|event| format!("{}\n", event.message.trim_end_matches('\n'))).collect()
}

fn call(call: &HostCall) -> Result<String, String> {
    let at = call.at.format(&time::format_description::well_known::Rfc3339).map_err(|error| error.to_string())?;
    let HostCall { service, region, operation, subject, key, error, .. } = call;
    let answer = error.as_deref().unwrap_or("ok");
    Ok(format!("{at}\t{service}\t{region}\t{operation}\t{subject}\t{key}\t{answer}\n"))
}

fn audit_records(cloud: &FakeCloud, node: Option<&str>) -> Result<String, String> {
    let mut text = String::new();
    let batches = cloud.audit.batches();
    for batch in batches.iter().filter(|batch| node.is_none_or(|node| batch.node == node)) {
        for record in &batch.records {
            let at = record.datetime.format(&time::format_description::well_known::Rfc3339);
            let record = serde_json::json!({
                "node": batch.node, "messageType": batch.message_type, "attributes": record.attributes,
                "datetime": at.map_err(|error| error.to_string())?, "sourceNode": record.source_node,
                "trackingId": record.tracking_id, "previousTrackingIds": record.previous_tracking_ids,
            });
            line(&mut text, format_args!("{record}"));
        }
    }
    Ok(text)
}
