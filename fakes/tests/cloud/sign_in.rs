//! Sign-in: the SRP server against another implementation of the client, errors, refresh.

use std::time::Duration;

use managed_app_fakes::FakeCloud;
use managed_app_fakes::cloud::Service;
use serde_json::{Value, json};

use crate::client::{Client, text};

#[tokio::test]
async fn right_password_gives_tokens_that_appsync_accepts() {
    let cloud = FakeCloud::start().await;
    let client = Client::signed_in(&cloud).await;
    assert_eq!(client.token.split('.').count(), 3, "an access token looks like a JWT");
    assert_eq!(client.app().await["name"], client.env["APP"]);
    assert_eq!(cloud.services.calls(Service::Cognito, "InitiateAuth"), 1);
    assert_eq!(cloud.services.calls(Service::Cognito, "RespondToAuthChallenge"), 1);
}

/// Salts and public values of every length and with the highest bit set or not: both sides must pad in the same way.
#[tokio::test]
async fn many_salts_and_passwords_all_work() {
    let cloud = FakeCloud::builder().srp_id("3f6c-alias").start().await.expect("a port");
    let mut client = Client::new(&cloud);
    for number in 0..24 {
        let password = format!("pässword {number}");
        cloud.set_password(&password);
        client.env.insert("PASSWORD".to_owned(), password);
        let (status, answer) = client.sign_in().await;
        assert_eq!(status, 200, "round {number}: {answer}");
    }
}

#[tokio::test]
async fn wrong_password_is_refused() {
    let cloud = FakeCloud::start().await;
    let mut client = Client::new(&cloud);
    client.env.insert("PASSWORD".to_owned(), "wrong".to_owned());
    check_refused(client.sign_in().await, "NotAuthorizedException", "Incorrect username or password.");
}

#[tokio::test]
async fn rotated_password_counts_at_once() {
    let cloud = FakeCloud::start().await;
    let mut client = Client::new(&cloud);
    cloud.set_password("another");
    check_refused(client.sign_in().await, "NotAuthorizedException", "Incorrect username or password.");
    client.env.insert("PASSWORD".to_owned(), "another".to_owned());
    assert_eq!(client.sign_in().await.0, 200);
}

#[tokio::test]
async fn strangers_are_refused() {
    let cloud = FakeCloud::start().await;
    let mut client = Client::new(&cloud);
    client.env.insert("USER_NAME".to_owned(), "nobody".to_owned());
    check_refused(client.sign_in().await, "UserNotFoundException", "User does not exist.");
    let mut client = Client::new(&cloud);
    client.env.insert("CLIENT_ID".to_owned(), "unknown".to_owned());
    check_refused(client.sign_in().await, "ResourceNotFoundException", "User pool client unknown does not exist.");
}

#[tokio::test]
async fn disabled_user_comes_back_when_enabled() {
    let cloud = FakeCloud::start().await;
    let client = Client::new(&cloud);
    cloud.set_user_enabled(false);
    check_refused(client.sign_in().await, "NotAuthorizedException", "User is disabled.");
    cloud.set_user_enabled(true);
    assert_eq!(client.sign_in().await.0, 200);
}

#[tokio::test]
async fn a_challenge_has_one_answer_and_zero_is_not_a_key() {
    let cloud = FakeCloud::start().await;
    let client = Client::new(&cloud);
    check_refused(client.begin("00").await, "InvalidParameterException", "SRP_A is no valid number.");
    let (_, answer) = client.begin("0a0b0c").await;
    let proof = json!({
        "USERNAME": client.env["USER_NAME"], "TIMESTAMP": "Sun Nov 1 19:17:00 UTC 2026",
        "PASSWORD_CLAIM_SECRET_BLOCK": answer["ChallengeParameters"]["SECRET_BLOCK"], "PASSWORD_CLAIM_SIGNATURE": "AAAA",
    });
    for _ in 0..2 {
        check_refused(client.respond(&proof).await, "NotAuthorizedException", "Incorrect username or password.");
    }
    let mut odd = proof.clone();
    odd["TIMESTAMP"] = json!("2026-11-01T19:17:00Z");
    let expected = "TIMESTAMP format should be EEE MMM d HH:mm:ss z yyyy in english.";
    check_refused(client.respond(&odd).await, "InvalidParameterException", expected);
}

#[tokio::test]
async fn refresh_gives_another_token_until_it_expires_or_is_revoked() {
    let cloud = FakeCloud::start().await;
    let mut client = Client::new(&cloud);
    let refresh = refresh_token(&client).await;
    let (status, answer) = client.refresh(&refresh).await;
    let result = &answer["AuthenticationResult"];
    assert_eq!((status, &result["RefreshToken"]), (200, &Value::Null), "a refresh gives no new refresh token");
    client.token = text(&result["AccessToken"]);
    assert_eq!(client.app().await["__typename"], "ManagedApp");
    cloud.expire_refresh_tokens();
    check_refused(client.refresh(&refresh).await, "NotAuthorizedException", "Refresh Token has expired");
    let refresh = refresh_token(&client).await;
    cloud.revoke_refresh_tokens();
    check_refused(client.refresh(&refresh).await, "NotAuthorizedException", "Refresh Token has been revoked");
}

#[tokio::test]
async fn lifetimes_are_reported_and_applied() {
    let cloud = FakeCloud::start().await;
    cloud.set_token_lifetimes(Duration::ZERO, Duration::ZERO);
    let mut client = Client::new(&cloud);
    let (_, answer) = client.sign_in().await;
    let result = &answer["AuthenticationResult"];
    assert_eq!(result["ExpiresIn"], 0);
    client.token = text(&result["AccessToken"]);
    let (status, body) = client.graphql("{ __typename }", json!({})).await;
    assert_eq!((status, &body["errors"][0]["errorType"]), (401, &json!("UnauthorizedException")));
    let refused = client.refresh(&text(&result["RefreshToken"])).await;
    check_refused(refused, "NotAuthorizedException", "Refresh Token has expired");
}

async fn refresh_token(client: &Client) -> String {
    text(&client.sign_in().await.1["AuthenticationResult"]["RefreshToken"])
}

fn check_refused((status, body): (u16, Value), code: &str, message: &str) {
    assert_eq!((status, &body), (400, &json!({"__type": code, "message": message})));
}
