//! The app's user is disabled for a while.

use std::time::{Duration, Instant};

use managed_app::host::Signal;

use crate::site::{IMAGE, Site};

/// A refused sign-in is tried again by itself after 11 s at the earliest.
const HANGUP_MAX: Duration = Duration::from_secs(8);

fn cloud_failure(site: &Site) -> Option<String> {
    site.status().and_then(|status| status.cloud_failure)
}

#[tokio::test]
async fn a_user_that_is_disabled_and_enabled_again_costs_no_restart_and_no_change() {
    let mut site = Site::with(&["a", "b"]).await;
    site.cloud.set_user_enabled(false);
    site.cloud.expire_tokens();
    site.cloud.revoke_credentials();
    site.cloud.set_node_config("b", r#"{"x":1}"#);
    site.signal(Signal::Hangup).await;
    site.eventually("the refusal is said", |_| cloud_failure(&site).is_some()).await;
    assert!(site.runs("a") && site.runs("b"), "nodes run on");
    assert_eq!(site.journal.acts(), [""; 0]);
    site.cloud.set_user_enabled(true);
    let enabled = Instant::now();
    site.signal(Signal::Hangup).await;
    site.eventually("the cloud answers", |_| cloud_failure(&site).is_none()).await;
    assert!(enabled.elapsed() < HANGUP_MAX, "a hangup does not wait for the next attempt: {:?}", enabled.elapsed());
    site.eventually("the change is taken", |host| host.journal.starts("b") == 1).await;
    site.cloud.add_node("c", |node| node.image(IMAGE));
    site.eventually("c comes", |_| site.runs("c")).await;
    site.probe("b").await;
    assert_eq!(site.journal.starts("a"), 0);
}
