//! Tests of the live client with the fake cloud: sign-in, tokens, errors, snapshots, credentials.

use std::sync::Arc;
use std::time::Duration;

use managed_app_fakes::FakeCloud;
use managed_app_fakes::cloud::{Fault, MalformedResponse, Service};
use secrecy::SecretString;
use tokio::time::timeout;

use super::testing::{SOON, client, client_with};
use super::{AppCredentials, CloudError, CloudErrorKind, ControlPlane};
use crate::model::{App, NodeName, Snapshot};
use crate::text::chain;

const IMAGE: &str = "public.ecr.aws/x/y:1";

fn app_of(snapshot: Result<Snapshot, CloudError>) -> Arc<App> {
    match snapshot {
        Ok(Snapshot::App(app) | Snapshot::Update { app, .. }) => app,
        Ok(Snapshot::Gone) => panic!("gone"),
        Err(error) => panic!("{}", chain(&error)),
    }
}

fn kind_of<T>(result: Result<T, CloudError>) -> CloudErrorKind {
    match result {
        Ok(_) => panic!("it worked"),
        Err(error) => error.kind(),
    }
}

#[tokio::test]
async fn the_whole_app_comes_in_one_snapshot() {
    let fake = FakeCloud::start().await;
    fake.add_node("a: b", |node| node.image(IMAGE).tcp(8080, 80).volume("data", "/data").config("{\"x\":1}"));
    fake.add_node("c", |node| node.image(IMAGE));
    fake.connect("a: b", "c");
    let client = client(&fake).await;
    let app = app_of(client.cloud.app().await);
    assert!(app.is_complete && app.invalid_nodes.is_empty(), "{app:?}");
    assert_eq!(app.change_receiver.as_ref().map(|receiver| receiver.queue.clone()), Some(fake.change_queue()));
    let node = &app.nodes[&NodeName::new("a: b").expect("a name")];
    assert_eq!((node.ports[0].host_port, node.mounts[0].target.as_str()), (8080, "/data"));
    assert_eq!(node.send_edges[0].other, "c");
    assert_eq!(app.nodes[&NodeName::new("c").expect("a name")].receive_edges[0].queue, node.send_edges[0].queue);
    assert_eq!(fake.services.calls(Service::AppSync, "POST"), 1);
}

#[tokio::test]
async fn calls_at_the_same_time_share_one_sign_in() {
    let fake = FakeCloud::start().await;
    let client = client(&fake).await;
    let answers = futures_util::future::join_all((0..8).map(|_| client.cloud.app())).await;
    assert!(answers.into_iter().all(|answer| answer.is_ok()));
    assert_eq!(fake.services.calls(Service::Cognito, "InitiateAuth"), 1);
}

#[tokio::test]
async fn wrong_users_and_passwords_are_refused() {
    for (variable, value) in [("PASSWORD", "wrong"), ("USER_NAME", "nobody"), ("CLIENT_ID", "unknown")] {
        let fake = FakeCloud::start().await;
        let client = client_with(&fake, |env| drop(env.insert(variable.to_owned(), value.to_owned()))).await;
        let error = client.cloud.sign_in().await.expect_err(variable);
        assert_eq!(error.kind(), CloudErrorKind::Denied, "{}", chain(&error));
        assert!(!format!("{error:?} {}", chain(&error)).contains("wrong"), "the password shows: {error:?}");
        assert_eq!(fake.services.calls(Service::AppSync, "POST"), 0);
    }
}

#[tokio::test]
async fn a_new_password_is_used_without_a_restart() {
    let fake = FakeCloud::start().await;
    let client = client(&fake).await;
    fake.set_password("another");
    assert_eq!(kind_of(client.cloud.app().await), CloudErrorKind::Denied);
    client.password.send_replace(SecretString::from("another"));
    app_of(client.cloud.app().await);
}

#[tokio::test]
async fn an_expired_token_is_refreshed_once_and_the_call_repeated() {
    let fake = FakeCloud::start().await;
    let client = client(&fake).await;
    app_of(client.cloud.app().await);
    fake.expire_tokens();
    app_of(client.cloud.app().await);
    assert_eq!(fake.services.calls(Service::Cognito, "InitiateAuth"), 2);
    assert_eq!(fake.services.calls(Service::Cognito, "RespondToAuthChallenge"), 1, "no password for a refresh");
    assert_eq!(fake.services.calls(Service::AppSync, "POST"), 3);
}

#[tokio::test]
async fn a_refused_refresh_falls_back_to_the_password() {
    let fake = FakeCloud::start().await;
    let client = client(&fake).await;
    app_of(client.cloud.app().await);
    fake.expire_tokens();
    fake.revoke_refresh_tokens();
    app_of(client.cloud.app().await);
    assert_eq!(fake.services.calls(Service::Cognito, "RespondToAuthChallenge"), 2);

    fake.expire_tokens();
    fake.set_user_enabled(false);
    assert_eq!(kind_of(client.cloud.app().await), CloudErrorKind::Denied);
    fake.set_user_enabled(true);
    app_of(client.cloud.app().await);
}

#[tokio::test]
async fn tokens_are_renewed_before_they_end() {
    let fake = FakeCloud::start().await;
    // A token with a lifetime of 1 s is fresh for 0.75 s.
    fake.set_token_lifetimes(Duration::from_secs(1), Duration::from_secs(3600));
    let client = client(&fake).await;
    let renewed = async {
        while fake.services.calls(Service::Cognito, "InitiateAuth") < 2 {
            client.cloud.sign_in().await.expect("password and refresh token are right");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(SOON, renewed).await.expect("renewed while nobody refused the token");
    assert_eq!(fake.services.calls(Service::Cognito, "RespondToAuthChallenge"), 1);
}

#[tokio::test]
async fn partial_data_is_never_a_snapshot() {
    let fake = FakeCloud::start().await;
    fake.add_node("a", |node| node.image(IMAGE));
    let client = client(&fake).await;
    for how in [MalformedResponse::NodeFailed, MalformedResponse::OnlyErrors] {
        fake.malform_next(how, 1);
        assert_eq!(kind_of(client.cloud.app().await), CloudErrorKind::Failed, "{how:?}");
    }
    fake.malform_next(MalformedResponse::NodeNull, 1);
    let app = app_of(client.cloud.app().await);
    assert_eq!((app.is_complete, app.nodes.len()), (false, 0));
    let app = app_of(client.cloud.app().await);
    assert_eq!((app.is_complete, app.nodes.len()), (true, 1));
}

#[tokio::test]
async fn an_absent_app_is_reported_as_gone() {
    let fake = FakeCloud::start().await;
    let client = client(&fake).await;
    fake.remove_app();
    assert_eq!(client.cloud.app().await.ok(), Some(Snapshot::Gone));
}

#[tokio::test]
async fn a_transient_failure_is_retried_at_most_twice() {
    let fake = FakeCloud::start().await;
    let client = client(&fake).await;
    let cases = [(503, CloudErrorKind::Failed), (429, CloudErrorKind::Throttled), (500, CloudErrorKind::Failed)];
    for (status, kind) in cases {
        fake.services.fail_next(Service::AppSync, 2, Fault::Status(status));
        app_of(client.cloud.app().await);
        let before = fake.services.calls(Service::AppSync, "POST");
        fake.services.fail_next(Service::AppSync, 3, Fault::Status(status));
        assert_eq!(kind_of(client.cloud.app().await), kind, "{status}");
        assert_eq!(fake.services.calls(Service::AppSync, "POST") - before, 3, "{status}");
    }
}

#[tokio::test]
async fn a_refused_connection_counts_as_unreachable() {
    let fake = FakeCloud::start().await;
    // Nothing listens on the discard port of this host.
    let nowhere = "http://127.0.0.1:9/graphql".to_owned();
    let client = client_with(&fake, |env| drop(env.insert("APPSYNC_ENDPOINT".to_owned(), nowhere))).await;
    assert_eq!(kind_of(client.cloud.app().await), CloudErrorKind::Unreachable);
}

#[tokio::test]
async fn app_credentials_are_read_once_and_renewed_after_expire() {
    let fake = FakeCloud::start().await;
    let client = client(&fake).await;
    let credentials = AppCredentials::new(client.cloud.clone());
    let answers = futures_util::future::join_all((0..8).map(|_| credentials.get())).await;
    let keys: Vec<String> =
        answers.into_iter().map(|answer| answer.expect("credentials").access_key_id().to_owned()).collect();
    assert!(keys.iter().all(|key| *key == keys[0]), "{keys:?}");
    credentials.expire();
    assert_ne!(credentials.get().await.expect("credentials").access_key_id(), keys[0]);
    fake.remove_app();
    credentials.expire();
    assert_eq!(kind_of(credentials.get().await), CloudErrorKind::InvalidResponse);
}

#[tokio::test]
async fn no_secret_shows_in_debug() {
    let fake = FakeCloud::start().await;
    let client = client(&fake).await;
    client.cloud.sign_in().await.expect("the password is right");
    let shown = format!("{:?}", client.cloud);
    assert!(!shown.contains(&fake.env()["PASSWORD"]), "{shown}");
    assert!(!shown.contains("eyJ"), "a token shows: {shown}");
}
