//! The steps of `check` about CloudWatch Logs: the log group of the daemon, and those of nodes if output is shipped.

use std::future::Future;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream;
use managed_app_runtimes::names;
use tokio::time::timeout;

use super::super::query::{AWS_CREDENTIALS, Problem, within};
use super::super::report::Report;
use super::FoundEngine;
use super::permissions::{Attempt, Permissions};
use crate::cloud::Aws;
use crate::config::{Config, NodeLogs};
use crate::logs::{LogError, LogErrorKind, LogProbe};
use crate::model::App;

/// The longest wait for one group.
const GROUP_LIMIT: Duration = Duration::from_secs(30);
/// Concurrent attempts; AWS allows 50 new streams a second.
const GROUPS_AT_ONCE: usize = 8;
const REACH: &str = "check that CloudWatch Logs can be reached in this region";

pub(super) async fn check(
    config: &Config,
    app: Option<&App>,
    engine: Option<&FoundEngine>,
    aws: &Aws,
    permissions: &mut Permissions,
    report: &mut Report,
) {
    match config.daemon_logs {
        true => check_own(config, aws, permissions, report).await,
        false => report.skipped("log group", "the daemon's own log is not shipped: MANAGED_APP_DAEMON_LOGS=off"),
    }
    match (engine.map(|engine| engine.node_logs), app) {
        (None, _) => report.skipped("node log groups", "no engine"),
        (Some(None), _) => report.skipped("node log groups", "the log mode of nodes is not known"),
        (Some(Some(NodeLogs::Engine)), _) => report.skipped("node log groups", "the engine keeps the output of nodes"),
        (Some(Some(NodeLogs::Awslogs | NodeLogs::Agent)), None) => report.skipped("node log groups", "no app"),
        (Some(Some(NodeLogs::Awslogs | NodeLogs::Agent)), Some(app)) => check_nodes(config, app, aws, report).await,
    }
}

async fn check_own(config: &Config, aws: &Aws, permissions: &mut Permissions, report: &mut Report) {
    let probe = LogProbe::new(aws, &config.region).await;
    let group = config.log_group.as_str();
    let opened = attempt("logs:CreateLogStream", group, probe.open(group), permissions).await;
    let written = attempt("logs:PutLogEvents", group, probe.write(group), permissions).await;
    match opened.and(written) {
        Ok(()) => report.ok("log group", &format!("{group} in {} accepts events", config.region)),
        Err(problem) => report_group(report, "log group", group, &config.region, problem),
    }
}

async fn check_nodes(config: &Config, app: &App, aws: &Aws, report: &mut Report) {
    let region = app.tenant.region.as_str();
    let probe = LogProbe::new(aws, region).await;
    let groups = app.nodes.keys().map(|node| names::log_group(&config.log_group, node.as_str()));
    let tried = groups.map(|group| {
        let probe = &probe;
        async move {
            let opened = async { probe.open(&group).await.map_err(|error| problem(&error)) };
            (within(GROUP_LIMIT, REACH, opened).await, group)
        }
    });
    let tried: Vec<_> = stream::iter(tried).buffered(GROUPS_AT_ONCE).collect().await;
    let good = tried.iter().filter(|(result, _)| result.is_ok()).count();
    if good == tried.len() {
        return report.ok("node log groups", &format!("all {good} in {region} take streams"));
    }
    for (result, group) in tried {
        if let Err(problem) = result {
            report_group(report, "node log group", &group, region, problem);
        }
    }
}

/// Makes one call and records its result under its permission. A missing group or stream is not a missing permission.
async fn attempt(
    permission: &'static str,
    group: &str,
    call: impl Future<Output = Result<(), LogError>>,
    permissions: &mut Permissions,
) -> Result<(), Problem> {
    let mut denied = None;
    let call = async {
        call.await.map_err(|error| {
            denied = (error.kind() == LogErrorKind::AccessDenied).then(|| error.to_string());
            (error.kind(), problem(&error))
        })
    };
    let result = match timeout(GROUP_LIMIT, call).await {
        Ok(result) => result,
        Err(_) => {
            let found = format!("no answer within {} s", GROUP_LIMIT.as_secs());
            Err((LogErrorKind::Unavailable, Problem::unavailable(found, REACH)))
        }
    };
    let tried = match (&result, denied) {
        (_, Some(message)) => Attempt::Denied(message),
        (Ok(()) | Err((LogErrorKind::NoGroup | LogErrorKind::Refused | LogErrorKind::Clock, _)), _) => Attempt::Granted,
        (Err((_, problem)), _) => Attempt::Failed(problem.clone()),
    };
    permissions.record(permission, group, tried);
    result.map_err(|(_, problem)| problem)
}

fn report_group(report: &mut Report, subject: &str, group: &str, region: &str, problem: Problem) {
    report.failed(subject, &format!("{group} in {region}: {}", problem.found), problem.remedy, problem.exit);
}

fn problem(error: &LogError) -> Problem {
    let found = error.to_string();
    match error.kind() {
        LogErrorKind::NoGroup => Problem::wrong(
            found,
            "check LOG_GROUP_NAME and the region; the group is created with the app or node, never by this program",
        ),
        LogErrorKind::AccessDenied => {
            Problem::wrong(found, format!("allow {} to the AWS credentials of this host", error.permission()))
        }
        LogErrorKind::NoCredentials => Problem::no_aws_credentials(),
        LogErrorKind::Unauthorized => Problem::wrong(found, AWS_CREDENTIALS),
        LogErrorKind::Clock => Problem::wrong(found, "set the clock of this host: timedatectl set-ntp true"),
        LogErrorKind::Refused => Problem::wrong(found, "check LOG_GROUP_NAME"),
        LogErrorKind::Unavailable => Problem::unavailable(found, REACH),
    }
}
