//! `check`: tests each requirement of the daemon, and prints a result and, for a failure, a remedy. The only change is
//! one stream and one event in CloudWatch Logs: these permissions cannot be tested otherwise.

mod bounds;
mod bundle;
mod cloud;
mod images;
mod keys;
mod local;
mod logs;
mod network;
mod permissions;
mod ports;
mod space;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use managed_app_runtimes::labels::SpecRecord;
use managed_app_runtimes::{ContainerRuntime, Engine, EngineHost, EngineInfo};
use secrecy::SecretString;

use super::query::{self, Problem};
use super::report::Report;
use super::{CheckArgs, query::within};
use crate::cloud::{Aws, AwsOptions, Service};
use crate::config::{Config, Listing, NodeLogs};
use crate::daemon::owner_of;
use crate::engine;
use crate::exit::Exit;
use crate::model::App;
use crate::registry::{self, RegistryHost};
use crate::telemetry::Redactor;
use network::Endpoints;
use permissions::Permissions;

/// The longest wait for a token of the public gallery.
const PUBLIC_LIMIT: std::time::Duration = std::time::Duration::from_secs(30);

/// The engine, for later steps.
struct FoundEngine {
    runtime: Arc<dyn Engine>,
    /// `None`: the configured mode is not possible.
    node_logs: Option<NodeLogs>,
    host: EngineHost,
}

/// Runs all steps, prints one line each and a summary on standard output, and writes the archive of `--bundle`.
///
/// Skips steps that depend on a failed step. Returns the code of the first failure, or [`Exit::Done`].
///
/// Adds keys and tokens to `redactor`.
pub async fn check(config: &Config, arguments: &CheckArgs, listing: &Listing, redactor: Redactor) -> Exit {
    let mut report = Report::new(config);
    let identity = format!("app {:?} of tenant {:?}, on host {:?}", config.app, config.tenant, config.host_id);
    report.ok("configuration", &identity);
    let aws = Arc::new(Aws::new(AwsOptions::default()).with_redactor(redactor.clone()));
    let mut endpoints = Endpoints::of(config, &aws).await;
    let clock = endpoints.check(&mut report).await;
    network::check_clock(clock, &mut report);
    let app = cloud::check(config, &aws, &mut report).await;
    if let Some(app) = &app {
        add_app_endpoints(app, &aws, &mut endpoints).await;
        endpoints.check(&mut report).await;
    }
    let engine = check_engine(config, &mut report).await;
    bounds::check(config, app.as_deref(), &mut report);
    keys::check(config, app.as_deref(), listing, &aws, &mut report).await;
    check_permissions(config, app.as_deref(), engine.as_ref(), &aws, &mut report).await;
    ports::check(config, app.as_deref(), engine.as_ref(), &mut report).await;
    local::check(config, &mut report).await;
    space::check(config, engine.as_ref(), &mut report);
    if let Some(path) = &arguments.bundle {
        write_bundle(path, (config, listing, &redactor), engine.as_ref(), &mut report).await;
    }
    report.finish()
}

async fn write_bundle(
    path: &Path,
    (config, listing, redactor): (&Config, &Listing, &Redactor),
    engine: Option<&FoundEngine>,
    report: &mut Report,
) {
    for secret in &listing.secrets {
        redactor.add(&SecretString::from(secret.as_str()));
    }
    match bundle::write(path, config, listing, redactor, engine, report.lines()).await {
        Ok(()) => {
            let found = format!("{} is written, without secrets; review it before you send it", path.display());
            report.ok("bundle", &found);
        }
        Err(error) => {
            let found = format!("{}: {error}", path.display());
            report.problem("bundle", &Problem::wrong(found, "name a file in a directory that this user may write to"));
        }
    }
}

/// Adds the endpoints that depend on the app: its queue and its registries.
async fn add_app_endpoints(app: &App, aws: &Aws, endpoints: &mut Endpoints) {
    endpoints.add_aws(aws, Service::Sqs, &app.tenant.region).await;
    let registries = app.nodes.values().filter_map(|node| node.node_type.registry.as_ref());
    let regions: BTreeSet<&str> = registries.filter_map(RegistryHost::region).collect();
    for region in regions {
        endpoints.add_aws(aws, Service::Ecr, region).await;
    }
}

/// Checks images and log groups, then prints a line for each permission that these steps tried.
async fn check_permissions(
    config: &Config,
    app: Option<&App>,
    engine: Option<&FoundEngine>,
    aws: &Arc<Aws>,
    report: &mut Report,
) {
    let mut permissions = Permissions::default();
    images::check(app, engine, aws, &mut permissions, report).await;
    if app.is_some_and(|app| has_image(app, |host| *host == RegistryHost::EcrPublic)) {
        let asked = async { Ok::<_, Problem>(registry::public_token(aws).await) };
        for (permission, result) in within(PUBLIC_LIMIT, "check the network", asked).await.unwrap_or_default() {
            permissions.record_registry(permission, "public.ecr.aws", &result);
        }
    }
    logs::check(config, app, engine, aws, &mut permissions, report).await;
    permissions.print(report, |permission| match (app, permission) {
        (None, _) => "no app".to_owned(),
        (Some(app), name) if name.starts_with("ecr:") && has_image(app, |host| *host != RegistryHost::EcrPublic) => {
            "no token to try it with".to_owned()
        }
        (_, name) if name.starts_with("ecr:") => "no image of a private registry".to_owned(),
        (_, "sts:GetServiceBearerToken") => "needs a token of the public gallery".to_owned(),
        _ => "no image of the public gallery".to_owned(),
    });
}

/// Whether an image of the app is in an AWS registry that matches `predicate`.
fn has_image(app: &App, predicate: impl Fn(&RegistryHost) -> bool) -> bool {
    app.nodes.values().filter_map(|node| node.node_type.registry.as_ref()).any(predicate)
}

async fn check_engine(config: &Config, report: &mut Report) -> Option<FoundEngine> {
    let (runtime, info) = match query::engine(config).await {
        Ok(found) => found,
        Err(problem) => {
            report.problem("engine", &problem);
            report.skipped("node output", "no engine");
            return None;
        }
    };
    let host = match runtime.host().await {
        Ok(host) => host,
        Err(error) => {
            report.problem("engine", &query::engine_problem(runtime.as_ref(), &error));
            report.skipped("node output", "the engine does not report its host");
            return None;
        }
    };
    let rootless = if host.rootless { ", rootless: no ports under 1024" } else { "" };
    let (kind, version, endpoint, architecture) = (info.kind, &info.version, &info.endpoint, &host.architecture);
    report.ok("engine", &format!("{kind} {version} for {architecture} at {endpoint}{rootless}"));
    let node_logs = check_node_logs(config, runtime.as_ref(), &info, report).await;
    Some(FoundEngine { runtime, node_logs, host })
}

/// The log mode of new containers and its reason; warns about existing containers with a mode that may not work.
async fn check_node_logs(
    config: &Config,
    runtime: &dyn ContainerRuntime,
    info: &EngineInfo,
    report: &mut Report,
) -> Option<NodeLogs> {
    let choice = match engine::node_logs(config, info).await {
        Ok(choice) => choice,
        Err(remedy) => {
            report.failed("node output", "the configured log mode is not possible", remedy, Exit::Configuration);
            return None;
        }
    };
    let (kind, reason) = (info.kind, &choice.reason);
    let found = match choice.way {
        NodeLogs::Awslogs => {
            format!("{kind} ships it with its driver awslogs, which needs AWS credentials of {kind}'s own")
        }
        NodeLogs::Agent => format!("{kind} keeps it, limited by size, and the daemon ships it"),
        NodeLogs::Engine => format!("{kind} keeps it, limited by size"),
    };
    report.ok("node output", &format!("{found} ({reason})"));
    if choice.is_default && choice.has_awslogs && choice.way == NodeLogs::Agent {
        check_remaining_awslogs(config, runtime, report).await;
    }
    Some(choice.way)
}

/// Containers that were created while `awslogs` was the default keep it until they are replaced for another reason.
async fn check_remaining_awslogs(config: &Config, runtime: &dyn ContainerRuntime, report: &mut Report) {
    let Ok(containers) = runtime.list(&owner_of(config)).await else { return };
    let records = containers.iter().filter_map(|container| SpecRecord::from_labels(&container.labels));
    let count = records.filter(|record| !record.keeps_output()).count();
    if count > 0 {
        let found = format!("{count} existing containers keep the driver awslogs until they are replaced");
        let remedy = "if their output does not arrive, give dockerd AWS credentials that last by a drop-in of docker.service, \
                      or set MANAGED_APP_NODE_LOGS=agent, which replaces each of them once";
        report.skipped("node output", &format!("{found}; {remedy}"));
    }
}
