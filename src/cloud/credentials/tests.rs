//! Tests of the cached credentials, on paused time.

use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;

use super::*;
use crate::model::Snapshot;

/// Returns numbered credentials, each valid for `lifetime` of the host's clock.
#[derive(Debug)]
struct CredentialsCloud {
    count: AtomicUsize,
    lifetime: Duration,
}

#[async_trait]
impl ControlPlane for CredentialsCloud {
    async fn app(&self) -> Result<Snapshot, CloudError> {
        Ok(Snapshot::Gone)
    }

    async fn aws_credentials(&self) -> Result<Credentials, CloudError> {
        tokio::time::sleep(Duration::from_millis(10)).await;
        let number = self.count.fetch_add(1, Ordering::SeqCst) + 1;
        let expiry = SystemTime::now() + self.lifetime;
        Ok(Credentials::new(number.to_string(), "secret", None, Some(expiry), "test"))
    }
}

fn credentials_for(lifetime: Duration) -> AppCredentials {
    AppCredentials::new(Arc::new(CredentialsCloud { count: AtomicUsize::new(0), lifetime }))
}

async fn key(credentials: &AppCredentials) -> String {
    let provided = credentials.provide_credentials().await.expect("the cloud never fails");
    provided.access_key_id().to_owned()
}

#[tokio::test(start_paused = true)]
async fn credentials_are_renewed_before_they_end() {
    let credentials = credentials_for(Duration::from_secs(3600));
    assert_eq!(key(&credentials).await, "1");
    tokio::time::advance(Duration::from_secs(2990)).await;
    assert_eq!(key(&credentials).await, "1");
    tokio::time::advance(Duration::from_secs(20)).await;
    assert_eq!(key(&credentials).await, "2", "ten minutes before the end");
}

#[tokio::test(start_paused = true)]
async fn concurrent_callers_share_one_credentials_request() {
    let credentials = credentials_for(Duration::from_secs(3600));
    let keys = futures_util::future::join_all((0..20).map(|_| key(&credentials))).await;
    assert!(keys.iter().all(|key| key == "1"), "{keys:?}");
}

#[tokio::test(start_paused = true)]
async fn credentials_that_aws_reports_expired_are_renewed_at_once() {
    let credentials = credentials_for(Duration::from_secs(3600));
    assert_eq!(key(&credentials).await, "1");
    credentials.expire();
    assert_eq!(key(&credentials).await, "2");
}

#[test]
fn a_wrong_clock_does_not_change_the_lifetime() {
    let now = SystemTime::now();
    let seconds = Duration::from_secs;
    let check = |expiry, expected| assert_eq!(lifetime(expiry, now), expected);
    check(Some(now + seconds(900)), seconds(900));
    check(Some(now - seconds(5)), CREDENTIALS_LIFETIME);
    check(Some(now + seconds(86_400)), CREDENTIALS_LIFETIME);
    check(None, CREDENTIALS_LIFETIME);
}

#[test]
fn debug_shows_no_secret() {
    assert_eq!(format!("{:?}", credentials_for(Duration::from_secs(1))), "AppCredentials");
}
