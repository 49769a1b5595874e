//! ECR and ECR Public tokens.
use std::time::Duration;

use aws_sdk_ecr::error::ProvideErrorMetadata;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use managed_app_fakes::cloud::ecr::{self, Registry};
use managed_app_fakes::cloud::sigv4::{Access, HostKeys, Retirement, Scope};
use time::OffsetDateTime;
use wiremock::MockServer;

use crate::client;

struct Fixture {
    server: MockServer,
    registry: Registry,
    access: Access,
}

async fn fixture() -> Fixture {
    let (server, access) = (MockServer::start().await, Access::new());
    access.allow("AKIAHOST", "host-secret", None, Scope::Operator, None);
    access.allow("AKIAAPP", "app-secret", None, Scope::App, None);
    let registry = ecr::mount(&server, access.clone()).await;
    Fixture { server, registry, access }
}

impl Fixture {
    async fn private(&self, region: &'static str) -> aws_sdk_ecr::Client {
        aws_sdk_ecr::Client::new(&client::config(&self.server.uri(), "AKIAHOST", "host-secret", None, region).await)
    }

    async fn public(&self, region: &'static str) -> aws_sdk_ecrpublic::Client {
        let config = client::config(&self.server.uri(), "AKIAHOST", "host-secret", None, region).await;
        aws_sdk_ecrpublic::Client::new(&config)
    }
}

fn token_of(password: &str) -> String {
    STANDARD.encode(format!("AWS:{password}"))
}

#[tokio::test]
#[allow(deprecated, reason = "AWS calls registryIds outdated, and the contract uses it")]
async fn private_tokens_contain_password_expiry_and_endpoint() {
    let fixture = fixture().await;
    fixture.registry.set_password("s3cret");
    fixture.registry.set_lifetime(time::Duration::minutes(10));
    let call = fixture.private("eu-west-1").await.get_authorization_token().registry_ids("111122223333");
    let output = call.send().await.expect("a token");
    let [data] = output.authorization_data() else { panic!("one token, not {output:?}") };
    assert_eq!(data.authorization_token(), Some(token_of("s3cret").as_str()));
    assert_eq!(data.proxy_endpoint(), Some("https://111122223333.dkr.ecr.eu-west-1.amazonaws.com"));
    let left = data.expires_at().expect("an end").secs() - OffsetDateTime::now_utc().unix_timestamp();
    assert!((540..=600).contains(&left), "{left} s left");
    assert_eq!(fixture.registry.private_requests("eu-west-1"), 1);
    assert_eq!(fixture.registry.private_requests("us-east-1"), 0);
    assert_eq!(fixture.registry.requests()[0].registry_ids, ["111122223333"]);
    assert!(!format!("{:?}", fixture.registry).contains("s3cret"));
}

#[tokio::test]
async fn public_tokens_exist_in_one_region_only() {
    let fixture = fixture().await;
    fixture.registry.set_password("s3cret");
    let output = fixture.public("us-east-1").await.get_authorization_token().send().await.expect("a token");
    let data = output.authorization_data().expect("one token");
    assert_eq!(data.authorization_token(), Some(token_of("s3cret").as_str()));
    let refused = fixture.public("eu-west-1").await.get_authorization_token().send().await.expect_err("wrong region");
    assert_eq!(refused.code(), Some("InvalidSignatureException"));
    assert_eq!(fixture.registry.public_requests(), 1);
}

#[tokio::test]
async fn tokens_are_refused_by_region_credential_and_fault() {
    let fixture = fixture().await;
    let code = async |client: aws_sdk_ecr::Client| {
        let error = client.get_authorization_token().send().await.err()?;
        // Every service with AWS JSON 1.1 uses this status for any of these errors.
        assert_eq!(error.raw_response().map(|response| response.status().as_u16()), Some(400));
        error.code().map(str::to_owned)
    };
    let with = async |id: &str, secret: &str| {
        aws_sdk_ecr::Client::new(&client::config(&fixture.server.uri(), id, secret, None, "us-east-1").await)
    };
    assert_eq!(code(with("AKIAAPP", "app-secret").await).await.as_deref(), Some("AccessDeniedException"));
    assert_eq!(code(with("AKIAHOST", "wrong").await).await.as_deref(), Some("InvalidSignatureException"));
    assert_eq!(code(with("AKIANOBODY", "x").await).await.as_deref(), Some("UnrecognizedClientException"));
    fixture.registry.restrict_regions(&["eu-west-1"]);
    assert_eq!(code(fixture.private("eu-west-1").await).await, None);
    assert_eq!(code(fixture.private("ap-south-1").await).await.as_deref(), Some("UnrecognizedClientException"));
    fixture.registry.faults().fail_next(1, 400, "ThrottlingException");
    assert_eq!(code(fixture.private("eu-west-1").await).await.as_deref(), Some("ThrottlingException"));
    fixture.registry.faults().set_denied(true);
    assert_eq!(code(fixture.private("eu-west-1").await).await.as_deref(), Some("AccessDeniedException"));
    fixture.registry.faults().clear();
    assert_eq!(code(fixture.private("eu-west-1").await).await, None);
}

#[tokio::test]
async fn a_delay_fault_delays_the_response() {
    let fixture = fixture().await;
    fixture.registry.faults().set_delay(Some(Duration::from_secs(30)));
    let client = fixture.private("us-east-1").await;
    let waited = tokio::time::timeout(Duration::from_millis(500), client.get_authorization_token().send()).await;
    assert!(waited.is_err(), "no answer yet");
    fixture.registry.faults().set_delay(None);
    client.get_authorization_token().send().await.expect("a token at once");
}

#[tokio::test]
#[allow(deprecated, reason = "AWS calls registryIds outdated, and the contract uses it")]
async fn replaced_keys_are_refused_and_each_call_is_recorded() {
    let fixture = fixture().await;
    let code = async |keys: &HostKeys, token: Option<&str>| {
        let config = client::config(&fixture.server.uri(), &keys.id, &keys.secret, token, "eu-west-1").await;
        let call = aws_sdk_ecr::Client::new(&config).get_authorization_token().registry_ids("111122223333");
        call.send().await.err().map(|error| error.code().unwrap_or_default().to_owned())
    };
    let whole = async |keys: &HostKeys| code(keys, Some(&keys.session_token)).await;
    let first = fixture.access.add_host_keys();
    assert_eq!(whole(&first).await, None);
    assert_eq!(
        code(&first, None).await.as_deref(),
        Some("UnrecognizedClientException"),
        "its session token is missing"
    );
    let second = fixture.access.add_host_keys();
    assert_eq!((whole(&first).await, whole(&second).await), (None, None), "both are good for a while");
    assert_eq!(fixture.access.retire_host_keys(Retirement::Expired), 2, "the first, and the one of the fixture");
    assert_eq!(whole(&first).await.as_deref(), Some("ExpiredTokenException"));
    let third = fixture.access.add_host_keys();
    assert_eq!(fixture.access.retire_host_keys(Retirement::Unknown), 1);
    assert_eq!(whole(&second).await.as_deref(), Some("UnrecognizedClientException"));
    assert_eq!(whole(&third).await, None);
    // The HTTP client requires one; another test may have installed it.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let anonymous = reqwest::Client::new().post(fixture.server.uri()).body("{}");
    let target = "SpencerFrontendService.GetAuthorizationToken";
    let refused = anonymous.header("x-amz-target", target).send().await.expect("an answer");
    assert_eq!(refused.status().as_u16(), 400);

    let calls = fixture.access.host_calls();
    let errors: Vec<_> = calls.iter().map(|call| call.error.as_deref().unwrap_or("ok")).collect();
    let (unknown, expired) = ("UnrecognizedClientException", "ExpiredTokenException");
    let missing = "MissingAuthenticationTokenException";
    assert_eq!(errors, ["ok", unknown, "ok", "ok", expired, unknown, "ok", missing]);
    let [call, .., last] = &calls[..] else { panic!("several calls, not {calls:?}") };
    assert_eq!((call.service, call.region.as_str(), call.subject.as_str()), ("ecr", "eu-west-1", "111122223333"));
    assert_eq!((call.operation.as_str(), &call.key), ("GetAuthorizationToken", &first.id));
    assert_eq!((last.service, last.region.as_str(), last.key.as_str()), ("ecr-public", "", ""));
    assert!(!format!("{first:?}").contains(&first.secret));
}
