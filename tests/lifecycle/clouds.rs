//! What the cloud does wrong: sign-in, AppSync, tokens, credentials, queues, registries.

use std::time::{Duration, Instant};

use managed_app::exit::Exit;
use managed_app::host::Signal;
use managed_app_fakes::cloud::words::Node;
use managed_app_fakes::cloud::{Fault, Service, Spoiled};
use managed_app_fakes::faulty::Verb;
use managed_app_runtimes::ErrorKind;

use crate::site::{IMAGE, Plan, Site, image};

const ECR: &str = "123456789012.dkr.ecr.eu-west-1.amazonaws.com";

fn asked(site: &Site, operation: &str) -> usize {
    let service = if operation.starts_with("Get") { Service::AppSync } else { Service::Cognito };
    site.cloud.services.calls(service, operation)
}

/// A site whose daemon has ended with its containers stopped, as at a boot of the host.
async fn at_boot(nodes: &[&str]) -> Site {
    let mut site = Site::with(nodes).await;
    site.stop().await;
    site.journal.clear();
    site
}

#[tokio::test]
async fn a_wrong_password_ends_the_daemon_before_it_touches_anything() {
    let mut site = at_boot(&["a"]).await;
    site.set("PASSWORD", "wrong");
    site.start();
    assert_eq!(site.ended().await, Exit::SignInRefused);
    // The engine may have been asked what it is meanwhile, and nothing else.
    assert!(site.journal.calls().iter().all(|call| call.verb == "info"), "{:?}", site.journal.calls());
    assert!(!site.runs("a"));
}

/// Fault 15: the nodes' own sign-in needs the new password too, so each is made anew, once.
#[tokio::test]
async fn a_rotated_password_is_taken_up_at_a_hangup() {
    let mut site = Site::with(&["a", "b"]).await;
    site.cloud.set_password("a new one");
    site.cloud.revoke_refresh_tokens();
    site.cloud.expire_tokens();
    site.signal(Signal::Hangup).await;
    site.eventually("the refusal is said", |host| host.status().is_some_and(|s| s.cloud_failure.is_some())).await;
    assert!(site.runs("a") && site.runs("b"));
    site.set("PASSWORD", "a new one");
    site.signal(Signal::Hangup).await;
    site.eventually("the cloud answers", |host| host.status().is_some_and(|s| s.cloud_failure.is_none())).await;
    let spec = |node: &str| site.view(node).and_then(|view| view.spec);
    let has_it = |node: &str| spec(node).is_some_and(|spec| spec.env["PASSWORD"].expose() == "a new one");
    site.eventually("both nodes have it", |host| host.is_converged() && has_it("a") && has_it("b")).await;
    assert_eq!(site.journal.acts().iter().filter(|act| act.starts_with("create")).count(), 2);
}

#[tokio::test]
async fn a_cloud_that_is_down_at_the_start_lets_own_containers_run_and_is_followed_when_it_returns() {
    let mut site = at_boot(&["a", "b"]).await;
    for service in [Service::Cognito, Service::AppSync] {
        site.cloud.services.fail_until_released(service, Fault::Status(503));
    }
    site.cloud.quietly(|world| world.add_node("c", Node::default().image(IMAGE)));
    site.start();
    site.eventually("what is there runs", |_| site.runs("a") && site.runs("b")).await;
    site.eventually("it is said", |host| host.status().is_some_and(|s| s.cloud_failure.is_some())).await;
    assert_eq!(site.nodes_with_containers(), ["a", "b"]);
    for service in [Service::Cognito, Service::AppSync] {
        site.cloud.services.release(service);
    }
    site.converged().await;
    assert!(["a", "b", "c"].iter().all(|node| site.runs(node)));
    assert_eq!(site.status().and_then(|status| status.cloud_failure), None);
}

#[tokio::test]
async fn a_cloud_that_is_silent_at_the_start_holds_up_own_containers_for_seconds_only() {
    let mut site = at_boot(&["a"]).await;
    site.cloud.services.fail_until_released(Service::Cognito, Fault::Stall);
    site.cloud.services.fail_until_released(Service::AppSync, Fault::Stall);
    site.start();
    site.eventually("what is there runs", |_| site.runs("a")).await;
}

#[tokio::test]
async fn errors_and_gaps_in_answers_remove_and_restart_nothing() {
    let mut site = Site::with(&["a", "b", "c"]).await;
    for how in [Spoiled::NodeNull, Spoiled::NodeFailed, Spoiled::OnlyErrors] {
        site.cloud.spoil_next(how, 1);
        site.cloud.connect("b", "c");
        site.eventually("both ends restart", |h| ["b", "c"].iter().all(|n| h.journal.starts(n) == 1)).await;
        site.probe("b").await;
        assert_eq!(site.journal.sorted_acts(), ["restart b", "restart b", "restart c"], "{how:?}");
        site.cloud.quietly(|world| world.disconnect("b", "c"));
        site.probe("b").await;
        site.journal.clear();
    }
    assert_eq!(site.nodes_with_containers(), ["a", "b", "c"]);
}

#[tokio::test]
async fn a_gap_at_the_start_removes_no_container() {
    let mut site = Plan::new().await.nodes(&["a", "b"]).set("MANAGED_APP_ON_EXIT", "leave").up().await;
    site.stop().await;
    site.cloud.spoil_next(Spoiled::NodeNull, 1);
    site.journal.clear();
    site.start();
    site.eventually("the start is over", |host| host.is_converged()).await;
    assert_eq!(site.nodes_with_containers(), ["a", "b"]);
    site.probe("b").await;
    assert_eq!((site.journal.starts("a"), site.journal.starts("b")), (0, 1));
}

#[tokio::test]
async fn expired_tokens_are_renewed_unseen() {
    let mut site = Site::with(&["a", "b"]).await;
    site.cloud.expire_tokens();
    site.cloud.set_audit(true);
    site.expect_no_more_than(&["restart a", "restart b"], "a").await;
    site.cloud.expire_tokens();
    site.cloud.revoke_refresh_tokens();
    let sign_ins = asked(&site, "RespondToAuthChallenge");
    site.cloud.set_audit(false);
    site.expect_no_more_than(&["restart a", "restart b"], "a").await;
    assert_eq!(asked(&site, "RespondToAuthChallenge"), sign_ins + 1);
}

#[tokio::test]
async fn revoked_app_credentials_are_renewed() {
    let mut site = Site::with(&["a", "b"]).await;
    for audit in [true, false] {
        site.cloud.revoke_credentials();
        site.cloud.set_audit(audit);
        site.expect_no_more_than(&["restart a", "restart b"], "a").await;
    }
}

#[tokio::test]
async fn a_replaced_queue_is_found_and_nothing_is_lost() {
    let mut site = Site::with(&["a", "b"]).await;
    site.eventually("a poll waits", |host| host.cloud.queues.waiting() > 0).await;
    site.cloud.replace_change_queue();
    site.cloud.quietly(|world| world.connect("a", "b"));
    site.expect(&["restart a", "restart b"]).await;
    site.cloud.disconnect("a", "b");
    site.expect_no_more_than(&["restart a", "restart b", "restart a", "restart b"], "a").await;
}

#[tokio::test]
async fn a_queue_that_fails_for_a_while_loses_nothing() {
    let mut site = Site::with(&["a", "b"]).await;
    site.cloud.queues.fail_next(12, 500, "InternalError");
    site.cloud.set_audit(true);
    site.eventually("the first is taken", |host| host.journal.starts("b") > 0).await;
    site.cloud.set_app_config(r#"{"x":1}"#);
    site.eventually("the second is taken", |host| host.journal.starts("b") > 1).await;
    site.cloud.queues.fail_next_deletes(2);
    site.cloud.set_app_config(r#"{"x":2}"#);
    let twice = ["restart a", "restart b"];
    site.expect_no_more_than(&[twice, twice, twice].concat(), "a").await;
}

#[tokio::test]
async fn throttled_reads_are_patient_and_the_change_is_not_lost() {
    let mut site = Site::with(&["a", "b"]).await;
    site.cloud.services.fail_next(Service::AppSync, 2, Fault::Status(500));
    site.cloud.set_audit(true);
    site.expect_no_more_than(&["restart a", "restart b"], "a").await;
}

#[tokio::test]
async fn one_image_that_cannot_be_pulled_holds_up_no_other_node() {
    let bad = "registry.test/missing:1";
    let plan = Plan::new().await.nodes(&["a", "b"]).node("bad", Node::default().image(bad));
    let mut site = plan.start();
    site.eventually("the others run", |_| site.runs("a") && site.runs("b")).await;
    site.eventually("it is said", |host| host.node("bad").is_some_and(|node| node.failure.is_some())).await;
    assert_eq!(site.nodes_with_containers(), ["a", "b"]);
    let next = "registry.test/found:1";
    site.memory.publish_image(&image(next), b"found");
    site.cloud.set_image("bad:type", next);
    site.eventually("it runs", |_| site.runs("bad")).await;
    site.probe("a").await;
    assert_eq!(site.journal.starts("b"), 1);
}

#[tokio::test]
async fn with_the_registry_away_a_present_image_will_do() {
    let plan = Plan::new().await.nodes(&["a"]).with(|_, memory| drop(memory.load_image(&image(IMAGE), b"older")));
    let plan = plan.faulty(|faults| faults.on(Verb::Pull).times(1).fail(ErrorKind::Unreachable));
    let site = plan.start();
    site.eventually("a runs", |_| site.runs("a")).await;
    let older = site.container("a").await.image_id;
    site.eventually("the newer one is fetched later", |_| {
        site.view("a").is_some_and(|view| view.container.image_id != older && view.container.state.is_running())
    })
    .await;
    site.converged().await;
}

#[tokio::test]
async fn private_images_are_pulled_with_one_token_of_their_own_region() {
    let (first, second) = (format!("{ECR}/node:1"), format!("{ECR}/other:1"));
    let plan = Plan::new().await.node("a", Node::default().image(&first)).node("b", Node::default().image(&second));
    let site = plan
        .with(|cloud, memory| {
            memory.publish_image(&image(&first), b"first");
            memory.publish_image(&image(&second), b"second");
            cloud.registry.set_password("today");
            memory.require_credentials(ECR, "AWS", "today");
        })
        .start();
    site.converged().await;
    assert_eq!(site.cloud.registry.private_requests("eu-west-1"), 1);
    // The role behind the token changed: it is refused long before its end.
    site.cloud.registry.set_password("tomorrow");
    site.memory.require_credentials(ECR, "AWS", "tomorrow");
    let next = format!("{ECR}/node:2");
    let id = site.memory.publish_image(&image(&next), b"third");
    site.cloud.set_image("a:type", &next);
    site.eventually("a has the next one", |_| site.view("a").is_some_and(|v| v.container.image_id == id)).await;
    assert_eq!(site.cloud.registry.private_requests("eu-west-1"), 2);
}

#[tokio::test]
async fn a_user_who_is_disabled_for_a_while_is_reported_and_signs_in_again_when_an_operator_asks() {
    let mut site = Site::with(&["a", "b"]).await;
    site.cloud.set_user_enabled(false);
    site.cloud.expire_tokens();
    site.cloud.set_audit(true);
    site.eventually("it is said", |host| host.status().is_some_and(|s| s.cloud_failure.is_some())).await;
    assert!(site.runs("a") && site.is_up());
    site.cloud.set_user_enabled(true);
    let (before, began) = (asked(&site, "InitiateAuth"), Instant::now());
    site.signal(Signal::Hangup).await;
    site.eventually("it asks again", |_| asked(&site, "InitiateAuth") > before).await;
    assert!(began.elapsed() < Duration::from_secs(8), "it waited for the end of the pause");
    site.expect_no_more_than(&["restart a", "restart b"], "a").await;
}

#[tokio::test]
async fn a_node_that_cannot_be_as_described_is_reported_and_left_as_it_is() {
    let mut site = Site::with(&["a", "b"]).await;
    site.cloud.set_image("a:type", "no image: at all");
    site.eventually("it is said", |host| host.node("a").is_some_and(|node| node.failure.is_some())).await;
    site.probe("b").await;
    assert_eq!((site.journal.acts(), site.runs("a")), (vec!["restart b".to_owned()], true));
    site.cloud.set_image("a:type", IMAGE);
    site.eventually("it is well", |host| host.node("a").is_some_and(|node| node.failure.is_none())).await;
    site.probe("b").await;
    assert_eq!(site.journal.starts("a"), 0);
}

#[tokio::test]
async fn credentials_that_last_for_a_moment_only_lose_no_change() {
    let plan = Plan::new().await.nodes(&["a", "b"]);
    let mut site = plan.with(|cloud, _| cloud.set_credentials_lifetime(Some(Duration::from_secs(2)))).up().await;
    for audit in [true, false, true] {
        site.cloud.set_audit(audit);
        site.expect_no_more_than(&["restart a", "restart b"], "a").await;
    }
}
