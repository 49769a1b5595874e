//! The steps of `check` about EchoStream: sign-in, the app and its nodes, the queue of changes.

use std::sync::Arc;
use std::time::Duration;

use super::super::query::{self, Problem, within};
use super::super::report::Report;
use crate::changes::{ProbeError, probe};
use crate::cloud::{AppCredentials, Aws, EchoStream};
use crate::config::Config;
use crate::model::{App, QueueAddress, Snapshot};

/// The longest wait for the queue, with the app's credentials.
const QUEUE_LIMIT: Duration = Duration::from_secs(45);

/// Checks the cloud; returns the app if it can be read.
pub(super) async fn check(config: &Config, aws: &Arc<Aws>, report: &mut Report) -> Option<Arc<App>> {
    let cloud = match query::sign_in(config, aws).await {
        Ok(cloud) => cloud,
        Err(problem) => {
            report.problem("sign-in", &problem);
            skip(report, &["app", "changes"], "not signed in");
            return None;
        }
    };
    report.ok("sign-in", &format!("as {:?}", config.user_name));
    let app = match query::snapshot(&cloud).await.and_then(|snapshot| found(config, snapshot)) {
        Ok(app) => app,
        Err(problem) => {
            report.problem("app", &problem);
            skip(report, &["changes"], "no app");
            return None;
        }
    };
    report_app(&app, report);
    check_changes(&app, cloud, aws, report).await;
    Some(app)
}

fn skip(report: &mut Report, steps: &[&str], reason: &str) {
    for step in steps {
        report.skipped(step, reason);
    }
}

fn found(config: &Config, snapshot: Snapshot) -> Result<Arc<App>, Problem> {
    match snapshot {
        Snapshot::App(app) | Snapshot::Update { app, .. } => Ok(app),
        Snapshot::Gone => Err(Problem::wrong(
            format!("the tenant {:?} has no app {:?}", config.tenant, config.app),
            "check APP and TENANT; if the app was removed, `run` ends its nodes (see --on-removed)",
        )),
    }
}

fn report_app(app: &App, report: &mut Report) {
    let gaps = if app.is_complete { "" } else { "; the cloud's list has gaps, so nothing is removed for now" };
    let count = app.nodes.len() + app.invalid_nodes.len();
    let found = format!("{count} nodes, in region {}{gaps}", app.tenant.region);
    report.ok("app", &found);
    for (name, reason) in &app.invalid_nodes {
        let remedy = "fix the node in EchoStream; until then its container stays unchanged";
        report.problem("node", &Problem::wrong(format!("{:?}: {reason}", name.as_str()), remedy));
    }
}

async fn check_changes(app: &App, cloud: Arc<EchoStream>, aws: &Aws, report: &mut Report) {
    const REACH: &str = "check that SQS can be reached in the tenant's region";
    let Some(receiver) = &app.change_receiver else {
        let remedy = "if the app is not new, ask EchoStream's support; until then `run` finds changes only by the comparison of --resync";
        return report.problem("changes", &Problem::wrong("the app has no change receiver yet", remedy));
    };
    let address = QueueAddress { url: receiver.queue.clone(), region: app.tenant.region.clone() };
    let credentials = AppCredentials::new(cloud);
    let probed = async { probe(aws, &credentials, &address).await.map_err(|error| problem(error, REACH)) };
    match within(QUEUE_LIMIT, REACH, probed).await {
        Ok(()) => report.ok("changes", &format!("the queue {} can be read", address.url)),
        Err(problem) => report.problem("changes", &problem),
    }
}

fn problem(error: ProbeError, reach: &str) -> Problem {
    match error {
        ProbeError::Credentials(error) => query::cloud_problem(&error, reach),
        ProbeError::Lost(text) => Problem::wrong(text, "EchoStream names a queue that does not exist: ask its support"),
        ProbeError::Refused(text) => Problem::wrong(
            text,
            "the app's own credentials do not allow sqs:ReceiveMessage on its queue: ask EchoStream's support, or set the clock of this host",
        ),
        ProbeError::Unavailable(text) => Problem::unavailable(text, reach),
    }
}
