//! Owns the fake of CloudWatch Logs: groups created by tests, streams and events created by clients.
//!
//! Only the calls that the host's role may make are supported; `CreateLogGroup` is denied as in AWS.
mod batch;
mod store;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::{Value as Json, json};
use time::OffsetDateTime;
use wiremock::{Mock, MockServer, Request};

use super::awsjson::{input, invalid, operation, record, respond};
use super::faults::{Failure, Faults};
use super::sigv4::{Access, Parts, Scope, claimed_region};

pub use batch::LogEvent;
pub use store::Batch;

const PREFIX: &str = "Logs_20140328.";

/// The log service of all regions; a cheap handle.
#[derive(Clone)]
pub struct CloudWatch(Arc<Shared>);

struct Shared {
    access: Access,
    faults: Faults,
    store: Mutex<store::Store>,
}

impl fmt::Debug for CloudWatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CloudWatch").finish_non_exhaustive()
    }
}

/// Adds the log service to a server, for credentials of [`Scope::Operator`].
pub async fn mount(server: &MockServer, access: Access) -> CloudWatch {
    let logs = CloudWatch(Arc::new(Shared { access, faults: Faults::default(), store: Mutex::default() }));
    let service = logs.clone();
    Mock::given(|request: &Request| operation(request, PREFIX).is_some())
        .respond_with(move |request: &Request| {
            let outcome = service.answer(request);
            let call = ("logs", operation(request, PREFIX).unwrap_or_default());
            record(&service.0.access, request, call, &outcome);
            respond(outcome, service.faults())
        })
        .mount(server)
        .await;
    logs
}

impl CloudWatch {
    /// Creates a group in a region; no effect when it exists.
    pub fn create_group(&self, region: &str, group: &str) {
        self.lock().create_group(region, group);
    }

    /// The streams of a group in the order of their creation, each with its events in the order of arrival.
    pub fn streams_with_events(&self, region: &str, group: &str) -> Vec<(String, Vec<LogEvent>)> {
        self.lock().streams_with_events(region, group)
    }

    /// Deletes a group with all its streams.
    pub fn delete_group(&self, region: &str, group: &str) {
        self.lock().delete_group(region, group);
    }

    /// The names of a region's groups, sorted.
    pub fn groups(&self, region: &str) -> Vec<String> {
        self.lock().groups(region)
    }

    /// The names of a group's streams, sorted; empty for an unknown group.
    pub fn streams(&self, region: &str, group: &str) -> Vec<String> {
        self.lock().streams(region, group)
    }

    /// The events of all streams of a group, by time; of each stream the newest 1,000,000 are kept.
    pub fn events(&self, region: &str, group: &str) -> Vec<LogEvent> {
        self.lock().events(region, group)
    }

    /// The events of one stream, in the order of arrival.
    pub fn stream_events(&self, region: &str, group: &str, stream: &str) -> Vec<LogEvent> {
        self.lock().stream_events(region, group, stream)
    }

    /// The accepted content of each `PutLogEvents`, oldest first; the newest 10,000 are kept.
    pub fn batches(&self) -> Vec<Batch> {
        self.lock().batches()
    }

    /// Number of calls of an operation, rejected calls included; the name as `PutLogEvents`.
    pub fn calls(&self, operation: &str) -> usize {
        self.lock().calls(operation)
    }

    /// Sets the maximum size of an event, including 26 bytes of overhead. At first the older limit, 262,144, which is
    /// safe everywhere; AWS accepts 1,048,576 since 2025.
    pub fn set_event_bytes_max(&self, bytes: usize) {
        self.lock().event_bytes_max = bytes;
    }

    /// Sets the offset of the clock that decides whether events are too old or too new, as if their times were wrong.
    /// Signatures are not affected.
    pub fn set_clock_offset(&self, offset: time::Duration) {
        self.lock().clock_offset = offset;
    }

    /// Fault injection of the service.
    pub fn faults(&self) -> &Faults {
        &self.0.faults
    }

    fn answer(&self, request: &Request) -> Result<Json, Failure> {
        let operation = operation(request, PREFIX).unwrap_or_default();
        self.lock().count_call(operation);
        self.faults().take_for("logs", operation)?;
        let region = claimed_region(&request.headers)?;
        self.0.access.verify(&Parts::from(request), &request.body, "logs", region, Scope::Operator)?;
        let input = input(request)?;
        let mut store = self.lock();
        match operation {
            "CreateLogStream" => create_stream(&mut store, region, &input),
            "PutLogEvents" => put_events(&mut store, region, &input),
            "DescribeLogGroups" => Ok(describe_groups(&store, region, &input)),
            "DescribeLogStreams" => describe_streams(&store, region, &input),
            "CreateLogGroup" => Err(Failure::new(400, "AccessDeniedException", "not authorized: logs:CreateLogGroup")),
            _ => Err(Failure::new(400, "UnknownOperationException", "the operation is not known here")),
        }
    }

    fn lock(&self) -> MutexGuard<'_, store::Store> {
        self.0.store.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn create_stream(store: &mut store::Store, region: &str, input: &Json) -> Result<Json, Failure> {
    let (group, stream) = (group_name(input)?, name(input, "logStreamName")?);
    if stream.len() > 512 || stream.contains([':', '*']) {
        return Err(invalid("Value at 'logStreamName' failed to satisfy constraint: [^:*]*, at most 512"));
    }
    store.create_stream(region, group, stream, now_ms())?;
    Ok(json!({}))
}

fn put_events(store: &mut store::Store, region: &str, input: &Json) -> Result<Json, Failure> {
    let (group, stream) = (group_name(input)?, name(input, "logStreamName")?);
    let events = batch::parse(&input["logEvents"])?;
    let bytes = batch::check(&events, store.event_bytes_max)?;
    let now_ms = now_ms() + i64::try_from(store.clock_offset.whole_milliseconds()).unwrap_or(0);
    let verdict = batch::check_age(&events, now_ms);
    let accepted = events[verdict.accepted()].to_vec();
    store.put(region, group, stream, accepted, bytes)?;
    let mut answer = json!({ "nextSequenceToken": format!("{:032x}", rand::random::<u128>()) });
    if let Some(rejected) = verdict.rejected() {
        answer["rejectedLogEventsInfo"] = rejected;
    }
    Ok(answer)
}

fn describe_groups(store: &store::Store, region: &str, input: &Json) -> Json {
    let prefix = input["logGroupNamePrefix"].as_str().unwrap_or("");
    let arn = |group: &str| format!("arn:aws:logs:{region}:123456789012:log-group:{group}:*");
    let groups = store.groups(region).into_iter().filter(|group| group.starts_with(prefix));
    let groups: Vec<Json> = groups.map(|group| json!({ "logGroupName": group, "arn": arn(&group) })).collect();
    json!({ "logGroups": groups })
}

fn describe_streams(store: &store::Store, region: &str, input: &Json) -> Result<Json, Failure> {
    let group = group_name(input)?;
    let prefix = input["logStreamNamePrefix"].as_str().unwrap_or("");
    store.require_group(region, group)?;
    let streams = store.streams(region, group).into_iter().filter(|stream| stream.starts_with(prefix));
    let streams: Vec<Json> = streams.map(|stream| json!({ "logStreamName": stream })).collect();
    Ok(json!({ "logStreams": streams }))
}

fn group_name(input: &Json) -> Result<&str, Failure> {
    let group = name(input, "logGroupName")?;
    let is_valid = group.len() <= 512 && group.chars().all(|c| c.is_ascii_alphanumeric() || "._-/#".contains(c));
    let constraint = "Value at 'logGroupName' failed to satisfy constraint: [\\.\\-_/#A-Za-z0-9]+, at most 512";
    is_valid.then_some(group).ok_or_else(|| invalid(constraint))
}

fn name<'a>(input: &'a Json, field: &str) -> Result<&'a str, Failure> {
    let missing = || invalid(format!("Value at '{field}' failed to satisfy constraint: Member must not be null"));
    input[field].as_str().filter(|text| !text.is_empty()).ok_or_else(missing)
}

fn now_ms() -> i64 {
    let now = OffsetDateTime::now_utc();
    now.unix_timestamp() * 1000 + i64::from(now.millisecond())
}
