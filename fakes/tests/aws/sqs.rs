//! The fake queues, tested with the real AWS client.
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use aws_sdk_sqs::Client;
use aws_sdk_sqs::error::ProvideErrorMetadata;
use aws_sdk_sqs::types::{DeleteMessageBatchRequestEntry, Message, MessageAttributeValue, MessageSystemAttributeName};
use managed_app_fakes::cloud::sigv4::{Access, Scope};
use managed_app_fakes::cloud::sqs::{FifoQueues, Outgoing, Server, serve};
use time::OffsetDateTime;

use crate::client::{self, REGION, eventually};

/// Much longer than a wake-up on a busy machine, and shorter than a long poll.
const WAKE_UP_MAX: Duration = Duration::from_secs(15);

struct Fixture {
    queues: FifoQueues,
    access: Access,
    server: Server,
    url: String,
    client: Client,
}

async fn fixture() -> Fixture {
    let (queues, access) = (FifoQueues::new(REGION), Access::new());
    access.allow("AKIAAPP", "app-secret", Some("app-token"), Scope::App, None);
    let server = serve(queues.clone(), access.clone()).await.expect("a free port");
    let client = connect(&server, "AKIAAPP", "app-secret", Some("app-token"), REGION).await;
    let url = queues.create("edge.fifo");
    Fixture { queues, access, server, url, client }
}

async fn connect(server: &Server, id: &str, secret: &str, token: Option<&str>, region: &'static str) -> Client {
    Client::new(&client::config(&server.endpoint(), id, secret, token, region).await)
}

fn message(group: &str, id: &str) -> Outgoing {
    let attributes = BTreeMap::from([("trackingId".to_owned(), format!("track-{id}"))]);
    Outgoing { body: format!("body of {id}"), attributes, group: group.to_owned(), deduplication_id: id.to_owned() }
}

impl Fixture {
    fn send(&self, group: &str, id: &str) -> String {
        self.queues.send(&self.url, message(group, id))
    }

    async fn receive(&self, max: i32, wait: i32) -> Vec<Message> {
        let call = self.client.receive_message().queue_url(&self.url).max_number_of_messages(max);
        let call = call.wait_time_seconds(wait).message_attribute_names("All");
        let call = call.message_system_attribute_names(MessageSystemAttributeName::All);
        call.send().await.expect("receive").messages.unwrap_or_default()
    }

    async fn bodies(&self, max: i32, wait: i32) -> Vec<String> {
        self.receive(max, wait).await.into_iter().map(|message| message.body.unwrap_or_default()).collect()
    }

    async fn delete(&self, message: &Message) {
        let handle = message.receipt_handle().expect("a receipt");
        self.client.delete_message().queue_url(&self.url).receipt_handle(handle).send().await.expect("delete");
    }

    async fn refusal(&self, client: &Client) -> Option<String> {
        let result = client.receive_message().queue_url(&self.url).send().await;
        result.err().and_then(|error| error.code().map(str::to_owned))
    }
}

#[tokio::test]
async fn messages_arrive_with_attributes_and_right_sums() {
    let fixture = fixture().await;
    let id = fixture.send("a", "1");
    let messages = fixture.receive(10, 0).await;
    let [message] = messages.as_slice() else { panic!("one message, not {messages:?}") };
    assert_eq!(message.message_id(), Some(id.as_str()));
    assert_eq!(message.body(), Some("body of 1"));
    let tracking = message.message_attributes().and_then(|all| all.get("trackingId"));
    assert_eq!(tracking.and_then(|value| value.string_value()), Some("track-1"));
    // Sums computed once with boto's own method for these values.
    assert_eq!(message.md5_of_body(), Some("cb5b8e9b8c7fcd1704ad192b0adc298b"));
    assert_eq!(message.md5_of_message_attributes(), Some("8ecb68a1e4867b81898fce7f96c49973"));
    let system = message.attributes().expect("system attributes");
    let of = |name| system.get(&name).map(String::as_str);
    assert_eq!(of(MessageSystemAttributeName::MessageGroupId), Some("a"));
    assert_eq!(of(MessageSystemAttributeName::MessageDeduplicationId), Some("1"));
    assert_eq!(of(MessageSystemAttributeName::ApproximateReceiveCount), Some("1"));
    assert!(of(MessageSystemAttributeName::SequenceNumber).is_some_and(|number| number.len() == 20));
    let sent: i128 = of(MessageSystemAttributeName::SentTimestamp).and_then(|text| text.parse().ok()).expect("a time");
    assert!((OffsetDateTime::now_utc().unix_timestamp_nanos() / 1_000_000 - sent).abs() < 60_000);
}

#[tokio::test]
async fn a_new_message_wakes_a_long_poll() {
    let fixture = fixture().await;
    for round in 0..5 {
        let poll = fixture.receive(10, 20);
        let send = async {
            eventually("the poll waits", || fixture.queues.waiting() == 1).await;
            let sent = Instant::now();
            fixture.send("a", &round.to_string());
            sent
        };
        let (messages, sent) = tokio::join!(poll, send);
        let elapsed = sent.elapsed();
        println!("woken after {elapsed:?}");
        assert_eq!(messages.len(), 1);
        assert!(elapsed < WAKE_UP_MAX, "woken after {elapsed:?}");
        fixture.delete(&messages[0]).await;
    }
}

#[tokio::test]
async fn a_long_poll_without_messages_ends_empty_in_time() {
    let fixture = fixture().await;
    let start = Instant::now();
    assert!(fixture.receive(10, 1).await.is_empty());
    assert!(start.elapsed() >= Duration::from_secs(1));
}

#[tokio::test]
async fn a_client_that_goes_away_takes_no_message() {
    let fixture = fixture().await;
    // The first arm is dropped while it waits.
    tokio::select! {
        messages = fixture.receive(10, 20) => panic!("nothing was there to receive, not {messages:?}"),
        () = eventually("the poll waits", || fixture.queues.waiting() == 1) => {}
    }
    eventually("the server notices", || fixture.queues.waiting() == 0).await;
    fixture.send("a", "1");
    assert_eq!(fixture.queues.in_flight(&fixture.url), 0);
    assert_eq!(fixture.bodies(10, 0).await, ["body of 1"]);
}

#[tokio::test]
async fn a_group_in_flight_is_held_back_until_deletion() {
    let fixture = fixture().await;
    for (group, id) in [("a", "1"), ("a", "2"), ("b", "3")] {
        fixture.send(group, id);
    }
    let first = fixture.receive(1, 0).await;
    assert_eq!(first[0].body(), Some("body of 1"));
    assert_eq!(fixture.bodies(10, 0).await, ["body of 3"], "group a is in flight");
    let (next, ()) = tokio::join!(fixture.bodies(10, 20), async {
        eventually("the poll waits", || fixture.queues.waiting() == 1).await;
        fixture.delete(&first[0]).await;
    });
    assert_eq!(next, ["body of 2"], "the deletion frees group a and wakes the poll");
    assert_eq!(fixture.queues.pending(&fixture.url), 2);
}

#[tokio::test]
async fn a_message_is_redelivered_after_its_visibility_timeout() {
    let fixture = fixture().await;
    fixture.queues.set_visibility(&fixture.url, Duration::from_millis(200));
    fixture.send("a", "1");
    let first = fixture.receive(10, 0).await;
    let second = fixture.receive(10, 20).await;
    let count = second[0].attributes().and_then(|all| all.get(&MessageSystemAttributeName::ApproximateReceiveCount));
    assert_eq!(count.map(String::as_str), Some("2"));
    let stale = first[0].receipt_handle().expect("a receipt");
    let result = fixture.client.delete_message().queue_url(&fixture.url).receipt_handle(stale).send().await;
    assert_eq!(result.err().and_then(|e| e.code().map(str::to_owned)).as_deref(), Some("InvalidParameterValue"));
    assert_eq!(fixture.queues.pending(&fixture.url), 1);
}

#[tokio::test]
async fn zero_visibility_redelivers_a_message_at_once() {
    let fixture = fixture().await;
    fixture.send("a", "1");
    let first = fixture.receive(10, 0).await;
    let handle = first[0].receipt_handle().expect("a receipt");
    let call = fixture.client.change_message_visibility().queue_url(&fixture.url).receipt_handle(handle);
    call.visibility_timeout(0).send().await.expect("change visibility");
    assert_eq!(fixture.bodies(10, 0).await, ["body of 1"]);
}

#[tokio::test]
async fn deletion_in_batches_reports_bad_entries() {
    let fixture = fixture().await;
    fixture.send("a", "1");
    fixture.send("b", "2");
    let messages = fixture.receive(10, 0).await;
    fixture.queues.fail_next_deletes(1);
    let entry = |id: &str, handle: &str| {
        DeleteMessageBatchRequestEntry::builder().id(id).receipt_handle(handle).build().expect("an entry")
    };
    let handles: Vec<&str> = messages.iter().filter_map(Message::receipt_handle).collect();
    let call = fixture.client.delete_message_batch().queue_url(&fixture.url);
    let call = call.entries(entry("x", handles[0])).entries(entry("y", handles[1])).entries(entry("z", "garbage"));
    let output = call.send().await.expect("the call itself succeeds");
    let failed: Vec<(&str, &str)> = output.failed().iter().map(|entry| (entry.id(), entry.code())).collect();
    assert_eq!(failed, [("x", "ReceiptHandleIsInvalid"), ("z", "ReceiptHandleIsInvalid")]);
    assert_eq!(output.successful().iter().map(|entry| entry.id()).collect::<Vec<_>>(), ["y"]);
    assert_eq!(fixture.queues.pending(&fixture.url), 1);
}

#[tokio::test]
async fn batches_beyond_the_limits_are_refused() {
    let fixture = fixture().await;
    let code = async |ids: &[String]| {
        let mut call = fixture.client.delete_message_batch().queue_url(&fixture.url).set_entries(Some(vec![]));
        for id in ids {
            let entry = DeleteMessageBatchRequestEntry::builder().id(id).receipt_handle("h").build().expect("an entry");
            call = call.entries(entry);
        }
        call.send().await.err().and_then(|error| error.code().map(str::to_owned)).expect("a refusal")
    };
    let eleven: Vec<String> = (0..11).map(|id| id.to_string()).collect();
    let prefix = "AWS.SimpleQueueService.";
    assert_eq!(code(&[]).await, format!("{prefix}EmptyBatchRequest"));
    assert_eq!(code(&eleven).await, format!("{prefix}TooManyEntriesInBatchRequest"));
    assert_eq!(code(&["a".to_owned(), "a".to_owned()]).await, format!("{prefix}BatchEntryIdsNotDistinct"));
}

#[tokio::test]
async fn the_wire_sends_by_the_rules_of_fifo() {
    let fixture = fixture().await;
    let send = |group: Option<&str>, id: Option<&str>| {
        let call = fixture.client.send_message().queue_url(&fixture.url).message_body("hello");
        let attribute =
            MessageAttributeValue::builder().data_type("Number").string_value("7").build().expect("complete");
        let call = call.message_attributes("n", attribute);
        call.set_message_group_id(group.map(str::to_owned)).set_message_deduplication_id(id.map(str::to_owned)).send()
    };
    let first = send(Some("g"), Some("d")).await.expect("sent");
    let again = send(Some("g"), Some("d")).await.expect("taken for the first");
    assert_eq!((first.message_id(), first.sequence_number()), (again.message_id(), again.sequence_number()));
    assert_eq!(fixture.queues.pending(&fixture.url), 1);
    let no_group = send(None, Some("e")).await.expect_err("a group is required");
    assert_eq!(no_group.code(), Some("MissingParameter"));
    let no_id = send(Some("g"), None).await.expect_err("an id is required");
    assert_eq!(no_id.code(), Some("InvalidParameterValue"));
}

#[tokio::test]
async fn queues_are_created_found_and_deleted() {
    let fixture = fixture().await;
    let create = |name: &str| {
        let fifo = aws_sdk_sqs::types::QueueAttributeName::FifoQueue;
        fixture.client.create_queue().queue_name(name).attributes(fifo, "true").send()
    };
    assert!(create("plain").await.is_err(), "a FIFO name is required");
    let url = create("other.fifo").await.expect("created").queue_url.expect("a URL");
    assert!(url.starts_with(&fixture.server.endpoint()));
    let found = fixture.client.get_queue_url().queue_name("other.fifo").send().await.expect("found");
    assert_eq!(found.queue_url(), Some(url.as_str()));
    let call = fixture.client.get_queue_attributes().queue_url(&url);
    let all = call.attribute_names(aws_sdk_sqs::types::QueueAttributeName::All).send().await.expect("attributes");
    let arn = all.attributes().and_then(|all| all.get(&aws_sdk_sqs::types::QueueAttributeName::QueueArn)).cloned();
    assert_eq!(arn, Some(format!("arn:aws:sqs:{REGION}:123456789012:other.fifo")));
    let aws_form = format!("https://sqs.{REGION}.amazonaws.com/123456789012/other.fifo");
    fixture.client.purge_queue().queue_url(&aws_form).send().await.expect("purged by its other form");
    fixture.client.delete_queue().queue_url(&url).send().await.expect("deleted");
    let gone = fixture.client.receive_message().queue_url(&url).send().await.expect_err("gone");
    assert!(gone.as_service_error().is_some_and(|error| error.is_queue_does_not_exist()));
    assert_eq!(gone.code(), Some("AWS.SimpleQueueService.NonExistentQueue"));
}

#[tokio::test]
async fn a_deleted_queue_ends_its_long_polls() {
    let fixture = fixture().await;
    let (code, ()) = tokio::join!(
        async {
            let call = fixture.client.receive_message().queue_url(&fixture.url).wait_time_seconds(20).send();
            call.await.err().and_then(|error| error.code().map(str::to_owned))
        },
        async {
            eventually("the poll waits", || fixture.queues.waiting() == 1).await;
            fixture.queues.delete(&fixture.url);
        }
    );
    assert_eq!(code.as_deref(), Some("AWS.SimpleQueueService.NonExistentQueue"));
}

#[tokio::test]
async fn wrong_credentials_are_refused_by_name() {
    let fixture = fixture().await;
    let access = &fixture.access;
    let past = OffsetDateTime::now_utc() - Duration::from_secs(1);
    access.allow("AKIAOLD", "old", None, Scope::App, Some(past));
    access.allow("AKIAOPERATOR", "operator", None, Scope::Operator, None);
    let cases: [(&str, &str, Option<&str>, &'static str, &str); 6] = [
        ("AKIANOBODY", "secret", None, REGION, "InvalidClientTokenId"),
        ("AKIAAPP", "app-secret", None, REGION, "InvalidClientTokenId"),
        ("AKIAAPP", "wrong", Some("app-token"), REGION, "SignatureDoesNotMatch"),
        ("AKIAAPP", "app-secret", Some("app-token"), "eu-west-3", "SignatureDoesNotMatch"),
        ("AKIAOLD", "old", None, REGION, "ExpiredToken"),
        ("AKIAOPERATOR", "operator", None, REGION, "AccessDenied"),
    ];
    for (id, secret, token, region, expected) in cases {
        let client = connect(&fixture.server, id, secret, token, region).await;
        assert_eq!(fixture.refusal(&client).await.as_deref(), Some(expected), "{id} {secret} {region}");
    }
    access.revoke("AKIAAPP");
    assert_eq!(fixture.refusal(&fixture.client).await.as_deref(), Some("InvalidClientTokenId"));
}

#[tokio::test]
async fn sqs_faults_fail_stall_duplicate_and_redeliver() {
    let fixture = fixture().await;
    let queues = &fixture.queues;
    queues.fail_next(1, 400, "OverLimit");
    assert_eq!(fixture.refusal(&fixture.client).await.as_deref(), Some("OverLimit"));
    queues.stall();
    let before = queues.calls("ReceiveMessage");
    fixture.send("a", "1");
    let (bodies, ()) = tokio::join!(fixture.bodies(10, 0), async {
        eventually("the call arrives", || queues.calls("ReceiveMessage") > before).await;
        assert_eq!(queues.in_flight(&fixture.url), 0, "a stalled call takes nothing");
        queues.release();
    });
    assert_eq!(bodies, ["body of 1"]);
    queues.purge(&fixture.url);

    queues.duplicate_next(1);
    fixture.send("b", "2");
    let doubled = fixture.receive(10, 0).await;
    assert_eq!(doubled.iter().map(|m| m.body().unwrap_or_default()).collect::<Vec<_>>(), ["body of 2"; 2]);
    assert_ne!(doubled[0].message_id(), doubled[1].message_id());

    queues.redeliver_next(1);
    fixture.delete(&doubled[0]).await;
    fixture.delete(&doubled[1]).await;
    let again = fixture.receive(10, 0).await;
    assert_eq!(again.iter().map(Message::message_id).collect::<Vec<_>>(), [doubled[0].message_id()]);
}

#[tokio::test]
async fn dropping_the_server_ends_waiting_calls() {
    let Fixture { queues, server, url, client, access: _access } = fixture().await;
    let call = client.receive_message().queue_url(&url).wait_time_seconds(20).send();
    let (result, ()) = tokio::join!(call, async {
        eventually("the poll waits", || queues.waiting() == 1).await;
        drop(server);
    });
    assert!(result.is_err());
    assert_eq!(queues.waiting(), 0);
}

#[tokio::test]
async fn parallel_receivers_get_each_message_once_and_groups_in_order() {
    const GROUPS: usize = 4;
    const EACH: usize = 10;
    let fixture = fixture().await;
    let seen = Mutex::new(Vec::new());
    let receiver = async || {
        while seen.lock().expect("no panic holds it").len() < GROUPS * EACH {
            for message in fixture.receive(3, 1).await {
                seen.lock().expect("no panic holds it").push(message.body().unwrap_or_default().to_owned());
                fixture.delete(&message).await;
            }
        }
    };
    let sender = async {
        for number in 0..EACH {
            for group in 0..GROUPS {
                fixture.send(&group.to_string(), &format!("{group}-{number}"));
                tokio::task::yield_now().await;
            }
        }
    };
    tokio::join!(receiver(), receiver(), receiver(), sender);
    let seen = seen.into_inner().expect("no panic held it");
    assert_eq!(seen.len(), GROUPS * EACH);
    for group in 0..GROUPS {
        let prefix = format!("body of {group}-");
        let of_group: Vec<&String> = seen.iter().filter(|body| body.starts_with(&prefix)).collect();
        assert!(of_group.is_sorted() && of_group.len() == EACH, "{of_group:?}");
    }
    assert_eq!(fixture.queues.pending(&fixture.url), 0);
}

#[tokio::test]
async fn a_second_server_outlives_the_first() {
    let Fixture { queues, access, server: first, url, .. } = fixture().await;
    let second = serve(queues.clone(), access).await.expect("a free port");
    drop(first);
    queues.send(&url, message("a", "1"));
    let client = connect(&second, "AKIAAPP", "app-secret", Some("app-token"), REGION).await;
    let output = client.receive_message().queue_url(&url).send().await.expect("the second server answers");
    assert_eq!(output.messages().len(), 1);
}
