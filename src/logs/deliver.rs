//! Sends batches to one log group until CloudWatch has them. Retries without a limit; the caller sets one.

mod error;

use std::sync::Arc;

use aws_sdk_cloudwatchlogs::Client;
use aws_sdk_cloudwatchlogs::types::{InputLogEvent, RejectedLogEventsInfo};
use time::OffsetDateTime;
use tokio::sync::OnceCell;
use tokio::time::sleep;
use tracing::{error, info, warn};

use self::error::{DeliveryError, Response, classify};
use super::batch::Batch;
use super::event::LogEvent;
use crate::cloud::Aws;
use crate::cloud::aws_error::AwsError;
use crate::cloud::backoff::Backoff;
use crate::status::Counter;
use crate::status::Volume;

/// CloudWatch Logs of one region, with the host's credentials. Shared by all deliveries to this region.
#[derive(Debug)]
pub struct LogService {
    aws: Arc<Aws>,
    region: String,
    client: OnceCell<Client>,
}

impl LogService {
    /// Makes no call.
    pub fn new(aws: Arc<Aws>, region: &str) -> Self {
        Self { aws, region: region.to_owned(), client: OnceCell::new() }
    }

    /// Without retries of the SDK: [`Delivery`] retries without a limit.
    async fn client(&self) -> &Client {
        self.client.get_or_init(|| self.aws.logs_without_retries(&self.region)).await
    }
}

/// Writes to one log group, into its own stream, which is created for the first batch.
#[derive(Debug)]
pub struct Delivery {
    service: Arc<LogService>,
    group: String,
    /// The stream, if it was created and is not known to be deleted.
    stream: Option<String>,
    /// The current error, which is logged already.
    error: Option<DeliveryError>,
    /// Output rejected since the last warning about it.
    rejecting: Option<Volume>,
    backoff: Backoff,
    counter: Counter,
}

/// The result of a batch. Output in neither field was accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Delivered {
    /// Too old, expired, or too new.
    pub rejected: Volume,
    /// Refused by CloudWatch in any batch.
    pub lost: Volume,
}

impl Delivery {
    /// Makes no call. `counter` counts output that is sent again.
    pub fn new(service: Arc<LogService>, group: &str, counter: Counter) -> Self {
        let (group, backoff) = (group.to_owned(), Backoff::default());
        Self { service, group, stream: None, error: None, rejecting: None, backoff, counter }
    }

    /// Writes a batch. Returns when CloudWatch has accepted or rejected each of its events. CloudWatch may have the
    /// batch even if the future is dropped.
    pub async fn deliver<M>(&mut self, batch: &Batch<M>) -> Delivered {
        let mut delivered = Delivered::default();
        let mut waiting = vec![batch.events.as_slice()];
        while let Some(events) = waiting.pop() {
            let failure = match self.put(events).await {
                Ok(rejected) => {
                    self.accepted();
                    delivered.rejected += rejected;
                    continue;
                }
                Err(failure) => failure,
            };
            match classify(failure.kind, self.stream.is_some()) {
                Response::AlreadyThere => {}
                Response::BadEvents if events.len() > 1 => {
                    let (first, second) = events.split_at(events.len() / 2);
                    waiting.extend([second, first]);
                }
                Response::BadEvents => {
                    error!(group = self.group, error = failure.text, "CloudWatch refused a log event; it is lost");
                    delivered.lost += volume(events);
                }
                Response::NoStream => {
                    self.stream = None;
                    waiting.push(events);
                }
                Response::Later(error) => {
                    self.wait(error, &failure).await;
                    self.counter.count(|numbers| numbers.retried += volume(events));
                    waiting.push(events);
                }
            }
        }
        delivered
    }

    /// One attempt. Returns the output that CloudWatch discarded.
    async fn put<M>(&mut self, events: &[LogEvent<M>]) -> Result<Volume, AwsError> {
        let service = self.service.clone();
        let client = service.client().await;
        let stream = match &self.stream {
            Some(stream) => stream.clone(),
            None => self.open_stream(client).await?,
        };
        let input = |event: &LogEvent<M>| {
            let builder = InputLogEvent::builder().timestamp(event.at_ms).message(event.text.as_str());
            builder.build().expect("time and text are there")
        };
        let request = client.put_log_events().log_group_name(&self.group).log_stream_name(stream);
        let sent = request.set_log_events(Some(events.iter().map(input).collect())).send().await;
        let output = sent.map_err(|error| AwsError::of(&error))?;
        match output.rejected_log_events_info() {
            Some(info) => Ok(self.rejected(events, info)),
            None => {
                self.not_rejected();
                Ok(Volume::default())
            }
        }
    }

    async fn open_stream(&mut self, client: &Client) -> Result<String, AwsError> {
        let name = stream_name(OffsetDateTime::now_utc(), rand::random());
        let request = client.create_log_stream().log_group_name(&self.group).log_stream_name(&name);
        request.send().await.map_err(|error| AwsError::of(&error))?;
        self.stream = Some(name.clone());
        Ok(name)
    }

    /// CloudWatch responds with status 200 and discards events: those before an index are too old, those from an index
    /// on too new. Logged once until a whole batch is accepted: with a wrong clock, every batch has rejected events.
    fn rejected<M>(&mut self, events: &[LogEvent<M>], info: &RejectedLogEventsInfo) -> Volume {
        let index = |index: Option<i32>| index.and_then(|index| usize::try_from(index).ok());
        let old_end = index(info.too_old_log_event_end_index()).unwrap_or(0);
        let expired_end = index(info.expired_log_event_end_index()).unwrap_or(0);
        let old_end = old_end.max(expired_end).min(events.len());
        let new_start =
            index(info.too_new_log_event_start_index()).unwrap_or(events.len()).clamp(old_end, events.len());
        let (old, new) = (old_end, events.len() - new_start);
        let rejected = volume(&events[..old_end]) + volume(&events[new_start..]);
        if self.rejecting.is_none() {
            warn!(
                group = self.group,
                too_old = old,
                too_new = new,
                remedy = "check the clock of this host",
                "CloudWatch rejects events because of their time; they are lost"
            );
        }
        *self.rejecting.get_or_insert_default() += rejected;
        rejected
    }

    fn not_rejected(&mut self) {
        if let Some(Volume { lines, bytes }) = self.rejecting.take() {
            info!(
                group = self.group,
                lines, bytes, "CloudWatch accepts all events again; lines and bytes were rejected since the warning"
            );
        }
    }

    fn accepted(&mut self) {
        self.backoff.reset();
        if self.error.take().is_some() {
            info!(group = self.group, "logs reach CloudWatch again");
        }
    }

    /// Logs a new error once, and waits before the next attempt.
    async fn wait(&mut self, error: DeliveryError, failure: &AwsError) {
        if self.error != Some(error) {
            self.error = Some(error);
            warn!(
                group = self.group,
                error = failure.text,
                remedy = error.remedy(),
                "logs do not reach CloudWatch; they are kept and sent again"
            );
        }
        sleep(self.backoff.next(rand::random())).await;
    }
}

fn volume<M>(events: &[LogEvent<M>]) -> Volume {
    events.iter().map(|event| event.volume).sum()
}

/// The name of a stream that is created `now` (contract): `YYYY/MM/DD/<32 hex digits>`.
pub fn stream_name(now: OffsetDateTime, random: [u8; 16]) -> String {
    format!("{:04}/{:02}/{:02}/{}", now.year(), u8::from(now.month()), now.day(), hex::encode(random))
}

#[cfg(test)]
mod tests;
