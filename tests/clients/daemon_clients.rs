//! The AWS calls of the daemon against the fake cloud and against moto, a fake of another author. Where moto differs
//! from AWS, its exact response is asserted here, so that a newer moto with another response fails the test.

use std::sync::Arc;
use std::time::Duration;

use aws_sdk_ecrpublic::error::ProvideErrorMetadata;
use aws_sdk_sqs::types::QueueAttributeName;
use managed_app::changes::{CHANGES_WAITING_MAX, ChangeMessage, Changes};
use managed_app::cloud::{AppCredentials, AuditTrail, CloudErrorKind};
use managed_app::logs::{Batch, Delivery, LogErrorKind, LogEvent, LogProbe, LogService};
use managed_app::model::{Change, NodeName, QueueAddress};
use managed_app::registry::Registry;
use managed_app::status::Numbers;
use managed_app_runtimes::ImageReference;
use time::OffsetDateTime;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::test_cloud::{TestCloud, client};

/// Limit of each wait; the long poll of moto can delay a message by 20 s.
const LIMIT: Duration = Duration::from_secs(60);
const POLL_INTERVAL: Duration = Duration::from_millis(50);
const PRIVATE: &str = "123456789012.dkr.ecr.eu-west-1.amazonaws.com/node:1";
const PUBLIC: &str = "public.ecr.aws/echostream/node:1";

#[tokio::test]
async fn our_calls_work_on_the_fake_cloud() {
    let test_cloud = TestCloud::fake().await;
    agrees(&test_cloud).await;
    assert_eq!(sign_in_with(&test_cloud, "wrong").await, Err(CloudErrorKind::Denied));
    assert_eq!(registry_user(&test_cloud, PUBLIC).await.as_deref(), Some("AWS"));
}

#[tokio::test]
async fn our_calls_work_on_moto() {
    let test_cloud = TestCloud::moto().await;
    agrees(&test_cloud).await;
    takes_any_password(&test_cloud).await;
    has_no_ecr_public(&test_cloud).await;
}

/// Checks in which both clouds agree with AWS.
async fn agrees(test_cloud: &TestCloud) {
    signs_in_by_srp(test_cloud).await;
    is_refused_as_an_unknown_user_or_client(test_cloud).await;
    receives_and_deletes_a_change(test_cloud).await;
    notices_a_queue_that_does_not_exist(test_cloud).await;
    gets_a_registry_token_of_a_region(test_cloud).await;
    writes_to_a_log_group(test_cloud).await;
    ships_log_events_and_counts_the_rejected(test_cloud).await;
    notices_a_log_group_that_does_not_exist(test_cloud).await;
}

async fn sign_in_with(test_cloud: &TestCloud, password: &str) -> Result<(), CloudErrorKind> {
    client(&test_cloud.account, password, &test_cloud.aws).await.sign_in().await.map_err(|error| error.kind())
}

async fn signs_in_by_srp(test_cloud: &TestCloud) {
    assert_eq!(sign_in_with(test_cloud, &test_cloud.password).await, Ok(()));
}

async fn is_refused_as_an_unknown_user_or_client(test_cloud: &TestCloud) {
    let mut strangers = [test_cloud.account.clone(), test_cloud.account.clone()];
    strangers[0].user_name = "nobody".to_owned();
    strangers[1].client_id = "unknown".to_owned();
    for account in strangers {
        let refused = client(&account, &test_cloud.password, &test_cloud.aws).await.sign_in().await;
        assert_eq!(refused.map_err(|error| error.kind()), Err(CloudErrorKind::Denied), "{account:?}");
    }
}

/// A running receiver of changes.
struct Receiver {
    changes: mpsc::Receiver<ChangeMessage>,
    shutdown: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

impl Receiver {
    fn start(test_cloud: &TestCloud, url: &str) -> Self {
        let address = QueueAddress { url: url.to_owned(), region: test_cloud.region.clone() };
        let (sender, changes) = mpsc::channel(CHANGES_WAITING_MAX);
        let receiver = Changes {
            aws: Arc::clone(&test_cloud.aws),
            credentials: AppCredentials::new(Arc::clone(&test_cloud.control)),
            app: test_cloud.account.app.clone(),
            queue: watch::Sender::new(Some(address)).subscribe(),
            sender,
            audit: AuditTrail::new(watch::channel(None).1),
        };
        let shutdown = CancellationToken::new();
        let task = tokio::spawn(receiver.run(shutdown.clone()));
        Self { changes, shutdown, task }
    }

    async fn next(&mut self) -> ChangeMessage {
        timeout(LIMIT, self.changes.recv()).await.expect("a message arrives").expect("the receiver runs")
    }

    async fn end(self) {
        self.shutdown.cancel();
        timeout(LIMIT, self.task).await.expect("it ends").expect("it does not panic");
    }
}

async fn receives_and_deletes_a_change(test_cloud: &TestCloud) {
    let credentials = AppCredentials::new(Arc::clone(&test_cloud.control));
    credentials.get().await.expect("credentials");
    let sqs = test_cloud.aws.sqs(&test_cloud.region, credentials.provider()).await;
    let body = format!(r#"{{"new": {{"type": "ManagedNode", "app": "{}", "name": "n"}}}}"#, test_cloud.account.app);
    let sent = sqs.send_message().queue_url(&test_cloud.queue).message_body(body);
    sent.message_group_id("g").message_deduplication_id("1").send().await.expect("it is sent");
    let mut receiver = Receiver::start(test_cloud, &test_cloud.queue);
    let ChangeMessage::Change { change, sent_at, .. } = receiver.next().await else { panic!("the queue is lost") };
    assert_eq!(change, Change::Node(NodeName::new("n").expect("a name")));
    assert!(sent_at.is_some());
    let counts =
        [QueueAttributeName::ApproximateNumberOfMessages, QueueAttributeName::ApproximateNumberOfMessagesNotVisible];
    let end = Instant::now() + LIMIT;
    loop {
        let asked = sqs.get_queue_attributes().queue_url(&test_cloud.queue).set_attribute_names(Some(counts.to_vec()));
        let found = asked.send().await.expect("attributes").attributes.unwrap_or_default();
        if found.len() == counts.len() && found.values().all(|count| count == "0") {
            break;
        }
        assert!(Instant::now() < end, "it was not deleted: {found:?}");
        sleep(POLL_INTERVAL).await;
    }
    receiver.end().await;
}

async fn notices_a_queue_that_does_not_exist(test_cloud: &TestCloud) {
    let mut receiver = Receiver::start(test_cloud, &test_cloud.queue.replace(".fifo", "-other.fifo"));
    assert_eq!(receiver.next().await, ChangeMessage::QueueLost);
    receiver.end().await;
}

async fn registry_user(test_cloud: &TestCloud, image: &str) -> Option<String> {
    let image = image.parse::<ImageReference>().expect("an image");
    let credentials = Registry::new(Arc::clone(&test_cloud.aws)).credentials(&image).await.expect("an answer");
    credentials.map(|credentials| credentials.username)
}

async fn gets_a_registry_token_of_a_region(test_cloud: &TestCloud) {
    assert_eq!(registry_user(test_cloud, PRIVATE).await.as_deref(), Some("AWS"));
}

async fn writes_to_a_log_group(test_cloud: &TestCloud) {
    let logs = LogProbe::new(&test_cloud.aws, &test_cloud.region).await;
    for _ in 0..2 {
        logs.open(&test_cloud.log_group).await.expect("a stream is made or found");
        logs.write(&test_cloud.log_group).await.expect("an event is accepted");
    }
}

async fn ships_log_events_and_counts_the_rejected(test_cloud: &TestCloud) {
    let service = Arc::new(LogService::new(Arc::clone(&test_cloud.aws), &test_cloud.region));
    let node = NodeName::new("n").expect("a name");
    let mut delivery = Delivery::new(service, &test_cloud.log_group, Numbers::default().counter(&node));
    let now = OffsetDateTime::now_utc();
    let at_ms = |at: OffsetDateTime| at.unix_timestamp() * 1000;
    // Three hours ahead exceeds the limit of two hours.
    let events = vec![
        LogEvent::record(at_ms(now), "[INFO] now"),
        LogEvent::record(at_ms(now + Duration::from_secs(3 * 3600)), "[INFO] too new"),
    ];
    let batch = Batch { bytes: events.iter().map(LogEvent::bytes).sum(), events };
    let delivered = timeout(LIMIT, delivery.deliver(&batch)).await.expect("there is an answer");
    assert_eq!((delivered.rejected, delivered.lost.lines), (batch.events[1].volume, 0));
}

async fn notices_a_log_group_that_does_not_exist(test_cloud: &TestCloud) {
    let refused = LogProbe::new(&test_cloud.aws, &test_cloud.region).await.write("unknown").await;
    assert_eq!(refused.map_err(|error| error.kind()), Err(LogErrorKind::NoGroup));
}

/// moto does not compute SRP.
async fn takes_any_password(test_cloud: &TestCloud) {
    assert_eq!(sign_in_with(test_cloud, "wrong").await, Ok(()));
}

/// moto does not implement the service; the daemon then pulls without a token.
async fn has_no_ecr_public(test_cloud: &TestCloud) {
    let ecr = test_cloud.aws.ecr_public("us-east-1").await;
    let refused = ecr.get_authorization_token().send().await.expect_err("moto has no ECR Public");
    let raw = refused.raw_response().expect("it answers");
    let body = raw.body().bytes().map(String::from_utf8_lossy).unwrap_or_default();
    assert_eq!((raw.status().as_u16(), refused.code()), (500, None), "{body}");
    assert!(body.contains("<title>500 Internal Server Error</title>"), "{body}");
    assert_eq!(registry_user(test_cloud, PUBLIC).await, None);
}
