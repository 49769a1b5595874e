//! Audit records of the change receiver: which messages are told, when it is switched on and off, and that the endpoint,
//! whatever it does, holds up neither changes nor the end.

use std::time::{Duration, Instant};

use managed_app::exit::Exit;
use managed_app_fakes::cloud::audit::AuditRecord;
use managed_app_fakes::cloud::{Fault, Service};

use crate::site::{Plan, Site};

/// A site whose tenant asks for audit records from the start.
async fn audited(nodes: &[&str]) -> Site {
    let plan = Plan::new().await.nodes(nodes);
    plan.with(|cloud, _| cloud.quietly(|world| world.tenant.audit = true)).up().await
}

fn records(site: &Site) -> Vec<AuditRecord> {
    site.cloud.audit.of_node(&format!("{}:Change Receiver", site.cloud.env()["APP"]))
}

fn ids(site: &Site) -> Vec<String> {
    records(site).into_iter().map(|record| record.tracking_id).collect()
}

/// Sends messages about nothing; their ids.
fn send(site: &Site, count: usize) -> Vec<String> {
    (0..count).flat_map(|_| site.cloud.send_raw(r#"{"new":{"type":"App","name":"x"}}"#).tracking_ids).collect()
}

async fn taken(site: &Site) {
    site.eventually("all messages are taken", |host| host.cloud.pending_changes() == 0).await;
}

#[tokio::test]
async fn every_message_is_told_once_whatever_it_holds() {
    let site = audited(&["a", "b"]).await;
    let sent = [site.cloud.connect("a", "b"), site.cloud.send_raw("{"), site.cloud.send_raw(r#"{"new":{}}"#)];
    let sent: Vec<String> = sent.into_iter().flat_map(|sent| sent.tracking_ids).collect();
    site.eventually("all are told", |_| records(&site).len() >= sent.len()).await;
    assert_eq!(ids(&site), sent);
    for record in records(&site) {
        assert_eq!((record.source_node.as_str(), record.previous_tracking_ids.len()), ("App Change Router", 1));
        assert_eq!(record.attributes["app"], site.cloud.env()["APP"].as_str());
    }
    assert!(site.cloud.audit.batches().iter().all(|batch| batch.message_type == "echo.change"));
}

#[tokio::test]
async fn the_tenant_switches_it_on_and_off() {
    let mut site = Site::with(&["a"]).await;
    send(&site, 3);
    site.cloud.set_audit(true);
    site.expect_no_more_than(&["restart a"], "a").await;
    let wanted = send(&site, 3);
    site.eventually("they are told", |_| ids(&site).ends_with(&wanted)).await;
    assert!(records(&site).len() < 3 + 3 + 3, "the first three are not: {:?}", ids(&site));
    site.cloud.set_audit(false);
    site.probe("a").await;
    let told = records(&site).len();
    send(&site, 3);
    taken(&site).await;
    assert_eq!(site.stop().await, Exit::Done);
    assert!(records(&site).len() <= told + 2, "at most the two before the switch was seen");
}

#[tokio::test]
async fn with_the_endpoint_down_changes_are_followed_and_records_arrive_later() {
    let mut site = audited(&["a"]).await;
    site.cloud.audit.faults().set_outage(true);
    let sent = send(&site, 1_200);
    site.probe("a").await;
    taken(&site).await;
    assert_eq!(records(&site), []);
    site.cloud.audit.faults().set_outage(false);
    site.eventually("all are told", |_| records(&site).len() > sent.len()).await;
    assert_eq!(ids(&site)[..sent.len()], sent, "in order, each once");
    assert!(site.cloud.audit.batches().iter().all(|batch| batch.records.len() <= 500));
}

#[tokio::test]
async fn what_was_taken_is_told_before_the_daemon_ends() {
    let mut site = audited(&["a"]).await;
    let sent = send(&site, 30);
    taken(&site).await;
    assert_eq!(site.stop().await, Exit::Done);
    assert_eq!(ids(&site), sent);
}

#[tokio::test]
async fn an_endpoint_that_never_answers_holds_up_neither_changes_nor_the_end() {
    let mut site = audited(&["a"]).await;
    site.cloud.services.fail_until_released(Service::Audit, Fault::Stall);
    send(&site, 30);
    site.probe("a").await;
    let began = Instant::now();
    assert_eq!(site.stop().await, Exit::Done);
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
}
