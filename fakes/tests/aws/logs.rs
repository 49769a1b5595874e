//! CloudWatch Logs.
use aws_sdk_cloudwatchlogs::Client;
use aws_sdk_cloudwatchlogs::error::ProvideErrorMetadata;
use aws_sdk_cloudwatchlogs::operation::put_log_events::PutLogEventsOutput;
use aws_sdk_cloudwatchlogs::types::InputLogEvent;
use managed_app_fakes::cloud::logs::{self, CloudWatch};
use managed_app_fakes::cloud::sigv4::{Access, Scope};
use time::OffsetDateTime;
use wiremock::MockServer;

use crate::client::{self, REGION};

const GROUP: &str = "app/node/Node-1.x#_";
const STREAM: &str = "2026/11/22/0123456789abcdef0123456789abcdef";
const HOUR_MS: i64 = 3_600_000;

struct Fixture {
    logs: CloudWatch,
    client: Client,
    _server: MockServer,
}

async fn fixture() -> Fixture {
    let (server, access) = (MockServer::start().await, Access::new());
    access.allow("AKIAHOST", "host-secret", None, Scope::Operator, None);
    let logs = logs::mount(&server, access).await;
    logs.create_group(REGION, GROUP);
    let config = client::config(&server.uri(), "AKIAHOST", "host-secret", None, REGION).await;
    Fixture { logs, client: Client::new(&config), _server: server }
}

fn now_ms() -> i64 {
    OffsetDateTime::now_utc().unix_timestamp() * 1000
}

impl Fixture {
    async fn create(&self, group: &str, stream: &str) -> Result<(), String> {
        let call = self.client.create_log_stream().log_group_name(group).log_stream_name(stream);
        call.send().await.map(|_| ()).map_err(|error| error.code().unwrap_or("no code").to_owned())
    }

    async fn put(&self, stream: &str, events: &[(i64, &str)]) -> Result<PutLogEventsOutput, String> {
        let event = |(time, text): &(i64, &str)| {
            InputLogEvent::builder().timestamp(*time).message(*text).build().expect("complete")
        };
        let call = self.client.put_log_events().log_group_name(GROUP).log_stream_name(stream);
        let call = call.set_log_events(Some(events.iter().map(event).collect()));
        call.send().await.map_err(|error| error.code().unwrap_or("no code").to_owned())
    }

    fn texts(&self) -> Vec<String> {
        self.logs.events(REGION, GROUP).into_iter().map(|event| event.message).collect()
    }
}

#[tokio::test]
async fn events_are_stored_by_group_and_stream() {
    let fixture = fixture().await;
    let now = now_ms();
    assert_eq!(fixture.create(GROUP, STREAM).await, Ok(()));
    assert_eq!(fixture.create(GROUP, "other").await, Ok(()));
    let output = fixture.put(STREAM, &[(now, "one"), (now + 2, "three\nlines\n")]).await.expect("accepted");
    assert!(output.rejected_log_events_info().is_none());
    fixture.put("other", &[(now + 1, "two")]).await.expect("accepted");
    assert_eq!(fixture.texts(), ["one", "two", "three\nlines\n"]);
    assert_eq!(fixture.logs.stream_events(REGION, GROUP, STREAM).len(), 2);
    assert_eq!(fixture.logs.streams(REGION, GROUP), [STREAM, "other"]);
    let batches = fixture.logs.batches();
    assert_eq!(batches.iter().map(|batch| (batch.accepted, batch.bytes)).collect::<Vec<_>>(), [(2, 67), (1, 29)]);
    assert_eq!(fixture.logs.calls("PutLogEvents"), 2);
}

#[tokio::test]
async fn streams_need_a_group_and_are_created_once() {
    let fixture = fixture().await;
    assert_eq!(fixture.create("nowhere", STREAM).await, Err("ResourceNotFoundException".to_owned()));
    assert_eq!(fixture.put(STREAM, &[(now_ms(), "x")]).await.err().as_deref(), Some("ResourceNotFoundException"));
    assert_eq!(fixture.create(GROUP, STREAM).await, Ok(()));
    assert_eq!(fixture.create(GROUP, STREAM).await, Err("ResourceAlreadyExistsException".to_owned()));
    assert_eq!(fixture.create("a b", STREAM).await, Err("InvalidParameterException".to_owned()));
    assert_eq!(fixture.create(GROUP, "bad:name").await, Err("InvalidParameterException".to_owned()));
    fixture.logs.delete_group(REGION, GROUP);
    assert_eq!(fixture.put(STREAM, &[(now_ms(), "x")]).await.err().as_deref(), Some("ResourceNotFoundException"));
}

#[tokio::test]
async fn bad_batches_are_refused_and_rejected_events_named() {
    let fixture = fixture().await;
    assert_eq!(fixture.create(GROUP, STREAM).await, Ok(()));
    let now = now_ms();
    let invalid = Some("InvalidParameterException".to_owned());
    assert_eq!(fixture.put(STREAM, &[]).await.err(), invalid);
    assert_eq!(fixture.put(STREAM, &[(now, "b"), (now - 1, "a")]).await.err(), invalid);
    assert_eq!(fixture.put(STREAM, &[(now - 25 * HOUR_MS, "a"), (now, "b")]).await.err(), invalid);
    assert_eq!(fixture.put(STREAM, &[(now, &"x".repeat(262_119))]).await.err(), invalid);
    assert!(fixture.texts().is_empty());

    let output = fixture.put(STREAM, &[(now, "fits"), (now + 3 * HOUR_MS, "too new")]).await.expect("answered");
    let info = output.rejected_log_events_info().expect("one rejected");
    assert_eq!((info.too_new_log_event_start_index(), info.too_old_log_event_end_index()), (Some(1), None));
    let fortnight = 14 * 24 * HOUR_MS;
    let old = [(now - fortnight - HOUR_MS, "too old"), (now - fortnight + HOUR_MS, "just in time")];
    let output = fixture.put(STREAM, &old).await.expect("answered");
    let info = output.rejected_log_events_info().expect("one rejected");
    assert_eq!((info.too_new_log_event_start_index(), info.too_old_log_event_end_index()), (None, Some(1)));
    assert_eq!(fixture.texts(), ["just in time", "fits"]);
}

#[tokio::test]
async fn log_faults_throttle_deny_and_stop_the_service() {
    let fixture = fixture().await;
    let faults = fixture.logs.faults();
    faults.fail_next(1, 400, "ThrottlingException");
    assert_eq!(fixture.create(GROUP, STREAM).await, Err("ThrottlingException".to_owned()));
    faults.set_outage(true);
    assert_eq!(fixture.create(GROUP, STREAM).await, Err("ServiceUnavailableException".to_owned()));
    faults.set_outage(false);
    faults.set_denied(true);
    assert_eq!(fixture.create(GROUP, STREAM).await, Err("AccessDeniedException".to_owned()));
    faults.clear();
    assert_eq!(fixture.create(GROUP, STREAM).await, Ok(()));
}

#[tokio::test]
async fn groups_and_streams_are_listed_but_not_created() {
    let fixture = fixture().await;
    assert_eq!(fixture.create(GROUP, STREAM).await, Ok(()));
    let groups = fixture.client.describe_log_groups().log_group_name_prefix("app/").send().await.expect("groups");
    let names: Vec<_> = groups.log_groups().iter().filter_map(|group| group.log_group_name()).collect();
    assert_eq!(names, [GROUP]);
    let streams = fixture.client.describe_log_streams().log_group_name(GROUP).send().await.expect("streams");
    let names: Vec<_> = streams.log_streams().iter().filter_map(|stream| stream.log_stream_name()).collect();
    assert_eq!(names, [STREAM]);
    let refused = fixture.client.create_log_group().log_group_name("new").send().await.expect_err("not allowed");
    assert_eq!(refused.code(), Some("AccessDeniedException"));
}
