//! Tests of the delivery with the fake CloudWatch, which checks every limit and injects faults.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider, future};
use managed_app_fakes::FakeCloud;

use super::*;
use crate::cloud::{AwsOptions, testing};
use crate::logs::batch::{BATCH_BYTES_MAX, Batcher};
use crate::model::NodeName;
use crate::status::Numbers;
use crate::status::now_ms;

const REGION: &str = "us-east-1";
const GROUP: &str = "/plant/node/a";

struct Harness {
    cloud: FakeCloud,
    delivery: Delivery,
    numbers: Numbers,
}

impl Harness {
    async fn new() -> Self {
        let cloud = FakeCloud::start().await;
        let aws = testing::aws(&cloud);
        Self::with(cloud, aws)
    }

    fn with(cloud: FakeCloud, aws: Arc<Aws>) -> Self {
        cloud.cloudwatch.create_group(REGION, GROUP);
        let numbers = Numbers::default();
        let counter = numbers.counter(&node());
        Self { cloud, delivery: Delivery::new(Arc::new(LogService::new(aws, REGION)), GROUP, counter), numbers }
    }

    async fn deliver(&mut self, events: &[(i64, &str)]) -> Delivered {
        let batch = batch(events);
        tokio::time::timeout(testing::SOON * 2, self.delivery.deliver(&batch)).await.expect("it is delivered in time")
    }

    fn texts(&self) -> Vec<String> {
        self.cloud.cloudwatch.events(REGION, GROUP).into_iter().map(|event| event.message).collect()
    }
}

fn node() -> NodeName {
    NodeName::new("a").expect("a good name")
}

/// A batch with these events, in any order of time.
fn batch(events: &[(i64, &str)]) -> Batch<()> {
    let events: Vec<_> = events.iter().map(|(at_ms, text)| LogEvent::record(*at_ms, *text)).collect();
    Batch { bytes: events.iter().map(LogEvent::bytes).sum(), events }
}

#[tokio::test]
async fn one_delivery_uses_one_stream_with_the_contracts_name() {
    let mut harness = Harness::new().await;
    let now = now_ms();
    assert_eq!(harness.deliver(&[(now, "one"), (now + 1, "two\nlines")]).await, Delivered::default());
    assert_eq!(harness.deliver(&[(now + 2, "three")]).await, Delivered::default());
    assert_eq!(harness.texts(), ["one", "two\nlines", "three"]);
    let streams = harness.cloud.cloudwatch.streams(REGION, GROUP);
    let parts: Vec<usize> = streams[0].split('/').map(str::len).collect();
    assert_eq!((streams.len(), parts), (1, vec![4, 2, 2, 32]), "{streams:?}");
}

#[tokio::test]
async fn the_largest_batch_is_accepted() {
    let mut harness = Harness::new().await;
    let mut batcher = Batcher::new(BATCH_BYTES_MAX);
    for number in 0..30_000 {
        batcher.push(LogEvent::record(now_ms(), format!("{number:>60}")), now_ms()).expect("it is new");
    }
    let batch = batcher.pop_full().expect("more than one batch");
    assert_eq!(batch.events.len(), 10_000);
    assert_eq!(harness.delivery.deliver(&batch).await, Delivered::default());
    let text = "x".repeat(super::super::EVENT_TEXT_BYTES_MAX);
    harness.deliver(&[(now_ms(), &text), (now_ms(), &text), (now_ms(), &text), (now_ms(), &text)]).await;
    assert_eq!(harness.cloud.cloudwatch.batches().last().map(|batch| batch.bytes), Some(BATCH_BYTES_MAX));
}

#[tokio::test]
async fn too_old_or_too_new_events_are_counted_the_rest_accepted() {
    let mut harness = Harness::new().await;
    let (now, hour, day) = (now_ms(), 3_600_000, 86_400_000);
    let rejected = |lines, bytes| Delivered { rejected: Volume { lines, bytes }, lost: Volume::default() };
    let old = [(now - 14 * day - hour, "too old"), (now - 14 * day + hour, "old")];
    assert_eq!(harness.deliver(&old).await, rejected(1, 8));
    assert_eq!(harness.deliver(&[(now, "now"), (now + 3 * hour, "too new")]).await, rejected(1, 8));
    assert_eq!(harness.texts(), ["old", "now"]);
}

/// With a wrong clock every batch has rejected events, and a line for each would fill the log.
#[tokio::test]
async fn rejections_are_logged_once_until_a_batch_is_accepted() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("log");
    let log = Arc::new(std::fs::File::create(&path).expect("a file"));
    let _here = tracing::subscriber::set_default(tracing_subscriber::fmt().with_writer(log).with_ansi(false).finish());
    let mut harness = Harness::new().await;
    let (now, hour) = (now_ms(), 3_600_000);
    for round in 1..=2 {
        for _ in 0..3 {
            harness.deliver(&[(now, "now"), (now + 3 * hour, "too new")]).await;
        }
        harness.deliver(&[(now, "all is well")]).await;
        let logged = std::fs::read_to_string(&path).expect("text");
        assert_eq!(logged.matches("CloudWatch rejects events").count(), round, "{logged}");
        assert_eq!(logged.matches("lines=3 bytes=24").count(), round, "{logged}");
    }
}

#[tokio::test]
async fn delivery_survives_throttling_outages_and_a_lost_stream() {
    let mut harness = Harness::new().await;
    let faults = harness.cloud.cloudwatch.faults().clone();
    faults.fail_next(1, 400, "ThrottlingException");
    faults.fail_next(1, 503, "ServiceUnavailableException");
    harness.deliver(&[(now_ms(), "one")]).await;
    assert_eq!(harness.numbers.snapshot()[&node()].retried, Volume { lines: 2, bytes: 8 }, "two attempts failed");
    harness.cloud.cloudwatch.delete_group(REGION, GROUP);
    harness.cloud.cloudwatch.create_group(REGION, GROUP);
    harness.deliver(&[(now_ms(), "two")]).await;
    assert_eq!(harness.texts(), ["two"], "into a new stream of the new group");
}

#[tokio::test]
async fn delivery_waits_for_a_missing_group() {
    let mut harness = Harness::new().await;
    harness.cloud.cloudwatch.delete_group(REGION, GROUP);
    let cloud = harness.cloud.cloudwatch.clone();
    let create_group = async {
        while cloud.calls("CreateLogStream") < 2 {
            tokio::task::yield_now().await;
            sleep(Duration::from_millis(5)).await;
        }
        cloud.create_group(REGION, GROUP);
    };
    let batch = batch(&[(now_ms(), "kept")]);
    tokio::join!(harness.delivery.deliver(&batch), create_group);
    assert_eq!(harness.texts(), ["kept"]);
}

#[tokio::test]
async fn a_refused_event_loses_only_itself() {
    let mut harness = Harness::new().await;
    harness.cloud.cloudwatch.set_event_bytes_max(60);
    let long = "x".repeat(80);
    let now = now_ms();
    let delivered = harness.deliver(&[(now, "a"), (now + 1, &long), (now + 2, "b"), (now + 3, "c")]).await;
    let lost = Volume { lines: 1, bytes: 81 };
    assert_eq!(delivered, Delivered { rejected: Volume::default(), lost });
    assert_eq!(harness.texts(), ["a", "b", "c"]);
}

/// Keys that are invalid until they are replaced, like those of a file.
#[derive(Debug)]
struct ReplacedKeys(AtomicBool, [Credentials; 2]);

impl ProvideCredentials for ReplacedKeys {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        let keys: Result<Credentials, CredentialsError> =
            Ok(self.1[usize::from(self.0.load(Ordering::Relaxed))].clone());
        future::ProvideCredentials::ready(keys)
    }
}

#[tokio::test]
async fn new_credentials_are_found_when_the_old_ones_are_refused() {
    let cloud = FakeCloud::start().await;
    let env = cloud.env();
    let right = Credentials::new(&env["AWS_ACCESS_KEY_ID"], &env["AWS_SECRET_ACCESS_KEY"], None, None, "test");
    let wrong = Credentials::new("AKIAEXPIRED", "wrong", None, None, "test");
    let keys = Arc::new(ReplacedKeys(AtomicBool::new(false), [wrong, right]));
    // Installs the TLS provider.
    let _ = testing::aws(&cloud);
    let aws = Arc::new(Aws::new(AwsOptions {
        endpoint_url: Some(cloud.endpoint()),
        sqs_endpoint_url: None,
        host_credentials: Some(SharedCredentialsProvider::from(keys.clone() as Arc<dyn ProvideCredentials>)),
    }));
    let mut harness = Harness::with(cloud, aws);
    let calls = harness.cloud.cloudwatch.clone();
    let batch = batch(&[(now_ms(), "kept")]);
    let replace_keys = async {
        while calls.calls("CreateLogStream") < 2 {
            sleep(Duration::from_millis(5)).await;
        }
        keys.0.store(true, Ordering::Relaxed);
    };
    let both = async { tokio::join!(harness.delivery.deliver(&batch), replace_keys) };
    tokio::time::timeout(testing::SOON * 2, both).await.expect("it goes on by itself");
    assert_eq!(harness.texts(), ["kept"]);
}

#[test]
fn log_streams_are_named_as_in_the_contract() {
    let at = time::macros::datetime!(2026-01-02 03:04 UTC);
    assert_eq!(stream_name(at, [0xab; 16]), format!("2026/01/02/{}", "ab".repeat(16)));
}
