//! Tests of registry credentials with a small fake of ECR.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider, future};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use wiremock::matchers::any;
use wiremock::{Mock, MockServer, Request, Respond, ResponseTemplate};

use super::*;
use crate::cloud::testing::{SOON, aws_at};
use crate::cloud::{AwsOptions, CloudErrorKind};

const PRIVATE: &str = "123456789012.dkr.ecr.eu-west-1.amazonaws.com/node:1";
const PUBLIC: &str = "public.ecr.aws/x/node:1";

/// One received call: target, region of the signature, body.
type Seen = (String, String, Value);

/// Returns numbered tokens, or fails.
#[derive(Clone, Default)]
struct Ecr {
    seen: Arc<Mutex<Vec<Seen>>>,
    failure: Arc<Mutex<Option<(u16, &'static str)>>>,
    lifetime: Arc<Mutex<Option<Duration>>>,
}

impl Respond for Ecr {
    fn respond(&self, request: &Request) -> ResponseTemplate {
        let header =
            |name: &str| request.headers.get(name).map_or("", |value| value.to_str().expect("text")).to_owned();
        // AWS4-HMAC-SHA256 Credential=<key>/<date>/<region>/<service>/aws4_request, ...
        let region = header("authorization").split('/').nth(2).unwrap_or("").to_owned();
        let target = header("x-amz-target");
        let body = serde_json::from_slice(&request.body).expect("JSON");
        let mut seen = self.seen.lock().expect("no test panics in here");
        seen.push((target.clone(), region, body));
        if let Some((status, code)) = *self.failure.lock().expect("no test panics in here") {
            return ResponseTemplate::new(status)
                .set_body_json(json!({"__type": code, "message": "no"}))
                .insert_header("x-amzn-errortype", code);
        }
        let lifetime = self.lifetime.lock().expect("no test panics in here").unwrap_or(LIFETIME);
        let expires_at = (std::time::SystemTime::now() + lifetime)
            .duration_since(std::time::UNIX_EPOCH)
            .expect("after 1970")
            .as_secs_f64();
        let token = STANDARD.encode(format!("AWS:token {}", seen.len()));
        let data = json!({"authorizationToken": token, "expiresAt": expires_at});
        let is_public = target.starts_with("SpencerFrontendService");
        ResponseTemplate::new(200)
            .set_body_json(json!({"authorizationData": if is_public { data } else { json!([data]) }}))
            .set_delay(Duration::from_millis(20))
    }
}

const LIFETIME: Duration = Duration::from_secs(12 * 3600);

impl Ecr {
    fn calls(&self) -> usize {
        self.seen.lock().expect("no test panics in here").len()
    }

    fn last(&self) -> Seen {
        self.seen.lock().expect("no test panics in here").last().cloned().expect("a call")
    }

    fn fail(&self, failure: Option<(u16, &'static str)>) {
        *self.failure.lock().expect("no test panics in here") = failure;
    }
}

async fn start() -> (MockServer, Ecr, Registry) {
    let (server, ecr) = (MockServer::start().await, Ecr::default());
    Mock::given(any()).respond_with(ecr.clone()).mount(&server).await;
    let keys = Credentials::new("AKIDEXAMPLE", "secret", None, None, "test");
    let registry = Registry::new(aws_at(&server.uri(), &server.uri(), keys));
    (server, ecr, registry)
}

fn image(text: &str) -> ImageReference {
    text.parse().expect("a reference")
}

async fn password(registry: &Registry, text: &str) -> String {
    let credentials = registry.credentials(&image(text)).await.expect("a token").expect("a registry of AWS");
    assert_eq!(credentials.username, "AWS");
    credentials.password.expose_secret().to_owned()
}

#[tokio::test]
async fn a_private_token_uses_region_and_account_of_the_image() {
    let (_server, ecr, registry) = start().await;
    assert_eq!(password(&registry, PRIVATE).await, "token 1");
    let (target, region, body) = ecr.last();
    assert_eq!(target, "AmazonEC2ContainerRegistry_V20150921.GetAuthorizationToken");
    assert_eq!((region.as_str(), body), ("eu-west-1", json!({"registryIds": ["123456789012"]})));
}

#[tokio::test]
async fn tokens_are_known_to_the_redactor() {
    let (_server, _ecr, registry) = start().await;
    let token = password(&registry, PRIVATE).await;
    assert_eq!(registry.aws.redactor().redact(token), crate::telemetry::REDACTED);
}

#[tokio::test]
async fn a_public_token_comes_from_one_region() {
    let (_server, ecr, registry) = start().await;
    assert_eq!(password(&registry, PUBLIC).await, "token 1");
    let (target, region, _) = ecr.last();
    assert_eq!((target.as_str(), region.as_str()), ("SpencerFrontendService.GetAuthorizationToken", "us-east-1"));
}

#[tokio::test]
async fn other_registries_have_no_credentials() {
    let (_server, ecr, registry) = start().await;
    let credentials = registry.credentials(&image("localhost:5000/node:1")).await.expect("no call, no error");
    assert!(credentials.is_none());
    assert_eq!(ecr.calls(), 0);
}

#[tokio::test]
async fn many_images_of_one_registry_cost_one_request() {
    let (_server, ecr, registry) = start().await;
    let images: Vec<String> =
        (0..20).map(|number| format!("123456789012.dkr.ecr.eu-west-1.amazonaws.com/node-{number}:1")).collect();
    let passwords = futures_util::future::join_all(images.iter().map(|image| password(&registry, image))).await;
    assert!(passwords.iter().all(|password| password == "token 1"), "{passwords:?}");
    assert_eq!(password(&registry, "123456789012.dkr.ecr.eu-central-1.amazonaws.com/n").await, "token 2");
    assert_eq!(password(&registry, PRIVATE).await, "token 1");
    assert_eq!(ecr.calls(), 2);
}

#[tokio::test]
async fn a_dropped_token_is_requested_again() {
    let (_server, _ecr, registry) = start().await;
    assert_eq!(password(&registry, PRIVATE).await, "token 1");
    registry.forget(&image("localhost:5000/node:1")).await;
    assert_eq!(password(&registry, PRIVATE).await, "token 1");
    registry.forget(&image(PRIVATE)).await;
    assert_eq!(password(&registry, PRIVATE).await, "token 2");
}

#[tokio::test]
async fn a_token_that_ends_soon_is_renewed() {
    let (_server, ecr, registry) = start().await;
    // A token with a lifetime of 2 s is fresh for 1.5 s.
    *ecr.lifetime.lock().expect("no test panics in here") = Some(Duration::from_secs(2));
    assert_eq!(password(&registry, PRIVATE).await, "token 1");
    let renewed = async {
        while password(&registry, PRIVATE).await == "token 1" {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(SOON, renewed).await.expect("renewed before its end");
}

#[tokio::test]
async fn refusals_of_a_private_registry_name_the_permission() {
    let cases = [
        (400, "AccessDeniedException", CloudErrorKind::Denied),
        (400, "UnrecognizedClientException", CloudErrorKind::Expired),
        (400, "ExpiredTokenException", CloudErrorKind::Expired),
        (400, "ThrottlingException", CloudErrorKind::Throttled),
        (400, "InvalidParameterException", CloudErrorKind::Invalid),
    ];
    for (status, code, kind) in cases {
        let (_server, ecr, registry) = start().await;
        ecr.fail(Some((status, code)));
        let error = registry.credentials(&image(PRIVATE)).await.expect_err(code);
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains("ecr:GetAuthorizationToken"), "{error}");
        ecr.fail(None);
        password(&registry, PRIVATE).await;
    }
}

#[tokio::test]
async fn ecr_public_works_without_a_token() {
    let (_server, ecr, registry) = start().await;
    ecr.fail(Some((400, "AccessDeniedException")));
    for _ in 0..3 {
        assert!(registry.credentials(&image(PUBLIC)).await.expect("anonymous pulling works").is_none());
    }
    assert_eq!(ecr.calls(), 1, "not asked again for every image");
}

/// A pull without a token counts against the lower limit for anonymous pulls, so transient failures are retried.
#[tokio::test]
async fn ecr_public_is_retried_after_a_transient_failure() {
    let (_server, ecr, registry) = start().await;
    ecr.fail(Some((400, "ExpiredTokenException")));
    let mend = async {
        while ecr.calls() < 3 {
            sleep(Duration::from_millis(10)).await;
        }
        ecr.fail(None);
    };
    let image = image(PUBLIC);
    let (credentials, ()) = tokio::join!(registry.credentials(&image), mend);
    assert!(credentials.expect("no error").is_some(), "it was not pulled without a token");
}

/// The fake cloud's ECR checks signatures as AWS does.
#[tokio::test]
async fn signed_calls_are_accepted_by_the_fake_cloud() {
    let fake = managed_app_fakes::FakeCloud::start().await;
    let registry = Registry::new(crate::cloud::testing::aws(&fake));
    assert!(!password(&registry, PRIVATE).await.is_empty());
    assert!(!password(&registry, PUBLIC).await.is_empty());
    assert_eq!((fake.registry.private_requests("eu-west-1"), fake.registry.public_requests()), (1, 1));
}

/// The error of the SDK's default chain on a host without credentials.
#[derive(Debug)]
struct NoKeys;

impl ProvideCredentials for NoKeys {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::ready(Err(CredentialsError::not_loaded("nothing is set up")))
    }
}

#[tokio::test]
async fn a_host_without_credentials_gets_an_error_that_says_so() {
    let (server, ecr, _) = start().await;
    let aws = Aws::new(AwsOptions {
        endpoint_url: Some(server.uri()),
        host_credentials: Some(SharedCredentialsProvider::new(NoKeys)),
        ..AwsOptions::default()
    });
    let registry = Registry::new(Arc::new(aws));
    let error = registry.credentials(&image(PRIVATE)).await.expect_err("no credentials");
    assert_eq!(error.kind(), CloudErrorKind::NoCredentials, "{error}");
    assert!(error.to_string().contains("nothing is set up"), "{error}");
    assert!(registry.credentials(&image(PUBLIC)).await.expect("anonymous pulling works").is_none());
    assert_eq!(ecr.calls(), 0);
}
