//! `check`: tries each thing that the daemon needs, and says for each whether it works and what to do where it does
//! not. Changes nothing but one stream and one event in CloudWatch Logs, which is the only way to know.

mod cloud;
mod images;
mod local;
mod logs;

use std::sync::Arc;

use managed_app_runtimes::{ContainerRuntime, EngineInfo};

use super::inquiry;
use super::report::Report;
use crate::cloud::{Aws, AwsOptions};
use crate::config::{Config, NodeLogs};
use crate::engine;
use crate::exit::Exit;

/// What later steps need of the engine.
struct Engine {
    runtime: Arc<dyn ContainerRuntime>,
    /// `None`: they cannot be kept as was chosen.
    node_logs: Option<NodeLogs>,
}

/// Tries everything, a line each on standard output, and a summary.
///
/// Steps that need one that failed are skipped. Ends with the code of the first failure, or with [`Exit::Done`].
pub async fn check(config: &Config) -> Exit {
    let mut report = Report::new(config);
    let whose = format!("app {:?} of tenant {:?}, on host {:?}", config.app, config.tenant, config.host_id);
    report.ok("configuration", &whose);
    let aws = Arc::new(Aws::new(AwsOptions::default()));
    let app = cloud::check(config, &aws, &mut report).await;
    let engine = check_engine(config, &mut report).await;
    images::check(app.as_deref(), engine.as_ref(), &aws, &mut report).await;
    logs::check(config, app.as_deref(), engine.as_ref(), &aws, &mut report).await;
    local::check(config, &mut report).await;
    report.finish()
}

async fn check_engine(config: &Config, report: &mut Report) -> Option<Engine> {
    let (runtime, info) = match inquiry::engine(config).await {
        Ok(found) => found,
        Err(problem) => {
            report.problem("engine", &problem);
            report.skipped("node output", "no engine");
            return None;
        }
    };
    let rootless = if info.rootless { ", rootless: no ports under 1024" } else { "" };
    report.ok("engine", &format!("{} {} at {}{rootless}", info.kind, info.version, info.endpoint));
    let node_logs = check_node_logs(config, &info, report);
    Some(Engine { runtime, node_logs })
}

fn check_node_logs(config: &Config, info: &EngineInfo, report: &mut Report) -> Option<NodeLogs> {
    match engine::node_logs(config, info) {
        Ok(NodeLogs::Awslogs) => {
            let found = format!("{} ships it with its driver awslogs, and needs AWS credentials of its own", info.kind);
            report.ok("node output", &found);
            Some(NodeLogs::Awslogs)
        }
        Ok(NodeLogs::Engine) => {
            report.ok("node output", &format!("{} keeps it, limited by size", info.kind));
            Some(NodeLogs::Engine)
        }
        Err(remedy) => {
            report.failed("node output", "it cannot be kept as was chosen", remedy, Exit::Configuration);
            None
        }
    }
}
