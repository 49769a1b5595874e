//! Wrong and jumping clocks. The daemon measures durations on the monotonic clock. The remaining times are those in
//! responses of the cloud, which are then in the past or far in the future.

use std::time::Duration;

use managed_app_fakes::cloud::commands::Node;

use crate::harness::{Harness, Plan, image};

const ECR: &str = "123456789012.dkr.ecr.eu-west-1.amazonaws.com";
/// Lifetimes as seen by a host whose clock is correct, fast, or slow by years.
const LIFETIMES: [Duration; 3] = [Duration::from_secs(3600), Duration::ZERO, Duration::from_secs(10 * 365 * 86_400)];

/// The current credentials are revoked, so that new ones arrive with the expiry of the changed clock.
#[tokio::test]
async fn credentials_with_a_wrong_expiry_lose_no_change() {
    let mut harness = Harness::with(&["a", "b"]).await;
    for (round, lifetime) in LIFETIMES.into_iter().enumerate() {
        harness.cloud.set_credentials_lifetime(Some(lifetime));
        harness.cloud.revoke_credentials();
        let reads = reads_of_credentials(&harness);
        harness.cloud.set_app_config(&format!(r#"{{"round":{round}}}"#));
        if lifetime.is_zero() {
            // The fake rejects them as expired, as AWS would; the daemon retries with delays.
            let polls = harness.cloud.queues.calls("ReceiveMessage");
            harness.eventually("it is tried", |host| host.cloud.queues.calls("ReceiveMessage") > polls + 4).await;
            assert!(reads_of_credentials(&harness) - reads <= 10, "{}", reads_of_credentials(&harness) - reads);
            harness.cloud.set_credentials_lifetime(None);
        }
        harness.eventually("the change is applied", |h| ["a", "b"].iter().all(|n| h.journal.starts(n) > round)).await;
        harness.converged().await;
    }
    let restarts = ["a", "b"].map(|node| harness.journal.starts(node));
    harness.probe("a").await;
    assert_eq!(restarts, [3, 3]);
}

fn reads_of_credentials(harness: &Harness) -> usize {
    harness.cloud.services.calls(managed_app_fakes::cloud::Service::AppSync, "GetAwsCredentials")
}

#[tokio::test]
async fn registry_tokens_with_a_wrong_expiry_are_used() {
    let uri = |round: usize| format!("{ECR}/node:{round}");
    let plan = Plan::new().await.node("a", Node::default().image(&uri(0)));
    let mut harness = plan
        .with(|cloud, memory| {
            memory.publish_image(&image(&uri(0)), b"0");
            cloud.registry.set_password("today");
            memory.require_credentials(ECR, "AWS", "today");
        })
        .up()
        .await;
    for (round, lifetime) in (1..).zip(LIFETIMES) {
        let id = harness.memory.publish_image(&image(&uri(round)), &[round as u8]);
        let lifetime = lifetime.try_into().expect("years are few enough");
        harness.cloud.registry.set_lifetime(lifetime);
        // A new daemon requests a token with this lifetime.
        harness.restart_daemon().await;
        harness.cloud.set_image("a:type", &uri(round));
        let has_it = || harness.view("a").is_some_and(|view| view.container.image_id == id);
        harness.eventually("a has the next image", |host| has_it() && host.is_converged()).await;
    }
}

#[tokio::test]
async fn access_tokens_of_seconds_are_renewed_in_time() {
    let mut harness = Harness::with(&["a"]).await;
    harness.cloud.set_token_lifetimes(Duration::from_secs(1), Duration::from_secs(3));
    harness.cloud.expire_tokens();
    for round in 0..4 {
        harness.cloud.set_node_config("a", &format!(r#"{{"round":{round}}}"#));
        harness.eventually("a restarts", |host| host.journal.starts("a") == round + 1).await;
    }
    harness.probe("a").await;
    assert_eq!(harness.journal.starts("a"), 5);
}
