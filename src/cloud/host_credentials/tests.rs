//! Tests of the host's keys with a registry that refuses all but the current ones, while their source changes: files
//! that are replaced and rewritten, a process, the roles of tokens, containers and instances.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_credential_types::provider::SharedCredentialsProvider;
use serde_json::json;
use tokio::time::{Instant, sleep, timeout};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;
use wiremock::matchers::any;
use wiremock::{Mock, MockServer, Request, Respond, ResponseTemplate};

use super::cached_keys::RELOAD_EVERY;
use super::*;
use crate::cloud::CloudErrorKind;
use crate::cloud::aws_error::AwsError;
use crate::cloud::testing::SOON;
use crate::cloud::{Aws, AwsOptions};
use crate::telemetry::REDACTED;

/// Returns tokens for the current key and its session token; records refused and unsigned requests.
#[derive(Clone, Default)]
struct Ecr(Arc<Mutex<Seen>>);

#[derive(Default)]
struct Seen {
    /// Key id and session token; `None` accepts all.
    right: Option<(String, String)>,
    taken: Vec<String>,
    refused: Vec<String>,
    anonymous: usize,
}

impl Respond for Ecr {
    fn respond(&self, request: &Request) -> ResponseTemplate {
        let header = |name: &str| request.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("");
        let id = header("authorization").split_once("Credential=").and_then(|(_, rest)| rest.split('/').next());
        let mut seen = self.seen();
        let Some(id) = id else {
            seen.anonymous += 1;
            return ResponseTemplate::new(400).set_body_json(json!({"__type": "MissingAuthenticationTokenException"}));
        };
        let is_right = |(key, token): &(String, String)| (id, header("x-amz-security-token")) == (key, token);
        if !seen.right.as_ref().is_none_or(is_right) {
            seen.refused.push(id.to_owned());
            return ResponseTemplate::new(400).set_body_json(json!({"__type": "UnrecognizedClientException"}));
        }
        seen.taken.push(id.to_owned());
        let data = json!([{"authorizationToken": "QVdTOng=", "expiresAt": 4_000_000_000_u32}]);
        ResponseTemplate::new(200).set_body_json(json!({"authorizationData": data}))
    }
}

impl Ecr {
    fn seen(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.0.lock().expect("no test panics in here")
    }

    fn take_only(&self, keys: &Keys) {
        self.seen().right = Some((keys.id.clone(), keys.token.clone()));
    }
}

struct Keys {
    id: String,
    secret: String,
    token: String,
}

impl Keys {
    fn number(number: usize) -> Self {
        let text = |name: &str| format!("{name}-{number}-of-the-host");
        Self { id: format!("ASIAKEY{number}"), secret: text("secret"), token: text("token") }
    }

    fn profile(&self) -> String {
        format!(
            "[default]\naws_access_key_id = {}\naws_secret_access_key = {}\naws_session_token = {}\n",
            self.id, self.secret, self.token
        )
    }
}

struct Host {
    folder: tempfile::TempDir,
    aws: Aws,
    ecr: Ecr,
    redactor: Redactor,
    _server: MockServer,
}

impl Host {
    async fn new() -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let (server, ecr) = (MockServer::start().await, Ecr::default());
        Mock::given(any()).respond_with(ecr.clone()).mount(&server).await;
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str| Some(folder.path().join(name));
        let paths = ProfilePaths { config: path("config"), credentials: path("credentials") };
        let redactor = Redactor::default();
        let options = AwsOptions { endpoint_url: Some(server.uri()), ..AwsOptions::default() };
        let aws = Aws::new(options).with_redactor(redactor.clone()).with_profile_files(paths);
        Self { folder, aws, ecr, redactor, _server: server }
    }

    fn file(&self) -> std::path::PathBuf {
        self.folder.path().join("credentials")
    }

    /// Writes the file with an old modification time.
    fn write(&self, text: &str) {
        std::fs::write(self.file(), text).expect("a file");
        age(&self.file(), Duration::from_secs(3_600));
    }

    async fn call(&self) -> Result<(), AwsError> {
        let client = self.aws.ecr("eu-west-1").await;
        #[allow(deprecated)]
        let request = client.get_authorization_token().registry_ids("123456789012");
        let sent = timeout(SOON, request.send()).await.expect("it answers in time");
        sent.map(|_| ()).map_err(|error| AwsError::of(&error))
    }

    async fn good_call(&self) {
        self.call().await.unwrap_or_else(|failure| panic!("{}", failure.text));
    }
}

fn age(path: &Path, age: Duration) {
    let file = std::fs::File::options().write(true).open(path).expect("the file");
    file.set_modified(SystemTime::now() - age).expect("its time can be set");
}

/// For each way of writing: one call whose old keys are refused is retried with the new ones.
#[tokio::test]
async fn new_keys_of_a_file_are_used_when_the_old_ones_are_refused() {
    let host = Host::new().await;
    host.write(&Keys::number(0).profile());
    host.ecr.take_only(&Keys::number(0));
    host.good_call().await;
    for number in 1..=4 {
        let keys = Keys::number(number);
        host.ecr.take_only(&keys);
        if number % 2 == 0 {
            std::fs::write(host.file(), keys.profile()).expect("truncated and written");
        } else {
            let new = host.folder.path().join("new");
            std::fs::write(&new, keys.profile()).expect("a file");
            std::fs::rename(new, host.file()).expect("it replaces the old one");
        }
        host.good_call().await;
        let refused = host.ecr.seen().refused.len();
        assert_eq!(refused, number, "one call each time");
    }
    assert_eq!(host.ecr.seen().anonymous, 0);
}

/// The old keys are refused from the truncation of the file on. Incomplete new keys are never used.
#[tokio::test]
async fn a_half_written_file_is_read_again_until_complete() {
    for half in ["", "[default]\naws_access_key_id = ASIAKEY1\n", "[default]\naws_acc"] {
        let host = Host::new().await;
        host.write(&Keys::number(0).profile());
        host.ecr.take_only(&Keys::number(0));
        host.good_call().await;
        host.ecr.take_only(&Keys::number(1));
        std::fs::write(host.file(), half).expect("half a file");
        let rest = async {
            sleep(Duration::from_millis(1_200)).await;
            std::fs::write(host.file(), Keys::number(1).profile()).expect("a complete file");
        };
        tokio::join!(host.good_call(), rest);
        let seen = host.ecr.seen();
        assert_eq!((seen.refused.as_slice(), seen.anonymous), (&["ASIAKEY0".to_owned()][..], 0), "{half:?}");
    }
}

#[tokio::test]
async fn the_last_keys_stay_in_use_while_a_file_has_none() {
    let host = Host::new().await;
    host.write(&Keys::number(0).profile());
    host.ecr.take_only(&Keys::number(0));
    host.good_call().await;
    for text in ["", "[default]\naws_access_key_id = ASIAKEY1\n", "nonsense"] {
        host.write(text);
        host.aws.host_credentials().await.compare();
        host.good_call().await;
    }
    let seen = host.ecr.seen();
    assert_eq!((seen.refused.len(), seen.anonymous), (0, 0));
}

/// Tokens are valid for hours, but may become invalid with the keys that requested them.
#[tokio::test]
async fn a_refused_registry_token_is_requested_again_with_new_keys() {
    let host = Host::new().await;
    host.write(&Keys::number(0).profile());
    let (ecr, aws) = (host.ecr.clone(), Arc::new(host.aws));
    let registry = crate::registry::Registry::new(aws);
    let image = "123456789012.dkr.ecr.eu-west-1.amazonaws.com/node:1".parse().expect("a reference");
    registry.credentials(&image).await.expect("a token");
    std::fs::write(host.folder.path().join("credentials"), Keys::number(1).profile()).expect("a file");
    age(&host.folder.path().join("credentials"), Duration::from_secs(60));
    registry.credentials(&image).await.expect("the same token");
    registry.forget(&image).await;
    registry.credentials(&image).await.expect("another token");
    assert_eq!(ecr.seen().taken, ["ASIAKEY0", "ASIAKEY1"]);
}

/// Also without a refusal: the limit is a minute.
#[tokio::test]
async fn a_replaced_file_is_used_soon_while_old_keys_are_valid() {
    let host = Host::new().await;
    host.write(&Keys::number(0).profile());
    host.ecr.take_only(&Keys::number(0));
    host.good_call().await;
    host.write(&Keys::number(1).profile());
    let began = Instant::now();
    let keys = host.aws.host_credentials().await;
    while keys.seen().await.expect("keys").id_end != "KEY1" {
        assert!(began.elapsed() < Duration::from_secs(30), "not within half of the limit");
        sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test]
async fn permanently_refused_keys_are_retried_only_once() {
    let host = Host::new().await;
    host.write(&Keys::number(0).profile());
    host.ecr.take_only(&Keys::number(1));
    let failure = host.call().await.expect_err("they are wrong");
    assert!(failure.text.starts_with("UnrecognizedClientException"), "{}", failure.text);
    assert_eq!(failure.kind, CloudErrorKind::Expired);
    assert_eq!(host.ecr.seen().refused.len(), 2);
    host.call().await.expect_err("they are wrong still");
    assert_eq!(host.ecr.seen().refused.len(), 3);
    host.write(&Keys::number(1).profile());
    sleep(REREAD_EVERY).await;
    host.good_call().await;
}

#[tokio::test]
async fn a_client_without_retries_retries_refused_keys() {
    let host = Host::new().await;
    host.write(&Keys::number(0).profile());
    host.ecr.take_only(&Keys::number(1));
    let client = host.aws.logs_without_retries("eu-west-1").await;
    host.aws.host_credentials().await.get().await.expect("the old keys");
    host.write(&Keys::number(1).profile());
    // The response is not one for log groups, but it is a success.
    client.describe_log_groups().send().await.expect("the second attempt is taken");
    let seen = host.ecr.seen();
    assert_eq!((seen.refused.len(), seen.taken.len()), (1, 1));
}

#[tokio::test]
async fn concurrent_calls_share_one_read_of_the_file() {
    let host = Host::new().await;
    host.write(&Keys::number(0).profile());
    host.ecr.take_only(&Keys::number(0));
    host.good_call().await;
    host.ecr.take_only(&Keys::number(1));
    host.write(&Keys::number(1).profile());
    let calls = futures_util::future::join_all((0..10).map(|_| host.call())).await;
    assert!(calls.iter().all(Result::is_ok), "{calls:?}");
    assert_eq!(host.ecr.seen().anonymous, 0);
}

#[tokio::test]
async fn secrets_of_the_host_are_known_to_the_redactor() {
    let host = Host::new().await;
    host.write(&Keys::number(0).profile());
    host.aws.host_credentials().await.get().await.expect("keys");
    let Keys { secret, token, .. } = Keys::number(0);
    assert_eq!(host.redactor.redact(format!("{secret} {token}")), format!("{REDACTED} {REDACTED}"));
    assert!(!format!("{:?}", host.aws).contains(&secret));
}

#[tokio::test]
async fn a_temporary_key_without_its_token_is_incomplete() {
    let host = Host::new().await;
    host.write("[default]\naws_access_key_id = ASIAKEY1\naws_secret_access_key = secret\n");
    let error = host.aws.host_credentials().await.get().await.expect_err("half of the keys");
    assert!(error.to_string().contains("session token"), "{error}");
}

#[tokio::test]
async fn an_empty_session_token_is_none() {
    let host = Host::new().await;
    host.write("[default]\naws_access_key_id = AKIAKEY1\naws_secret_access_key = secret\naws_session_token =\n");
    let keys = host.aws.host_credentials().await.get().await.expect("keys");
    assert_eq!((keys.access_key_id(), keys.session_token()), ("AKIAKEY1", None));
}

#[tokio::test]
async fn a_process_runs_again_when_its_keys_are_refused() {
    let host = Host::new().await;
    let (script, output) = (host.folder.path().join("give-keys"), host.folder.path().join("keys.json"));
    let write_keys = |keys: &Keys| {
        let output_keys = json!({"Version": 1, "AccessKeyId": keys.id, "SecretAccessKey": keys.secret,
            "SessionToken": keys.token});
        std::fs::write(&output, output_keys.to_string()).expect("a file");
    };
    std::fs::write(&script, format!("#!/bin/sh\nexec cat {}\n", output.display())).expect("a script");
    host.write(&format!("[default]\ncredential_process = sh {}\n", script.display()));
    for number in 0..2 {
        write_keys(&Keys::number(number));
        host.ecr.take_only(&Keys::number(number));
        host.good_call().await;
    }
    assert_eq!(host.ecr.seen().refused, ["ASIAKEY0"]);
    let seen = host.aws.host_credentials().await.seen().await.expect("keys");
    assert_eq!(seen.source.to_string(), "credential_process of profile default");
}

/// The process cannot be ended, so not every call may start one.
#[tokio::test(start_paused = true)]
async fn a_process_that_hangs_is_not_started_by_each_call() {
    let folder = tempfile::tempdir().expect("a folder");
    let (credentials, started) = (folder.path().join("credentials"), folder.path().join("started"));
    let process = format!("sh -c 'echo x >>{}; exec sleep 5'", started.display());
    std::fs::write(&credentials, format!("[default]\ncredential_process = {process}\n")).expect("a file");
    age(&credentials, Duration::from_secs(3_600));
    let paths = ProfilePaths { config: None, credentials: Some(credentials) };
    let _ = rustls::crypto::ring::default_provider().install_default();
    let base = SdkConfig::builder().http_client(crate::cloud::transport::http_client()).build();
    let keys = HostCredentials::new(base, paths, Redactor::default());
    for _ in 0..5 {
        let error = keys.get().await.expect_err("there is no output");
        assert!(error.to_string().contains("does not answer"), "{error}");
        tokio::time::advance(Duration::from_secs(5)).await;
    }
    tokio::time::resume();
    // Real processes need real time to start.
    sleep(Duration::from_secs(1)).await;
    assert_eq!(std::fs::read_to_string(&started).unwrap_or_default().lines().count(), 1);
}

#[tokio::test]
async fn profiles_that_need_a_browser_are_named_in_the_error() {
    let host = Host::new().await;
    let profile =
        "[default]\nsso_start_url = https://x\nsso_region = us-east-1\nsso_account_id = 1\nsso_role_name = r\n";
    std::fs::write(host.folder.path().join("config"), profile).expect("a file");
    age(&host.folder.path().join("config"), Duration::from_secs(3_600));
    let error = host.aws.host_credentials().await.get().await.expect_err("nobody is there");
    assert!(error.to_string().contains("IAM Identity Center"), "{error}");
}

#[test]
fn keys_are_renewed_before_their_end_and_never_at_each_call() {
    let now = SystemTime::now();
    let after = |life: u64| time_to_reload(Some(now + Duration::from_secs(life)), now).as_secs();
    assert_eq!((after(3_600), after(400), after(8)), (3_300, 300, 10));
    assert_eq!(time_to_reload(Some(now - Duration::from_secs(9)), now), COMPARE_EVERY);
    assert_eq!(time_to_reload(None, now), RELOAD_EVERY);
}

#[tokio::test]
async fn keys_that_are_given_are_used_as_they_are() {
    let given = Credentials::new("AKIDGIVEN", "secret-given", None, None, "test");
    let keys = HostCredentials::given(SharedCredentialsProvider::new(given), Redactor::default());
    let seen = keys.seen().await.expect("keys");
    assert_eq!((seen.source, seen.id_end.as_str(), seen.is_temporary), (KeySource::Given, "IVEN", false));
    assert_eq!(keys.left(), None);
}

/// Keeps the messages of events at INFO and above that are outside every span.
#[derive(Clone, Default)]
struct RootEvents(Arc<Mutex<Vec<String>>>);

impl<S: tracing::Subscriber + for<'a> LookupSpan<'a>> Layer<S> for RootEvents {
    fn on_event(&self, event: &tracing::Event<'_>, context: Context<'_, S>) {
        let is_shown = *event.metadata().level() <= tracing::Level::INFO;
        if is_shown && context.event_scope(event).is_none() {
            self.0.lock().expect("no test panics in here").push(format!("{event:?}"));
        }
    }
}

/// The shipper of the daemon's log also uses the keys, and the lines inside its span are not shipped.
#[tokio::test]
async fn replaced_keys_are_logged_outside_the_span_of_the_caller() {
    let host = Host::new().await;
    let (old, new) = (Keys::number(1), Keys::number(2));
    host.write(&old.profile());
    host.ecr.take_only(&old);
    host.good_call().await;
    host.write(&new.profile());
    host.ecr.take_only(&new);
    let events = RootEvents::default();
    let guard = tracing::subscriber::set_default(tracing_subscriber::registry().with(events.clone()));
    crate::telemetry::without_shipping(host.good_call()).await;
    drop(guard);
    let events = events.0.lock().expect("no test panics in here");
    assert!(events.iter().any(|event| event.contains("were replaced")), "{events:?}");
}
