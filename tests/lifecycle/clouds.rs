//! Faults of the cloud: sign-in, AppSync, tokens, credentials, queues, registries.

use std::time::{Duration, Instant};

use managed_app::exit::Exit;
use managed_app::host::Signal;
use managed_app_fakes::cloud::commands::Node;
use managed_app_fakes::cloud::{Fault, MalformedResponse, Service};
use managed_app_fakes::faulty::Verb;
use managed_app_runtimes::ErrorKind;

use crate::harness::{Harness, IMAGE, Plan, image};

const ECR: &str = "123456789012.dkr.ecr.eu-west-1.amazonaws.com";

fn calls(harness: &Harness, operation: &str) -> usize {
    let service = if operation.starts_with("Get") { Service::AppSync } else { Service::Cognito };
    harness.cloud.services.calls(service, operation)
}

/// A host with stopped containers and no daemon, as at a boot.
async fn at_boot(nodes: &[&str]) -> Harness {
    let mut harness = Harness::with(nodes).await;
    harness.stop().await;
    harness.journal.clear();
    harness
}

#[tokio::test]
async fn a_wrong_password_ends_the_daemon_before_it_touches_anything() {
    let mut harness = at_boot(&["a"]).await;
    harness.set("PASSWORD", "wrong");
    harness.start();
    assert_eq!(harness.ended().await, Exit::SignInRefused);
    // Only the engine info may have been requested.
    assert!(harness.journal.calls().iter().all(|call| call.verb == "info"), "{:?}", harness.journal.calls());
    assert!(!harness.runs("a"));
}

/// Fault 15: nodes sign in with the password too, so each is replaced once.
#[tokio::test]
async fn a_rotated_password_is_used_after_sighup() {
    let mut harness = Harness::with(&["a", "b"]).await;
    harness.cloud.set_password("a new one");
    harness.cloud.revoke_refresh_tokens();
    harness.cloud.expire_tokens();
    harness.signal(Signal::Hangup).await;
    harness
        .eventually("the rejection is reported", |host| host.status().is_some_and(|s| s.cloud_failure.is_some()))
        .await;
    assert!(harness.runs("a") && harness.runs("b"));
    harness.set("PASSWORD", "a new one");
    harness.signal(Signal::Hangup).await;
    harness.eventually("the cloud responds", |host| host.status().is_some_and(|s| s.cloud_failure.is_none())).await;
    let spec = |node: &str| harness.view(node).and_then(|view| view.spec);
    let has_it = |node: &str| spec(node).is_some_and(|spec| spec.env["PASSWORD"].expose() == "a new one");
    harness.eventually("both nodes have it", |host| host.is_converged() && has_it("a") && has_it("b")).await;
    assert_eq!(harness.journal.actions().iter().filter(|action| action.starts_with("create")).count(), 2);
}

#[tokio::test]
async fn containers_start_without_the_cloud_and_converge_later() {
    let mut harness = at_boot(&["a", "b"]).await;
    for service in [Service::Cognito, Service::AppSync] {
        harness.cloud.services.fail_until_released(service, Fault::Status(503));
    }
    harness.cloud.quietly(|world| world.add_node("c", Node::default().image(IMAGE)));
    harness.start();
    harness.eventually("existing containers run", |_| harness.runs("a") && harness.runs("b")).await;
    harness.eventually("it is reported", |host| host.status().is_some_and(|s| s.cloud_failure.is_some())).await;
    assert_eq!(harness.nodes_with_containers(), ["a", "b"]);
    for service in [Service::Cognito, Service::AppSync] {
        harness.cloud.services.release(service);
    }
    harness.converged().await;
    assert!(["a", "b", "c"].iter().all(|node| harness.runs(node)));
    assert_eq!(harness.status().and_then(|status| status.cloud_failure), None);
}

#[tokio::test]
async fn a_silent_cloud_delays_the_start_of_containers_by_seconds() {
    let mut harness = at_boot(&["a"]).await;
    harness.cloud.services.fail_until_released(Service::Cognito, Fault::Stall);
    harness.cloud.services.fail_until_released(Service::AppSync, Fault::Stall);
    harness.start();
    harness.eventually("existing containers run", |_| harness.runs("a")).await;
}

#[tokio::test]
async fn errors_and_gaps_in_answers_remove_and_restart_nothing() {
    let mut harness = Harness::with(&["a", "b", "c"]).await;
    for how in [MalformedResponse::NodeNull, MalformedResponse::NodeFailed, MalformedResponse::OnlyErrors] {
        harness.cloud.malform_next(how, 1);
        harness.cloud.connect("b", "c");
        harness.eventually("both ends restart", |h| ["b", "c"].iter().all(|n| h.journal.starts(n) == 1)).await;
        harness.probe("b").await;
        assert_eq!(harness.journal.sorted_actions(), ["restart b", "restart b", "restart c"], "{how:?}");
        harness.cloud.quietly(|world| world.disconnect("b", "c"));
        harness.probe("b").await;
        harness.journal.clear();
    }
    assert_eq!(harness.nodes_with_containers(), ["a", "b", "c"]);
}

#[tokio::test]
async fn a_gap_at_the_start_removes_no_container() {
    let mut harness = Plan::new().await.nodes(&["a", "b"]).set("MANAGED_APP_ON_EXIT", "leave").up().await;
    harness.stop().await;
    harness.cloud.malform_next(MalformedResponse::NodeNull, 1);
    harness.journal.clear();
    harness.start();
    harness.eventually("the start is over", |host| host.is_converged()).await;
    assert_eq!(harness.nodes_with_containers(), ["a", "b"]);
    harness.probe("b").await;
    assert_eq!((harness.journal.starts("a"), harness.journal.starts("b")), (0, 1));
}

#[tokio::test]
async fn expired_tokens_are_renewed_without_effect_on_nodes() {
    let mut harness = Harness::with(&["a", "b"]).await;
    harness.cloud.expire_tokens();
    harness.cloud.set_audit(true);
    harness.expect_no_more_than(&["restart a", "restart b"], "a").await;
    harness.cloud.expire_tokens();
    harness.cloud.revoke_refresh_tokens();
    let sign_ins = calls(&harness, "RespondToAuthChallenge");
    harness.cloud.set_audit(false);
    harness.expect_no_more_than(&["restart a", "restart b"], "a").await;
    assert_eq!(calls(&harness, "RespondToAuthChallenge"), sign_ins + 1);
}

#[tokio::test]
async fn revoked_app_credentials_are_renewed() {
    let mut harness = Harness::with(&["a", "b"]).await;
    for audit in [true, false] {
        harness.cloud.revoke_credentials();
        harness.cloud.set_audit(audit);
        harness.expect_no_more_than(&["restart a", "restart b"], "a").await;
    }
}

#[tokio::test]
async fn a_replaced_queue_is_found_and_nothing_is_lost() {
    let mut harness = Harness::with(&["a", "b"]).await;
    harness.eventually("a poll is pending", |host| host.cloud.queues.waiting() > 0).await;
    harness.cloud.replace_change_queue();
    harness.cloud.quietly(|world| world.connect("a", "b"));
    harness.expect(&["restart a", "restart b"]).await;
    harness.cloud.disconnect("a", "b");
    harness.expect_no_more_than(&["restart a", "restart b", "restart a", "restart b"], "a").await;
}

#[tokio::test]
async fn a_queue_that_fails_for_a_while_loses_nothing() {
    let mut harness = Harness::with(&["a", "b"]).await;
    harness.cloud.queues.fail_next(12, 500, "InternalError");
    harness.cloud.set_audit(true);
    harness.eventually("the first is applied", |host| host.journal.starts("b") > 0).await;
    harness.cloud.set_app_config(r#"{"x":1}"#);
    harness.eventually("the second is applied", |host| host.journal.starts("b") > 1).await;
    harness.cloud.queues.fail_next_deletes(2);
    harness.cloud.set_app_config(r#"{"x":2}"#);
    let twice = ["restart a", "restart b"];
    harness.expect_no_more_than(&[twice, twice, twice].concat(), "a").await;
}

#[tokio::test]
async fn failing_reads_are_retried_and_lose_no_change() {
    let mut harness = Harness::with(&["a", "b"]).await;
    harness.cloud.services.fail_next(Service::AppSync, 2, Fault::Status(500));
    harness.cloud.set_audit(true);
    harness.expect_no_more_than(&["restart a", "restart b"], "a").await;
}

#[tokio::test]
async fn one_image_that_cannot_be_pulled_delays_no_other_node() {
    let bad = "registry.test/missing:1";
    let plan = Plan::new().await.nodes(&["a", "b"]).node("bad", Node::default().image(bad));
    let mut harness = plan.start();
    harness.eventually("the others run", |_| harness.runs("a") && harness.runs("b")).await;
    harness.eventually("it is reported", |host| host.node("bad").is_some_and(|node| node.failure.is_some())).await;
    assert_eq!(harness.nodes_with_containers(), ["a", "b"]);
    let next = "registry.test/found:1";
    harness.memory.publish_image(&image(next), b"found");
    harness.cloud.set_image("bad:type", next);
    harness.eventually("it runs", |_| harness.runs("bad")).await;
    harness.probe("a").await;
    assert_eq!(harness.journal.starts("b"), 1);
}

#[tokio::test]
async fn without_the_registry_a_local_image_is_used() {
    let plan = Plan::new().await.nodes(&["a"]).with(|_, memory| drop(memory.load_image(&image(IMAGE), b"older")));
    let plan = plan.faulty(|faults| faults.on(Verb::Pull).times(1).fail(ErrorKind::Unreachable));
    let harness = plan.start();
    harness.eventually("a runs", |_| harness.runs("a")).await;
    let older = harness.container("a").await.image_id;
    harness
        .eventually("the newer image is pulled later", |_| {
            harness.view("a").is_some_and(|view| view.container.image_id != older && view.container.state.is_running())
        })
        .await;
    harness.converged().await;
}

#[tokio::test]
async fn private_images_are_pulled_with_one_token_of_their_own_region() {
    let (first, second) = (format!("{ECR}/node:1"), format!("{ECR}/other:1"));
    let plan = Plan::new().await.node("a", Node::default().image(&first)).node("b", Node::default().image(&second));
    let harness = plan
        .with(|cloud, memory| {
            memory.publish_image(&image(&first), b"first");
            memory.publish_image(&image(&second), b"second");
            cloud.registry.set_password("today");
            memory.require_credentials(ECR, "AWS", "today");
        })
        .start();
    harness.converged().await;
    assert_eq!(harness.cloud.registry.private_requests("eu-west-1"), 1);
    // The role of the token changed: the registry rejects the token long before its expiry.
    harness.cloud.registry.set_password("tomorrow");
    harness.memory.require_credentials(ECR, "AWS", "tomorrow");
    let next = format!("{ECR}/node:2");
    let id = harness.memory.publish_image(&image(&next), b"third");
    harness.cloud.set_image("a:type", &next);
    harness.eventually("a has the next image", |_| harness.view("a").is_some_and(|v| v.container.image_id == id)).await;
    assert_eq!(harness.cloud.registry.private_requests("eu-west-1"), 2);
}

#[tokio::test]
async fn a_disabled_user_is_reported_and_signs_in_after_sighup() {
    let mut harness = Harness::with(&["a", "b"]).await;
    harness.cloud.set_user_enabled(false);
    harness.cloud.expire_tokens();
    harness.cloud.set_audit(true);
    harness.eventually("it is reported", |host| host.status().is_some_and(|s| s.cloud_failure.is_some())).await;
    assert!(harness.runs("a") && harness.is_up());
    harness.cloud.set_user_enabled(true);
    let (before, began) = (calls(&harness, "InitiateAuth"), Instant::now());
    harness.signal(Signal::Hangup).await;
    harness.eventually("it signs in again", |_| calls(&harness, "InitiateAuth") > before).await;
    assert!(began.elapsed() < Duration::from_secs(8), "it waited for the end of the delay");
    harness.expect_no_more_than(&["restart a", "restart b"], "a").await;
}

#[tokio::test]
async fn an_invalid_node_is_reported_and_keeps_its_container() {
    let mut harness = Harness::with(&["a", "b"]).await;
    harness.cloud.set_image("a:type", "no image: at all");
    harness.eventually("it is reported", |host| host.node("a").is_some_and(|node| node.failure.is_some())).await;
    harness.probe("b").await;
    assert_eq!((harness.journal.actions(), harness.runs("a")), (vec!["restart b".to_owned()], true));
    harness.cloud.set_image("a:type", IMAGE);
    harness.eventually("it has no failure", |host| host.node("a").is_some_and(|node| node.failure.is_none())).await;
    harness.probe("b").await;
    assert_eq!(harness.journal.starts("a"), 0);
}

#[tokio::test]
async fn credentials_that_last_for_a_moment_only_lose_no_change() {
    let plan = Plan::new().await.nodes(&["a", "b"]);
    let mut harness = plan.with(|cloud, _| cloud.set_credentials_lifetime(Some(Duration::from_secs(2)))).up().await;
    for audit in [true, false, true] {
        harness.cloud.set_audit(audit);
        harness.expect_no_more_than(&["restart a", "restart b"], "a").await;
    }
}
