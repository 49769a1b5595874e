//! The AWS credentials of a host, from each kind of source: the output of `check`, and calls with them. The sources are
//! real: files, a script, and servers with the protocols of the metadata services of AWS and of STS.

use std::path::{Path, PathBuf};

use wiremock::matchers::{body_string_contains, header, method, path};
use wiremock::{Mock, MockServer, ResponseTemplate};

use crate::harness::{BINARY, CommandOutput, Harness};

/// The expiry of all keys of this file.
const EXPIRY: &str = "2037-01-01T00:00:00Z";

/// A host without keys in its environment; ID and secret of its keys.
async fn harness_without_keys() -> (Harness, String, String) {
    let mut harness = Harness::new().await;
    let env = harness.cloud.env();
    let (id, secret) = (env["AWS_ACCESS_KEY_ID"].clone(), env["AWS_SECRET_ACCESS_KEY"].clone());
    harness.unset("AWS_ACCESS_KEY_ID");
    harness.unset("AWS_SECRET_ACCESS_KEY");
    (harness, id, secret)
}

fn write(harness: &Harness, name: &str, text: &str) -> PathBuf {
    let file = harness.folder().join(name);
    std::fs::create_dir_all(file.parent().expect("it is below the folder")).expect("a folder");
    std::fs::write(&file, text).expect("a file");
    file
}

fn profile(name: &str, id: &str, secret: &str) -> String {
    format!("[{name}]\naws_access_key_id = {id}\naws_secret_access_key = {secret}\n")
}

/// A response of the metadata services.
fn metadata(id: &str, secret: &str) -> serde_json::Value {
    serde_json::json!({"Code": "Success", "Type": "AWS-HMAC", "LastUpdated": "2026-01-01T00:00:00Z", "AccessKeyId": id,
        "SecretAccessKey": secret, "Token": "", "Expiration": EXPIRY})
}

/// A response of STS. The keys of the fake cloud have no session token; an empty one counts as none.
fn sts(operation: &str, id: &str, secret: &str) -> String {
    format!(
        "<{operation}Response xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><{operation}Result><Credentials>\
         <AccessKeyId>{id}</AccessKeyId><SecretAccessKey>{secret}</SecretAccessKey><SessionToken></SessionToken>\
         <Expiration>{EXPIRY}</Expiration></Credentials></{operation}Result></{operation}Response>"
    )
}

/// Asserts that the source is named, that its keys work, and that the output contains no secret.
fn finds(ran: &CommandOutput, id: &str, secret: &str, parts: &[&str]) {
    assert_eq!(ran.code, 0, "{}", ran.all());
    ran.shows("ok AWS credentials", parts);
    ran.shows("ok AWS credentials", &[&format!("key ...{}", &id[id.len() - 4..])]);
    ran.shows("ok log group", &["accepts events"]);
    assert!(!ran.all().contains(secret) && !ran.all().contains(id), "{}", ran.all());
}

#[tokio::test]
async fn keys_of_environment_and_env_file_are_distinguished() {
    let (mut harness, id, secret) = harness_without_keys().await;
    let file = write(&harness, "env", &format!("AWS_ACCESS_KEY_ID={id}\nAWS_SECRET_ACCESS_KEY={secret}\n"));
    let file = file.to_str().expect("a plain path");
    let ran = harness.run(&["check", "--env-file", file]).await;
    finds(&ran, &id, &secret, &[&format!("environment file {file} line 1"), "no expiry"]);
    harness.set("AWS_ACCESS_KEY_ID", &id);
    harness.set("AWS_SECRET_ACCESS_KEY", &secret);
    let ran = harness.run(&["check"]).await;
    finds(&ran, &id, &secret, &["environment;", "AWS_ACCESS_KEY_ID from the environment of this run"]);
}

#[tokio::test]
async fn keys_of_the_shared_files_are_found_by_profile() {
    let (mut harness, id, secret) = harness_without_keys().await;
    let file = write(&harness, ".aws/credentials", &profile("default", &id, &secret));
    let ran = harness.run(&["check"]).await;
    let source = format!("shared credentials file {}, profile default", file.display());
    finds(&ran, &id, &secret, &[&source, "expiry not in the file; read again when the file changes"]);
    let file = write(&harness, "config", &profile("profile plant", &id, &secret));
    write(&harness, ".aws/credentials", "");
    harness.set("AWS_CONFIG_FILE", file.to_str().expect("a plain path"));
    harness.set("AWS_PROFILE", "plant");
    let ran = harness.run(&["check"]).await;
    finds(&ran, &id, &secret, &[&format!("shared config file {}, profile plant", file.display())]);
}

#[tokio::test]
async fn keys_of_a_process_are_found() {
    let (harness, id, secret) = harness_without_keys().await;
    let output = serde_json::json!({"Version": 1, "AccessKeyId": id, "SecretAccessKey": secret, "Expiration": EXPIRY});
    let script = write(&harness, "give keys", &format!("echo '{output}'\n"));
    let process = format!("[default]\ncredential_process = sh \"{}\"\n", script.display());
    write(&harness, ".aws/config", &process);
    let ran = harness.run(&["check"]).await;
    finds(&ran, &id, &secret, &["credential_process of profile default", EXPIRY]);
}

#[tokio::test]
async fn keys_of_roles_are_found() {
    let (mut harness, id, secret) = harness_without_keys().await;
    let service = MockServer::start().await;
    let answer = |operation: &str| ResponseTemplate::new(200).set_body_string(sts(operation, &id, &secret));
    let asks = |operation: &'static str| body_string_contains(format!("Action={operation}&"));
    let web = Mock::given(asks("AssumeRoleWithWebIdentity")).and(body_string_contains("a-token"));
    web.respond_with(answer("AssumeRoleWithWebIdentity")).mount(&service).await;
    Mock::given(asks("AssumeRole")).respond_with(answer("AssumeRole")).mount(&service).await;
    harness.set("AWS_ENDPOINT_URL_STS", &service.uri());
    // With a token of the host.
    let token = write(&harness, "token", "a-token");
    let token = token.to_str().expect("a plain path");
    harness.set("AWS_WEB_IDENTITY_TOKEN_FILE", token);
    harness.set("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/plant");
    let ran = harness.run(&["check"]).await;
    finds(&ran, &id, &secret, &[&format!("web identity, token file {token}"), EXPIRY]);
    harness.unset("AWS_WEB_IDENTITY_TOKEN_FILE");
    harness.unset("AWS_ROLE_ARN");
    // With a token of a profile.
    let arn = "role_arn = arn:aws:iam::123456789012:role/plant\n";
    write(&harness, ".aws/config", &format!("[default]\n{arn}web_identity_token_file = {token}\n"));
    finds(&harness.run(&["check"]).await, &id, &secret, &["web identity of profile default", EXPIRY]);
    // With the keys of another profile.
    let base = profile("profile base", "AKIABASE", "secret-of-the-base");
    write(&harness, ".aws/config", &format!("[default]\n{arn}source_profile = base\n{base}"));
    let ran = harness.run(&["check"]).await;
    finds(&ran, &id, &secret, &["role of profile default", EXPIRY]);
    assert!(!ran.all().contains("secret-of-the-base"), "{}", ran.all());
}

#[tokio::test]
async fn keys_of_a_container_are_found() {
    let (mut harness, id, secret) = harness_without_keys().await;
    let service = MockServer::start().await;
    let asked = Mock::given(path("/keys")).and(header("authorization", "word"));
    asked.respond_with(ResponseTemplate::new(200).set_body_json(metadata(&id, &secret))).mount(&service).await;
    harness.set("AWS_CONTAINER_CREDENTIALS_FULL_URI", &format!("{}/keys", service.uri()));
    harness.set("AWS_CONTAINER_AUTHORIZATION_TOKEN", "word");
    finds(&harness.run(&["check"]).await, &id, &secret, &["container credentials", EXPIRY]);
}

/// The metadata service of an instance, which requires a token.
async fn instance(id: &str, secret: &str) -> MockServer {
    let (service, base) = (MockServer::start().await, "/latest/meta-data/iam/security-credentials/");
    let lifetime = "x-aws-ec2-metadata-token-ttl-seconds";
    let token = ResponseTemplate::new(200).set_body_string("a-token").insert_header(lifetime, "21600");
    Mock::given(method("PUT")).and(path("/latest/api/token")).respond_with(token).mount(&service).await;
    let asked = |url: String| Mock::given(path(url)).and(header("x-aws-ec2-metadata-token", "a-token"));
    asked(base.to_owned()).respond_with(ResponseTemplate::new(200).set_body_string("plant")).mount(&service).await;
    let keys = ResponseTemplate::new(200).set_body_json(metadata(id, secret));
    asked(format!("{base}plant")).respond_with(keys).mount(&service).await;
    service
}

#[tokio::test]
async fn keys_of_an_instance_are_found_without_a_proxy() {
    let (mut harness, id, secret) = harness_without_keys().await;
    let service = instance(&id, &secret).await;
    harness.unset("AWS_EC2_METADATA_DISABLED");
    harness.set("AWS_EC2_METADATA_SERVICE_ENDPOINT", &service.uri());
    // The fake cloud is on this host too.
    let proxy = MockServer::start().await;
    for variable in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"] {
        harness.set(variable, &proxy.uri());
    }
    finds(&harness.run(&["check"]).await, &id, &secret, &["instance role (IMDS)", EXPIRY]);
    let asked = proxy.received_requests().await.expect("they are recorded");
    assert!(asked.is_empty(), "{asked:?}");
}

/// The real address of the service: on most hosts nothing responds there, but a proxy would.
#[tokio::test]
async fn link_local_requests_never_use_a_proxy() {
    let (mut harness, ..) = harness_without_keys().await;
    harness.unset("AWS_EC2_METADATA_DISABLED");
    let proxy = MockServer::start().await;
    harness.set("HTTP_PROXY", &proxy.uri());
    for endpoint in ["http://169.254.169.254", "http://[fd00:ec2::254]"] {
        harness.set("AWS_EC2_METADATA_SERVICE_ENDPOINT", endpoint);
        harness.run(&["check"]).await;
    }
    harness.set("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "/v2/credentials/x");
    harness.run(&["check"]).await;
    let asked = proxy.received_requests().await.expect("they are recorded");
    assert!(asked.is_empty(), "{asked:?}");
}

#[tokio::test]
async fn no_proxy_is_honoured() {
    let mut harness = Harness::new().await;
    let proxy = MockServer::start().await;
    harness.set("HTTPS_PROXY", &proxy.uri());
    harness.set("AWS_ENDPOINT_URL_CLOUDWATCH_LOGS", "https://logs.plant.invalid");
    let ran = harness.run(&["check"]).await;
    ran.shows("failed network CloudWatch Logs", &["no answer"]);
    let asked = proxy.received_requests().await.expect("they are recorded").len();
    harness.set("NO_PROXY", ".plant.invalid");
    let ran = harness.run(&["check"]).await;
    ran.shows("failed network CloudWatch Logs", &["the name has no address"]);
    assert_eq!(proxy.received_requests().await.expect("they are recorded").len(), asked);
}

#[tokio::test]
async fn a_host_without_keys_gets_each_source_in_order() {
    let (harness, ..) = harness_without_keys().await;
    let ran = harness.run(&["check"]).await;
    assert_eq!(ran.code, 78, "{}", ran.all());
    let line = ran.line("failed AWS credentials");
    let sources = ["environment:", "profile default in", "web identity:", "container credentials:", "instance role"];
    let found: Vec<_> =
        sources.iter().map(|source| line.find(source).unwrap_or_else(|| panic!("{source}: {line}"))).collect();
    assert!(found.is_sorted(), "{line}");
    assert!(line.contains("AWS_EC2_METADATA_DISABLED is true") && line.contains("-> set AWS_ACCESS_KEY_ID"), "{line}");
}

#[tokio::test]
async fn a_profile_that_needs_a_person_is_reported() {
    let (harness, ..) = harness_without_keys().await;
    let profile =
        "[default]\nsso_start_url = https://x\nsso_region = us-east-1\nsso_account_id = 1\nsso_role_name = r\n";
    write(&harness, ".aws/config", profile);
    let ran = harness.run(&["check"]).await;
    ran.shows("failed AWS credentials", &["IAM Identity Center", "credential_process"]);
    assert!(!ran.all().contains("cargo feature"), "{}", ran.all());
}

/// As a system unit starts it: without HOME. In a mount namespace, the user database names a directory of the test.
#[tokio::test]
async fn without_home_the_user_database_gives_the_home_directory() {
    let (mut harness, id, secret) = harness_without_keys().await;
    let file = write(&harness, "home/.aws/credentials", &profile("default", &id, &secret));
    let passwd =
        write(&harness, "passwd", &format!("root:x:0:0:root:{}:/bin/sh\n", harness.folder().join("home").display()));
    // Without it, the module of systemd would synthesize an entry for root.
    let switch = write(&harness, "nsswitch.conf", "passwd: files\n");
    let in_namespace = |passwd: &Path| {
        let (passwd, switch, binary) = (passwd.display(), switch.display(), BINARY);
        format!(
            "mount --bind '{passwd}' /etc/passwd && mount --bind '{switch}' /etc/nsswitch.conf && exec '{binary}' check"
        )
    };
    for home in [None, Some("")] {
        harness.unset("HOME");
        if let Some(home) = home {
            harness.set("HOME", home);
        }
        let ran = harness.run_program("unshare", &["-m", "sh", "-c", &in_namespace(&passwd)]).await;
        let source = format!("shared credentials file {}", file.display());
        finds(&ran, &id, &secret, &[&source]);
        assert!(!ran.line("ok AWS credentials").contains("HOME is"), "{}", ran.all());
    }
    // A manual check, with a HOME that the service does not have.
    write(&harness, "other/.aws/credentials", &profile("default", &id, &secret));
    harness.set("HOME", &harness.folder().join("other").display().to_string());
    let ran = harness.run_program("unshare", &["-m", "sh", "-c", &in_namespace(&passwd)]).await;
    ran.shows("ok AWS credentials", &["/other/.aws/credentials", "HOME is", "/home/.aws"]);
    // A container may have no user database.
    harness.unset("HOME");
    let nobody = write(&harness, "nobody", "\n");
    let ran = harness.run_program("unshare", &["-m", "sh", "-c", &in_namespace(&nobody)]).await;
    ran.shows("failed AWS credentials", &["there is no home directory"]);
}
