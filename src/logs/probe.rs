//! Real attempts to write to log groups, for people who check a host. Makes one stream of a fixed name in a group, and
//! never a group.

use std::fmt;

use aws_sdk_cloudwatchlogs::Client;
use aws_sdk_cloudwatchlogs::types::InputLogEvent;

use super::clock::now_ms;
use crate::cloud::Aws;
use crate::cloud::failure::{AwsErrorKind, Failure, refuses_keys};

/// The stream of all attempts: always the same, so that checking often leaves one stream.
const STREAM: &str = "echostream-managed-app-check";
const CREATE: &str = "logs:CreateLogStream";
const PUT: &str = "logs:PutLogEvents";
/// What a failure means.
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
    /// The event was rejected for its time: the clock of this host is wrong.
    Clock,
    /// No answer, or a failure of the service.
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
    /// What it means.
    pub fn kind(&self) -> LogErrorKind {
        self.kind
    }

    /// The IAM permission that the failed call needs.
    pub fn permission(&self) -> &'static str {
        self.permission
    }

    fn of(failure: &Failure, permission: &'static str) -> Self {
        Self { kind: kind(failure), permission, detail: failure.text.clone() }
    }
}

impl fmt::Display for LogError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.permission, self.detail)
    }
}

impl std::error::Error for LogError {}

fn kind(failure: &Failure) -> LogErrorKind {
    let code = failure.code.as_str();
    match failure.kind {
        AwsErrorKind::NoCredentials => LogErrorKind::NoCredentials,
        AwsErrorKind::Refused if code == "ResourceNotFoundException" => LogErrorKind::NoGroup,
        AwsErrorKind::Refused if code.contains("AccessDenied") => LogErrorKind::AccessDenied,
        AwsErrorKind::Refused if refuses_keys(code) => LogErrorKind::Unauthorized,
        AwsErrorKind::Refused => LogErrorKind::Refused,
        _ => LogErrorKind::Unavailable,
    }
}

/// Tries the log groups of one region with the host's own AWS credentials.
#[derive(Debug, Clone)]
pub struct LogProbe {
    client: Client,
}

impl LogProbe {
    /// Makes no call.
    pub async fn new(aws: &Aws, region: &str) -> Self {
        Self { client: aws.logs(region).await }
    }

    /// Whether a stream can be made in `group`; a stream that an earlier attempt left will do.
    pub async fn open(&self, group: &str) -> Result<(), LogError> {
        let sent = self.client.create_log_stream().log_group_name(group).log_stream_name(STREAM).send().await;
        match sent.map_err(|error| Failure::of(&error)) {
            Ok(_) => Ok(()),
            Err(failure) if failure.code == "ResourceAlreadyExistsException" => Ok(()),
            Err(failure) => Err(LogError::of(&failure, CREATE)),
        }
    }

    /// Whether an event can be written to the stream that [`Self::open`] makes in `group`; writes one.
    pub async fn write(&self, group: &str) -> Result<(), LogError> {
        let invalid_response =
            |detail: &str| LogError { kind: LogErrorKind::Refused, permission: PUT, detail: detail.to_owned() };
        let event = InputLogEvent::builder().timestamp(now_ms()).message("[INFO] echostream-managed-app check");
        let event = event.build().map_err(|_| invalid_response("the event cannot be built"))?;
        let request = self.client.put_log_events().log_group_name(group).log_stream_name(STREAM).log_events(event);
        let answer = request.send().await.map_err(|error| LogError::of(&Failure::of(&error), PUT))?;
        match answer.rejected_log_events_info() {
            None => Ok(()),
            // CloudWatch says 200 and throws the event away.
            Some(_) => {
                Err(LogError { kind: LogErrorKind::Clock, ..invalid_response("the event was rejected for its time") })
            }
        }
    }
}
