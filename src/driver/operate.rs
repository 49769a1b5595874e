//! The operations on one node: each is a call of the workload engine.

use std::sync::Arc;

use managed_app_runtimes::{Applied, ContainerId, ContainerSpec, LogSettings, Result, Started, Strategy, Target};
use time::OffsetDateTime;

use super::{Executor, failure};
use crate::logs::stream_name;
use crate::reconciler::{Failure, FailureKind, Operation, Outcome};

impl Executor {
    /// Runs `operation`; never fails, only reports.
    pub async fn operate(&self, operation: Operation) -> Outcome {
        let done = match operation {
            Operation::Create(target) => self.apply(target, Strategy::StopFirst).await,
            Operation::Replace { target, strategy } => self.apply(target, strategy).await,
            Operation::Start { id, revision } => {
                let started = self.engine.start(&id, revision.as_ref()).await;
                started.map(|started| outcome(started, |id| Outcome::Started { id, revision }, id))
            }
            Operation::Restart { id, revision } => {
                let started = self.engine.restart(&id, &revision).await;
                let revision = Some(revision);
                started.map(|started| outcome(started, |id| Outcome::Started { id, revision }, id))
            }
            Operation::Remove(ids) => self.engine.remove(&ids).await.map(|()| Outcome::Removed(ids)),
            Operation::Stop(ids) => self.engine.stop(&ids).await.map(|()| Outcome::Stopped(ids)),
        };
        done.unwrap_or_else(|error| Outcome::Failed(failure::of_runtime(&error)))
    }

    async fn apply(&self, target: Target, strategy: Strategy) -> Result<Outcome> {
        let target = Target { spec: Arc::new(self.with_log_stream(&target.spec).await), ..target };
        Ok(match self.engine.apply(&target, strategy).await? {
            Applied::Done(instance) => Outcome::Created(instance),
            Applied::RolledBack { is_cause_certain, text } => {
                let kind = if is_cause_certain { FailureKind::Permanent } else { FailureKind::Transient };
                Outcome::RolledBack(Failure { kind, text })
            }
            Applied::ImageMissing => Outcome::ImageMissing,
            Applied::Interrupted => Outcome::Abandoned,
        })
    }

    /// The spec with a log stream of its own. dockerd does not know the endpoints that this daemon is configured with:
    /// AWS_ENDPOINT_URL, FIPS, dual stack.
    async fn with_log_stream(&self, spec: &ContainerSpec) -> ContainerSpec {
        let mut spec = spec.clone();
        if let LogSettings::Awslogs { region, stream, endpoint, .. } = &mut spec.logs {
            *stream = stream_name(OffsetDateTime::now_utc(), rand::random());
            *endpoint = self.aws.special_logs_endpoint(region).await;
        }
        spec
    }
}

fn outcome(started: Started, done: impl FnOnce(ContainerId) -> Outcome, id: ContainerId) -> Outcome {
    match started {
        Started::Done => done(id),
        Started::Discarded(error) => Outcome::Discarded { id, failure: failure::of_runtime(&error) },
        Started::Interrupted => Outcome::Abandoned,
    }
}
