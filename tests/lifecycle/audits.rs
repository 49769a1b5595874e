//! Audit records of the change receiver: which messages get one, how the tenant switches them on and off, and that a
//! failing endpoint delays neither changes nor the end.

use std::time::{Duration, Instant};

use managed_app::exit::Exit;
use managed_app_fakes::cloud::audit::AuditRecord;
use managed_app_fakes::cloud::{Fault, Service};

use crate::harness::{Harness, Plan};

/// A host whose tenant has `audit` on from the start.
async fn audited(nodes: &[&str]) -> Harness {
    let plan = Plan::new().await.nodes(nodes);
    plan.with(|cloud, _| cloud.quietly(|world| world.tenant.audit = true)).up().await
}

fn records(harness: &Harness) -> Vec<AuditRecord> {
    harness.cloud.audit.of_node(&format!("{}:Change Receiver", harness.cloud.env()["APP"]))
}

fn ids(harness: &Harness) -> Vec<String> {
    records(harness).into_iter().map(|record| record.tracking_id).collect()
}

/// Sends messages without effect; their IDs.
fn send(harness: &Harness, count: usize) -> Vec<String> {
    (0..count).flat_map(|_| harness.cloud.send_raw(r#"{"new":{"type":"App","name":"x"}}"#).tracking_ids).collect()
}

async fn taken(harness: &Harness) {
    harness.eventually("all messages are received", |host| host.cloud.pending_changes() == 0).await;
}

#[tokio::test]
async fn every_message_gets_one_audit_record() {
    let harness = audited(&["a", "b"]).await;
    let sent = [harness.cloud.connect("a", "b"), harness.cloud.send_raw("{"), harness.cloud.send_raw(r#"{"new":{}}"#)];
    let sent: Vec<String> = sent.into_iter().flat_map(|sent| sent.tracking_ids).collect();
    harness.eventually("all have a record", |_| records(&harness).len() >= sent.len()).await;
    assert_eq!(ids(&harness), sent);
    for record in records(&harness) {
        assert_eq!((record.source_node.as_str(), record.previous_tracking_ids.len()), ("App Change Router", 1));
        assert_eq!(record.attributes["app"], harness.cloud.env()["APP"].as_str());
    }
    assert!(harness.cloud.audit.batches().iter().all(|batch| batch.message_type == "echo.change"));
}

#[tokio::test]
async fn the_tenant_switches_audit_records_on_and_off() {
    let mut harness = Harness::with(&["a"]).await;
    send(&harness, 3);
    harness.cloud.set_audit(true);
    harness.expect_no_more_than(&["restart a"], "a").await;
    let wanted = send(&harness, 3);
    harness.eventually("they have records", |_| ids(&harness).ends_with(&wanted)).await;
    assert!(records(&harness).len() < 3 + 3 + 3, "the first three have no record: {:?}", ids(&harness));
    harness.cloud.set_audit(false);
    harness.probe("a").await;
    let count = records(&harness).len();
    send(&harness, 3);
    taken(&harness).await;
    assert_eq!(harness.stop().await, Exit::Done);
    assert!(records(&harness).len() <= count + 2, "at most the two before the switch was read");
}

#[tokio::test]
async fn with_the_audit_endpoint_down_records_arrive_later() {
    let mut harness = audited(&["a"]).await;
    harness.cloud.audit.faults().set_outage(true);
    let sent = send(&harness, 1_200);
    harness.probe("a").await;
    taken(&harness).await;
    assert_eq!(records(&harness), []);
    harness.cloud.audit.faults().set_outage(false);
    harness.eventually("all have a record", |_| records(&harness).len() > sent.len()).await;
    assert_eq!(ids(&harness)[..sent.len()], sent, "in order, each once");
    assert!(harness.cloud.audit.batches().iter().all(|batch| batch.records.len() <= 500));
}

#[tokio::test]
async fn received_messages_are_audited_before_the_daemon_ends() {
    let mut harness = audited(&["a"]).await;
    let sent = send(&harness, 30);
    taken(&harness).await;
    assert_eq!(harness.stop().await, Exit::Done);
    assert_eq!(ids(&harness), sent);
}

#[tokio::test]
async fn a_hanging_audit_endpoint_delays_neither_changes_nor_the_end() {
    let mut harness = audited(&["a"]).await;
    harness.cloud.services.fail_until_released(Service::Audit, Fault::Stall);
    send(&harness, 30);
    harness.probe("a").await;
    let began = Instant::now();
    assert_eq!(harness.stop().await, Exit::Done);
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
}
