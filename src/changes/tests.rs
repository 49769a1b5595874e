//! Tests with the queue of the fake cloud.

use std::time::Duration;

use managed_app_fakes::FakeCloud;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::cloud::testing::{SOON, client, eventually};
use crate::cloud::{AppCredentials, AuditTrail};
use crate::model::NodeName;

const IMAGE: &str = "public.ecr.aws/x/y:1";

/// A running receiver with its handles.
struct Running {
    fake: FakeCloud,
    queue: watch::Sender<Option<QueueAddress>>,
    changes: mpsc::Receiver<ChangeMessage>,
    shutdown: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

impl Running {
    async fn start() -> Self {
        let fake = FakeCloud::start().await;
        let client = client(&fake).await;
        let queue = watch::Sender::new(Some(address(&fake)));
        let (sender, changes) = mpsc::channel(CHANGES_WAITING_MAX);
        let receiver = Changes {
            aws: client.aws.clone(),
            credentials: AppCredentials::new(client.cloud.clone()),
            app: fake.env()["APP"].clone(),
            queue: queue.subscribe(),
            sender,
            audit: AuditTrail::new(watch::channel(None).1),
        };
        let shutdown = CancellationToken::new();
        let task = tokio::spawn(receiver.run(shutdown.clone()));
        Self { fake, queue, changes, shutdown, task }
    }

    async fn polling(&self) {
        eventually("a long poll waits", || self.fake.queues.waiting() == 1).await;
    }

    async fn next(&mut self) -> ChangeMessage {
        timeout(SOON, self.changes.recv()).await.expect("a change comes soon").expect("the receiver runs")
    }

    async fn next_change(&mut self) -> Change {
        match self.next().await {
            ChangeMessage::Change { change, .. } => change,
            ChangeMessage::QueueLost => panic!("the queue is lost"),
        }
    }

    async fn deleted(&self) {
        eventually("all messages are deleted", || self.fake.pending_changes() == 0).await;
    }
}

fn address(fake: &FakeCloud) -> QueueAddress {
    QueueAddress { url: fake.change_queue(), region: fake.world().tenant.region.clone() }
}

fn name(name: &str) -> NodeName {
    NodeName::new(name).expect("a name")
}

#[tokio::test]
async fn a_change_arrives_at_once_with_its_ids_and_is_deleted() {
    let mut running = Running::start().await;
    running.polling().await;
    let sent_at = Instant::now();
    running.fake.add_node("a", |node| node.image(IMAGE));
    let mut changes = Vec::new();
    while !changes.contains(&Change::Node(name("a"))) {
        match running.next().await {
            ChangeMessage::Change { change, message_id, tracking_id, sent_at } => {
                assert!(!message_id.is_empty() && tracking_id.is_some() && sent_at.is_some());
                changes.push(change);
            }
            ChangeMessage::QueueLost => panic!("the queue is lost"),
        }
    }
    assert!(sent_at.elapsed() < Duration::from_secs(15), "the message waited for a poll: {:?}", sent_at.elapsed());
    running.deleted().await;
}

#[tokio::test]
async fn a_burst_arrives_in_order_though_batches_are_small() {
    let mut running = Running::start().await;
    running.fake.add_node("a", |node| node.image(IMAGE));
    for number in 0..30 {
        running.fake.set_node_config("a", &format!("{{\"n\":{number}}}"));
    }
    let mut seen = 0;
    while seen < 31 {
        seen += usize::from(running.next_change().await == Change::Node(name("a")));
    }
    running.deleted().await;
}

#[tokio::test]
async fn unusable_messages_are_deleted_and_block_nothing() {
    let mut running = Running::start().await;
    running.fake.send_raw("not json\u{1b}[31m");
    running.fake.send_raw(r#"{"new": {"type": "QuantumNode", "name": "q"}}"#);
    running.fake.send_raw(r#"{"new": {"type": "ManagedNode", "app": "another", "name": "n"}}"#);
    running.fake.send_raw(r#"{"new": {"type": "ManagedNode"}}"#);
    running.fake.set_tenant_config("{\"a\":1}");
    assert_eq!(running.next_change().await, Change::Tenant);
    running.deleted().await;
}

#[tokio::test]
async fn shutdown_ends_a_long_poll_at_once() {
    let running = Running::start().await;
    running.polling().await;
    let asked_at = Instant::now();
    running.shutdown.cancel();
    timeout(SOON, running.task).await.expect("it ends").expect("it does not panic");
    assert!(asked_at.elapsed() < Duration::from_secs(15), "{:?}", asked_at.elapsed());
}

#[tokio::test]
async fn receiving_ends_when_the_channel_is_closed() {
    let running = Running::start().await;
    drop(running.changes);
    running.fake.set_tenant_config("{\"a\":1}");
    timeout(SOON, running.task).await.expect("it ends").expect("it does not panic");
    assert_eq!(running.fake.pending_changes(), 1, "it was not forwarded, so it stays");
}

#[tokio::test]
async fn it_waits_for_an_address_and_follows_it() {
    let mut running = Running::start().await;
    running.polling().await;
    running.queue.send_replace(None);
    eventually("the poll is dropped", || running.fake.queues.waiting() == 0).await;
    running.fake.set_tenant_config("{\"a\":1}");
    running.queue.send_replace(Some(address(&running.fake)));
    assert_eq!(running.next_change().await, Change::Tenant);
}

#[tokio::test]
async fn the_same_address_again_does_not_disturb_the_poll() {
    let mut running = Running::start().await;
    running.polling().await;
    let calls = running.fake.queues.calls("ReceiveMessage");
    running.queue.send_replace(Some(address(&running.fake)));
    running.fake.set_tenant_config("{\"a\":1}");
    assert_eq!(running.next_change().await, Change::Tenant);
    assert_eq!(calls, 1);
    assert!(running.fake.queues.calls("ReceiveMessage") <= 2, "one poll received it, at most the next has begun");
}

#[tokio::test]
async fn a_lost_queue_is_reported_and_the_next_address_used() {
    let mut running = Running::start().await;
    running.polling().await;
    running.fake.replace_change_queue();
    assert_eq!(running.next().await, ChangeMessage::QueueLost);
    running.queue.send_replace(Some(address(&running.fake)));
    running.fake.set_tenant_config("{\"a\":1}");
    assert_eq!(running.next_change().await, Change::Tenant);
    running.deleted().await;
}

#[tokio::test]
async fn revoked_credentials_are_replaced() {
    let mut running = Running::start().await;
    running.polling().await;
    running.fake.revoke_credentials();
    // The current poll is signed already; the one after the next change is refused.
    running.fake.set_tenant_config("{\"a\":1}");
    assert_eq!(running.next_change().await, Change::Tenant);
    running.fake.set_tenant_config("{\"a\":2}");
    assert_eq!(running.next_change().await, Change::Tenant);
}

#[tokio::test]
async fn failed_deletions_of_messages_are_retried() {
    let mut running = Running::start().await;
    running.polling().await;
    running.fake.queues.fail_next_deletes(2);
    running.fake.set_tenant_config("{\"a\":1}");
    assert_eq!(running.next_change().await, Change::Tenant);
    running.deleted().await;
}

#[tokio::test]
async fn receiving_continues_after_failures() {
    let mut running = Running::start().await;
    running.polling().await;
    running.fake.queues.fail_next(4, 503, "ServiceUnavailable");
    running.fake.set_tenant_config("{\"a\":1}");
    running.fake.set_tenant_config("{\"a\":2}");
    assert_eq!(running.next_change().await, Change::Tenant);
    assert_eq!(running.next_change().await, Change::Tenant);
}
