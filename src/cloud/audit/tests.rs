//! Tests of the trail with the fake's audit endpoint, which verifies each signature by a second implementation.

use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use aws_credential_types::Credentials;
use managed_app_fakes::FakeCloud;
use managed_app_fakes::cloud::{Fault, Service};
use tokio::time::{Instant, timeout};

use super::*;
use crate::cloud::testing::{SOON, client, eventually};
use crate::cloud::{CloudError, ControlPlane};
use crate::model::Snapshot;

/// A sending trail with its handles.
struct Harness {
    fake: FakeCloud,
    app: watch::Sender<Option<Arc<App>>>,
    trail: AuditTrail,
    shutdown: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

/// Returns the credentials of `first`, then those of the cloud.
#[derive(Debug)]
struct CredentialSequence {
    first: Mutex<Vec<Credentials>>,
    cloud: Arc<dyn ControlPlane>,
}

#[async_trait]
impl ControlPlane for CredentialSequence {
    async fn app(&self) -> Result<Snapshot, CloudError> {
        self.cloud.app().await
    }

    async fn aws_credentials(&self) -> Result<Credentials, CloudError> {
        let first = self.first.lock().expect("no panic").pop();
        match first {
            Some(credentials) => Ok(credentials),
            None => self.cloud.aws_credentials().await,
        }
    }
}

impl Harness {
    async fn start() -> Self {
        Self::with(|_| {}, vec![]).await
    }

    /// Calls `prepare` on the cloud; the trail gets the credentials of `first` before valid ones.
    async fn with(prepare: impl FnOnce(&FakeCloud), first: Vec<Credentials>) -> Self {
        let fake = FakeCloud::start().await;
        fake.quietly(|world| world.tenant.audit = true);
        prepare(&fake);
        let cloud = client(&fake).await.cloud;
        let snapshot = cloud.app().await.expect("the cloud answers");
        let app = watch::Sender::new(Some(snapshot.app().expect("there is an app").clone()));
        let trail = AuditTrail::new(app.subscribe());
        let shutdown = CancellationToken::new();
        let credentials = Arc::new(CredentialSequence { first: Mutex::new(first), cloud });
        let task = tokio::spawn(trail.clone().send(AppCredentials::new(credentials), shutdown.clone()));
        Self { fake, app, trail, shutdown, task }
    }

    fn record(&self, ids: std::ops::Range<usize>) {
        for id in ids {
            self.trail.record(&id.to_string(), vec![format!("before-{id}")]);
        }
    }

    fn change_app(&self, change: impl FnOnce(&mut App)) {
        let mut app = App::clone(self.app.borrow().as_ref().expect("there is an app"));
        change(&mut app);
        self.app.send_replace(Some(Arc::new(app)));
    }

    fn numbers(&self) -> AuditNumbers {
        self.trail.numbers()
    }

    async fn sent(&self, count: u64) {
        eventually(&format!("{count} are sent"), || self.numbers().sent == count).await;
    }

    /// The ids that arrived, in order.
    fn ids(&self) -> Vec<String> {
        let batches = self.fake.audit.batches();
        batches.into_iter().flat_map(|batch| batch.records).map(|record| record.tracking_id).collect()
    }

    async fn ended(self) -> Duration {
        let began = Instant::now();
        self.shutdown.cancel();
        timeout(SOON, self.task).await.expect("it ends").expect("it does not panic");
        began.elapsed()
    }
}

fn ids(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|id| id.to_string()).collect()
}

#[tokio::test]
async fn a_record_has_the_fields_of_the_contract() {
    let harness = Harness::start().await;
    harness.record(0..1);
    harness.trail.record("1", vec![]);
    harness.sent(2).await;
    let batches = harness.fake.audit.batches();
    let [batch] = &batches[..] else { panic!("one request: {batches:?}") };
    let app = &harness.fake.env()["APP"];
    assert_eq!((&batch.node, batch.message_type.as_str()), (&format!("{app}:Change Receiver"), "echo.change"));
    assert!(!batch.compressed);
    let [first, second] = &batch.records[..] else { panic!("two records: {batch:?}") };
    assert_eq!((first.tracking_id.as_str(), first.source_node.as_str()), ("0", "App Change Router"));
    assert_eq!((first.previous_tracking_ids.len(), second.previous_tracking_ids.len()), (1, 0));
    assert_eq!(first.attributes, [("app".to_owned(), app.as_str().into())].into());
    assert!((OffsetDateTime::now_utc() - first.datetime).whole_seconds().abs() < 60);
    let expected = AuditNumbers { is_on: true, waiting: 0, sent: 2, retried: 0, dropped: 0 };
    assert_eq!(harness.numbers(), expected);
}

#[tokio::test]
async fn records_are_sent_in_order_in_gzip_requests_of_up_to_500() {
    let harness = Harness::start().await;
    harness.record(0..1_210);
    harness.sent(1_210).await;
    let batches = harness.fake.audit.batches();
    let sizes: Vec<_> = batches.iter().map(|batch| (batch.records.len(), batch.compressed)).collect();
    assert_eq!(sizes, [(500, true), (500, true), (210, true)]);
    assert_eq!(harness.ids(), ids(0..1_210));
    harness.record(0..10);
    harness.sent(1_220).await;
    assert_eq!(harness.fake.audit.batches().last().map(|b| (b.records.len(), b.compressed)), Some((10, false)));
}

#[tokio::test]
async fn a_wrong_key_is_refused_and_renewed() {
    let wrong = Credentials::new("AKIAWRONG", "wrong", None, None, "test");
    let harness = Harness::with(|_| {}, vec![wrong]).await;
    harness.record(0..3);
    harness.sent(3).await;
    assert_eq!((harness.ids(), harness.numbers().retried), (ids(0..3), 3));
}

#[tokio::test]
async fn expired_and_revoked_credentials_are_renewed() {
    let harness = Harness::with(|fake| fake.set_credentials_lifetime(Some(Duration::ZERO)), vec![]).await;
    harness.record(0..1);
    eventually("expired ones are refused", || harness.numbers().retried >= 2).await;
    assert!(harness.fake.audit.batches().is_empty());
    harness.fake.set_credentials_lifetime(None);
    harness.sent(1).await;
    harness.fake.revoke_credentials();
    harness.record(1..2);
    harness.sent(2).await;
    assert_eq!(harness.ids(), ids(0..2));
}

#[tokio::test]
async fn a_signature_for_another_region_is_refused() {
    let harness = Harness::start().await;
    let right = harness.app.borrow().clone().expect("there is an app");
    harness.change_app(|app| app.tenant.region = "eu-west-3".to_owned());
    harness.record(0..2);
    eventually("it is refused", || harness.numbers().retried >= 2).await;
    assert!(harness.fake.audit.batches().is_empty());
    harness.app.send_replace(Some(right));
    harness.sent(2).await;
    assert_eq!(harness.ids(), ids(0..2));
}

#[tokio::test]
async fn an_outage_loses_nothing_and_changes_no_order() {
    let harness = Harness::start().await;
    harness.fake.audit.faults().set_outage(true);
    harness.record(0..600);
    eventually("it is tried again", || harness.numbers().retried >= 1_000).await;
    harness.record(600..700);
    harness.fake.audit.faults().set_outage(false);
    harness.sent(700).await;
    assert_eq!(harness.ids(), ids(0..700));
    assert_eq!(harness.numbers().dropped, 0);
}

#[tokio::test]
async fn a_request_that_is_too_large_is_halved_until_it_fits() {
    let harness = Harness::start().await;
    harness.fake.audit.faults().fail_next(2, 413, "RequestTooLong");
    harness.record(0..40);
    harness.sent(40).await;
    let sizes: Vec<_> = harness.fake.audit.batches().iter().map(|batch| batch.records.len()).collect();
    assert_eq!(sizes, [10, 20, 10]);
    assert_eq!(harness.ids(), ids(0..40));
}

#[tokio::test]
async fn only_the_record_at_fault_is_dropped() {
    let harness = Harness::start().await;
    harness.record(0..17);
    harness.trail.record("", vec![]);
    harness.record(17..30);
    harness.sent(30).await;
    assert_eq!((harness.ids(), harness.numbers().dropped), (ids(0..30), 1));
}

#[tokio::test]
async fn remaining_audit_records_are_sent_at_the_end() {
    let harness = Harness::start().await;
    let (fake, trail) = (harness.fake.audit.clone(), harness.trail.clone());
    harness.record(0..700);
    let took = harness.ended().await;
    assert_eq!((trail.numbers().sent, fake.batches().len()), (700, 2));
    assert!(took < Duration::from_secs(20), "{took:?}");
}

#[tokio::test]
async fn a_silent_audit_endpoint_delays_the_end_by_seconds_only() {
    let harness = Harness::start().await;
    harness.fake.services.fail_until_released(Service::Audit, Fault::Stall);
    harness.record(0..5);
    eventually("it is asked", || harness.fake.services.calls(Service::Audit, "POST") > 0).await;
    let trail = harness.trail.clone();
    let took = harness.ended().await;
    assert!(took < Duration::from_secs(20), "{took:?}");
    assert_eq!((trail.numbers().waiting, trail.numbers().dropped), (0, 5));
}

#[tokio::test]
async fn nothing_is_recorded_unless_the_tenant_enables_audit() {
    let harness = Harness::start().await;
    harness.change_app(|app| app.tenant.audit = false);
    harness.record(0..5);
    assert_eq!(harness.numbers(), AuditNumbers::default());
    harness.change_app(|app| app.tenant.audit = true);
    harness.record(5..6);
    // Records from before audit was disabled are still sent.
    harness.change_app(|app| app.tenant.audit = false);
    harness.sent(1).await;
    assert_eq!(harness.ids(), ["5"]);
}

#[tokio::test]
async fn without_a_valid_endpoint_records_are_dropped_and_counted() {
    let harness = Harness::start().await;
    for endpoint in [None, Some("http://audit.example/"), Some("nothing"), Some("ftp://127.0.0.1/")] {
        harness.change_app(|app| app.audit_records_endpoint = endpoint.map(str::to_owned));
        harness.record(0..1);
    }
    harness.change_app(|app| app.change_receiver = None);
    harness.record(0..1);
    assert_eq!(harness.numbers(), AuditNumbers { dropped: 5, ..AuditNumbers::default() });
}

#[tokio::test]
async fn debug_shows_no_record() {
    let harness = Harness::start().await;
    harness.trail.record("an-id-of-a-message", vec![]);
    assert!(!format!("{:?}", harness.trail).contains("an-id"));
}
