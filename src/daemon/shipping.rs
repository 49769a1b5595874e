//! Shipping of the daemon's own log to CloudWatch: starts before and ends after everything else.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::cloud::Aws;
use crate::config::Config;
use crate::logs::{DaemonLog, LogService};
use crate::tasks::Tasks;
use crate::telemetry::Telemetry;

/// How long the last lines may take; above the limit of the shipping itself.
const FINISH_LIMIT: Duration = Duration::from_secs(3);

/// The shipping of the daemon's own log. Dropping it discards unshipped lines.
#[derive(Debug)]
pub struct LogShipping {
    log: Option<DaemonLog>,
    tasks: Tasks,
    end: CancellationToken,
}

impl LogShipping {
    /// Starts it, unless the log was started without shipping (MANAGED_APP_DAEMON_LOGS).
    pub fn start(config: &Config, telemetry: &Telemetry, aws: Arc<Aws>) -> Self {
        let log = telemetry.unshipped().map(|lines| DaemonLog::new(lines, telemetry.redactor()));
        let (mut tasks, end) = (Tasks::new(), CancellationToken::new());
        if let Some(log) = log.clone() {
            let service = Arc::new(LogService::new(aws, &config.region));
            tasks.spawn("daemon-log", log.ship(service, config.log_group.clone(), end.clone()));
        }
        Self { log, tasks, end }
    }

    /// The log with its numbers; `None` if it is not shipped.
    pub fn log(&self) -> Option<DaemonLog> {
        self.log.clone()
    }

    /// Ships all lines so far, within seconds, and ends.
    pub async fn finish(self) {
        self.end.cancel();
        self.tasks.finish(FINISH_LIMIT).await;
    }
}
