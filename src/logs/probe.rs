//! Tests for `check` whether log groups can be written to. Creates one stream with a fixed name in a group, and never a
//! group.

use std::fmt;

use aws_sdk_cloudwatchlogs::Client;
use aws_sdk_cloudwatchlogs::types::InputLogEvent;

use crate::cloud::aws_error::AwsError;
use crate::cloud::{Aws, CloudErrorKind};
use crate::status::now_ms;

/// The stream of all attempts: always the same, so that checking often leaves one stream.
const STREAM: &str = "echostream-managed-app-check";
const CREATE: &str = "logs:CreateLogStream";
const PUT: &str = "logs:PutLogEvents";

/// Kind of a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogErrorKind {
    /// The group does not exist in this region.
    NoGroup,
    /// The AWS credentials of this host lack a permission.
    AccessDenied,
    /// This host has no AWS credentials.
    NoCredentials,
    /// The AWS credentials of this host are not accepted, or have expired.
    Unauthorized,
    /// The event was rejected because of its time: the clock of this host is wrong.
    Clock,
    /// No response, or a failure of the service.
    Unavailable,
    /// Anything else, such as a name that is not allowed.
    Refused,
}

/// A log group cannot be written to. `Display` names no secret.
#[derive(Debug, Clone)]
pub struct LogError {
    kind: LogErrorKind,
    permission: &'static str,
    detail: String,
}

impl LogError {
    /// The kind.
    pub fn kind(&self) -> LogErrorKind {
        self.kind
    }

    /// The IAM permission that the failed call needs.
    pub fn permission(&self) -> &'static str {
        self.permission
    }

    fn of(error: AwsError, permission: &'static str) -> Self {
        Self { kind: kind(error.kind), permission, detail: error.text }
    }
}

impl fmt::Display for LogError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.permission, self.detail)
    }
}

impl std::error::Error for LogError {}

fn kind(kind: CloudErrorKind) -> LogErrorKind {
    match kind {
        CloudErrorKind::NoCredentials => LogErrorKind::NoCredentials,
        CloudErrorKind::Absent => LogErrorKind::NoGroup,
        CloudErrorKind::Denied => LogErrorKind::AccessDenied,
        CloudErrorKind::Expired => LogErrorKind::Unauthorized,
        kind if kind.is_passing() => LogErrorKind::Unavailable,
        _ => LogErrorKind::Refused,
    }
}

/// Tests log groups of one region with the host's AWS credentials.
#[derive(Debug, Clone)]
pub struct LogProbe {
    client: Client,
}

impl LogProbe {
    /// Makes no call.
    pub async fn new(aws: &Aws, region: &str) -> Self {
        Self { client: aws.logs(region).await }
    }

    /// Creates the stream in `group`; a stream of an earlier attempt is a success.
    pub async fn open(&self, group: &str) -> Result<(), LogError> {
        let sent = self.client.create_log_stream().log_group_name(group).log_stream_name(STREAM).send().await;
        match sent.map_err(|error| AwsError::of(&error)) {
            Ok(_) => Ok(()),
            Err(error) if error.kind == CloudErrorKind::AlreadyExists => Ok(()),
            Err(error) => Err(LogError::of(error, CREATE)),
        }
    }

    /// Writes an event to the stream that [`Self::open`] created in `group`.
    pub async fn write(&self, group: &str) -> Result<(), LogError> {
        let refused =
            |detail: &str| LogError { kind: LogErrorKind::Refused, permission: PUT, detail: detail.to_owned() };
        let event = InputLogEvent::builder().timestamp(now_ms()).message("[INFO] echostream-managed-app check");
        let event = event.build().map_err(|_| refused("the event cannot be built"))?;
        let request = self.client.put_log_events().log_group_name(group).log_stream_name(STREAM).log_events(event);
        let response = request.send().await.map_err(|error| LogError::of(AwsError::of(&error), PUT))?;
        match response.rejected_log_events_info() {
            None => Ok(()),
            // CloudWatch responds with status 200 and discards the event.
            Some(_) => {
                Err(LogError { kind: LogErrorKind::Clock, ..refused("the event was rejected because of its time") })
            }
        }
    }
}
