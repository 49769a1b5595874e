//! `check` with the engine in memory: results, remedies and exit codes.

use managed_app_fakes::cloud::commands::Port;
use managed_app_fakes::cloud::{Fault, Service};

use crate::harness::Harness;

const PRIVATE: &str = "123456789012.dkr.ecr.eu-west-1.amazonaws.com/node:1";
const PUBLIC: &str = "public.ecr.aws/echostream/node:1";

async fn harness_with_nodes() -> Harness {
    let harness = Harness::new().await;
    harness.cloud.add_node("first node", |node| node.image(PRIVATE));
    harness.cloud.add_node("second", |node| node.image(PUBLIC));
    harness
}

#[tokio::test]
async fn a_good_host_is_all_ok_and_stays_as_it_was() {
    let harness = harness_with_nodes().await;
    let (disk, changes) = (harness.disk(), harness.cloud.pending_changes());
    let ran = harness.run(&["check"]).await;
    assert_eq!(ran.code, 0, "{}", ran.all());
    ran.shows("ok configuration", &[harness.app()]);
    ran.shows("ok sign-in", &[]);
    ran.shows("ok app", &["2 nodes"]);
    ran.shows("ok changes", &["can be read"]);
    ran.shows("ok engine", &["memory"]);
    for image in [PRIVATE, PUBLIC] {
        let begin = format!("ok image {image}: pulled with a token of its registry; for ");
        ran.shows(&begin, &["; not here yet"]);
    }
    ran.shows("ok log group", &["accepts events"]);
    ran.shows("ok node output", &["the daemon ships it"]);
    ran.shows("ok node log groups", &["all 2"]);
    ran.shows("ok state directory", &["can be made"]);
    ran.shows("ok log file", &["can be made"]);
    ran.shows("ok bounds", &[]);
    ran.shows("ok network", &["AppSync", "Cognito", "CloudWatch Logs", "answers"]);
    ran.shows("ok clock", &["0 s"]);
    ran.shows("ok disk space", &["state directory", "MiB free"]);
    ran.shows("skipped ports", &["no node publishes a port"]);
    let permissions = ran.stdout.lines().filter(|line| line.starts_with("ok") && line.contains(" permission "));
    assert_eq!(permissions.count(), 8, "{}", ran.all());
    assert!(ran.stdout.contains(", 0 failed, "), "{}", ran.all());
    assert!(!ran.stdout.contains('\u{1b}'), "no colours when it is not a terminal");
    assert_eq!(harness.disk(), disk);
    assert_eq!(harness.cloud.pending_changes(), changes, "no message is consumed");
}

#[tokio::test]
async fn checking_twice_leaves_one_stream() {
    let harness = Harness::new().await;
    let env = harness.cloud.env();
    let (region, group) = (env["AWS_DEFAULT_REGION"].as_str(), env["LOG_GROUP_NAME"].as_str());
    for _ in 0..2 {
        let ran = harness.run(&["check"]).await;
        assert_eq!(ran.code, 0, "{}", ran.all());
    }
    assert_eq!(harness.cloud.cloudwatch.streams(region, group).len(), 1);
    assert_eq!(harness.cloud.cloudwatch.events(region, group).len(), 2);
}

#[tokio::test]
async fn a_wrong_password_ends_with_77_and_skips_what_needs_it() {
    let mut harness = harness_with_nodes().await;
    harness.set("PASSWORD", "not the Passw0rd");
    let ran = harness.run(&["check"]).await;
    assert_eq!(ran.code, 77, "{}", ran.all());
    ran.shows("failed sign-in", &["USER_NAME", "PASSWORD"]);
    for step in ["app", "changes", "images"] {
        ran.shows(&format!("skipped {step}"), &[]);
    }
    ran.shows("ok engine", &[]);
    ran.shows("ok log group", &[]);
    let ran = harness.run(&["plan"]).await;
    assert_eq!((ran.code, ran.stdout.as_str()), (77, ""), "{}", ran.all());
    assert!(ran.stderr.contains("failed to plan") && ran.stderr.contains("PASSWORD"), "{}", ran.all());
}

#[tokio::test]
async fn missing_variables_end_with_78_all_at_once() {
    let mut harness = Harness::new().await;
    for variable in ["TENANT", "CLIENT_ID", "LOG_GROUP_NAME"] {
        harness.unset(variable);
    }
    harness.set("USER_POOL_ID", "nonsense");
    for command in ["check", "plan", "run"] {
        let ran = harness.run(&[command]).await;
        assert_eq!((ran.code, ran.stdout.as_str()), (78, ""), "{}", ran.all());
        for variable in ["TENANT", "CLIENT_ID", "LOG_GROUP_NAME", "USER_POOL_ID"] {
            assert!(ran.stderr.contains(variable), "{}", ran.all());
        }
    }
}

#[tokio::test]
async fn a_cloud_that_is_down_ends_with_69() {
    let mut harness = Harness::new().await;
    harness.set("AWS_ENDPOINT_URL", "http://127.0.0.1:9");
    let ran = harness.run(&["check"]).await;
    assert_eq!(ran.code, 69, "{}", ran.all());
    ran.shows("failed network", &["TCP: no connection", "firewall"]);
    ran.shows("failed sign-in", &["check the network"]);
    ran.shows("failed log group", &["CloudWatch Logs can be reached"]);
}

#[tokio::test]
async fn an_app_that_does_not_exist_names_app_and_tenant() {
    let harness = Harness::new().await;
    harness.cloud.remove_app();
    let ran = harness.run(&["check"]).await;
    assert_eq!(ran.code, 78, "{}", ran.all());
    ran.shows("failed app", &["APP and TENANT", "--on-removed"]);
    ran.shows("skipped changes", &["no app"]);
}

#[tokio::test]
async fn a_permission_that_is_missing_is_named() {
    let harness = harness_with_nodes().await;
    harness.cloud.registry.faults().set_denied(true);
    let ran = harness.run(&["check"]).await;
    assert_eq!(ran.code, 78, "{}", ran.all());
    ran.shows("failed image", &[PRIVATE, "allow ecr:GetAuthorizationToken"]);
    ran.shows("ok image", &[PUBLIC]);
    ran.shows("ok log group", &[]);

    harness.cloud.registry.faults().clear();
    harness.cloud.cloudwatch.faults().set_denied(true);
    let ran = harness.run(&["check"]).await;
    assert_eq!(ran.code, 78, "{}", ran.all());
    ran.shows("failed log group", &["allow logs:CreateLogStream"]);
}

#[tokio::test]
async fn each_permission_is_tried_by_itself() {
    for (service, operation) in [
        ("ecr", "GetAuthorizationToken"),
        ("ecr", "BatchGetImage"),
        ("ecr", "BatchCheckLayerAvailability"),
        ("ecr", "GetDownloadUrlForLayer"),
        ("logs", "CreateLogStream"),
        ("logs", "PutLogEvents"),
    ] {
        let harness = harness_with_nodes().await;
        let cloud = &harness.cloud;
        if service == "ecr" { cloud.registry.faults() } else { cloud.cloudwatch.faults() }.deny(operation);
        let ran = harness.run(&["check"]).await;
        assert_eq!(ran.code, 78, "{}", ran.all());
        let permission = format!("{service}:{operation}");
        ran.shows(&format!("failed permission {permission}"), &[&format!("allow {permission} to the AWS credentials")]);
        let good = ran.stdout.lines().filter(|line| line.starts_with("ok") && line.contains(" permission "));
        assert_eq!(good.count(), 7, "the others are granted: {}", ran.all());
    }
}

/// These two only raise a limit: a missing one is reported, and `check` succeeds.
#[tokio::test]
async fn each_permission_of_the_public_gallery_is_named() {
    let harness = harness_with_nodes().await;
    harness.cloud.registry.public_faults().deny("GetAuthorizationToken");
    let ran = harness.run(&["check"]).await;
    ran.shows("skipped permission ecr-public:GetAuthorizationToken", &["is missing", "not authorized to perform"]);
    assert_eq!(ran.code, 0, "{}", ran.all());
    harness.cloud.registry.public_faults().clear();
    harness.cloud.registry.public_faults().deny("GetServiceBearerToken");
    let ran = harness.run(&["check"]).await;
    ran.shows("ok permission ecr-public:GetAuthorizationToken", &[]);
    ran.shows("skipped permission sts:GetServiceBearerToken", &["is missing", "not authorized to perform"]);
    assert_eq!(ran.code, 0, "{}", ran.all());
}

#[tokio::test]
async fn a_wrong_architecture_or_missing_repository_is_reported() {
    let harness = harness_with_nodes().await;
    harness.cloud.registry.set_architecture("s390x");
    let ran = harness.run(&["check"]).await;
    assert_eq!(ran.code, 78, "{}", ran.all());
    for image in [PRIVATE, PUBLIC] {
        let found = ["it is for s390x, and this host is", "docker buildx build --platform"];
        ran.shows(&format!("failed image {image}:"), &found);
    }
    harness.cloud.registry.remove_repository("node");
    harness.cloud.registry.remove_repository("echostream/node");
    let ran = harness.run(&["check"]).await;
    assert_eq!(ran.code, 78, "{}", ran.all());
    ran.shows(&format!("failed image {PUBLIC}: its registry lacks the repository"), &[]);
    ran.shows(&format!("skipped image {PRIVATE}: its repository does not exist"), &["pull-through cache rule"]);
}

#[tokio::test]
async fn an_image_without_an_architecture_is_accepted() {
    let harness = harness_with_nodes().await;
    harness.cloud.registry.set_architecture("");
    let ran = harness.run(&["check"]).await;
    assert_eq!(ran.code, 0, "{}", ran.all());
    for image in [PRIVATE, PUBLIC] {
        ran.shows(&format!("ok image {image}: pulled with a token of its registry; not here yet"), &[]);
    }
}

#[tokio::test]
async fn a_port_of_another_program_is_reported_with_its_name() {
    let harness = harness_with_nodes().await;
    // An address that nobody else uses: the port stays free after its release.
    const ADDRESS: &str = "127.0.97.2";
    let listener = std::net::TcpListener::bind((ADDRESS, 0)).expect("a port");
    let port = listener.local_addr().expect("an address").port();
    harness.cloud.change_ports("second", vec![Port::tcp(port, 80).at(ADDRESS)]);
    let ran = harness.run(&["check"]).await;
    assert_eq!(ran.code, 78, "{}", ran.all());
    ran.shows("failed ports", &[&format!("{port}/tcp of node \"second\" is taken by"), "ss -lnp"]);
    drop(listener);
    let ran = harness.run(&["check"]).await;
    assert_eq!(ran.code, 0, "{}", ran.all());
    ran.shows("ok ports", &["1 of 1"]);
}

/// A control plane whose clock is an hour behind and which rejects all requests.
#[tokio::test]
async fn a_wrong_clock_is_reported() {
    let mut harness = Harness::new().await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    harness.set("APPSYNC_ENDPOINT", &format!("http://{}/graphql", listener.local_addr().expect("an address")));
    let date = (time::OffsetDateTime::now_utc() - time::Duration::HOUR)
        .format(&time::format_description::well_known::Rfc2822)
        .expect("a date");
    let answer = format!("HTTP/1.1 401 no\r\nDate: {date}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    let serve = async {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 4096];
            // A connection test sends nothing.
            let _ = tokio::io::AsyncReadExt::read(&mut stream, &mut request).await;
            let _ = tokio::io::AsyncWriteExt::write_all(&mut stream, answer.as_bytes()).await;
        }
    };
    let ran = tokio::select! {
        ran = harness.run(&["check"]) => ran,
        () = serve => unreachable!("it serves for ever"),
    };
    ran.shows("ok network", &["answers"]);
    ran.shows("failed clock", &["s ahead of the cloud", "timedatectl"]);
}

#[tokio::test]
async fn the_bundle_contains_diagnostics_and_no_secret() {
    let mut harness = harness_with_nodes().await;
    harness.set("HTTPS_PROXY", "http://somebody:word-of-the-proxy@127.0.0.1:9");
    let token = format!("eyJ{}.eyJ{}", "h".repeat(40), "p".repeat(60));
    let key = harness.variables()["AWS_SECRET_ACCESS_KEY"].clone();
    let secrets = [harness.password().to_owned(), key, token, "word-of-the-proxy".to_owned()];
    let lines: Vec<_> = secrets.iter().map(|secret| format!("[INFO] a line with {secret} in it\n")).collect();
    std::fs::write(&harness.variables()["MANAGED_APP_LOG_FILE"], lines.concat()).expect("a file");
    std::fs::create_dir(harness.state()).expect("a folder");
    let state = format!("{{\"made up\": \"{}\"}}", harness.password());
    std::fs::write(harness.state().join("state.json"), state).expect("a file");
    let path = harness.folder().join("bundle.tar.gz");
    let ran = harness.run(&["check", "--bundle", path.to_str().expect("a plain path")]).await;
    assert_eq!(ran.code, 0, "{}", ran.all());
    ran.shows("ok bundle", &["bundle.tar.gz", "review it"]);
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&path).expect("the archive").permissions());
    assert_eq!(mode & 0o777, 0o600);
    let files = unpacked(&path);
    let names = "about.txt check.txt engine.txt host.txt log.txt settings.txt state.json";
    assert_eq!(files.keys().map(String::as_str).collect::<Vec<_>>().join(" "), names);
    for (name, text) in &files {
        for secret in &secrets {
            assert!(!text.contains(secret.as_str()), "{name} contains {secret}: {text}");
        }
    }
    assert!(files["check.txt"].contains("sign-in") && files["engine.txt"].contains("memory"));
    assert!(files["settings.txt"].contains(&format!("APP={:?}", harness.app())));
    assert!(files["settings.txt"].contains("PASSWORD (not shown), from the environment"));
    assert_eq!(files["log.txt"].matches("a line with [redacted] in it").count(), secrets.len());
    let ran = harness.run(&["check", "--bundle", "/nowhere/bundle.tar.gz"]).await;
    assert_eq!(ran.code, 78, "{}", ran.all());
    ran.shows("failed bundle", &["/nowhere/bundle.tar.gz"]);
}

/// The files of an archive by their names.
fn unpacked(path: &std::path::Path) -> std::collections::BTreeMap<String, String> {
    let file = std::fs::File::open(path).expect("the archive");
    let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(file));
    let read = |entry: std::io::Result<tar::Entry<'_, _>>| {
        let mut entry = entry.expect("an entry");
        let name = entry.path().expect("a path").file_name().expect("a name").to_string_lossy().into_owned();
        let mut text = String::new();
        std::io::Read::read_to_string(&mut entry, &mut text).expect("text");
        (name, text)
    };
    archive.entries().expect("it opens").map(read).collect()
}

#[tokio::test]
async fn a_public_image_needs_no_token() {
    let harness = harness_with_nodes().await;
    harness.cloud.registry.public_faults().set_denied(true);
    let ran = harness.run(&["check"]).await;
    assert_eq!(ran.code, 0, "{}", ran.all());
    let line = ran.stdout.lines().find(|line| line.contains(PUBLIC)).expect("a line for the image");
    assert!(line.contains("ecr-public:GetAuthorizationToken"), "{line}");
    ran.shows("skipped permission ecr-public:GetAuthorizationToken", &["is missing", "at a lower limit"]);
}

#[tokio::test]
async fn a_missing_log_group_is_named() {
    let harness = Harness::new().await;
    let env = harness.cloud.env();
    harness.cloud.cloudwatch.delete_group(&env["AWS_DEFAULT_REGION"], &env["LOG_GROUP_NAME"]);
    let ran = harness.run(&["check"]).await;
    assert_eq!(ran.code, 78, "{}", ran.all());
    ran.shows("failed log group", &[&env["LOG_GROUP_NAME"], &env["AWS_DEFAULT_REGION"], "check LOG_GROUP_NAME"]);
}

#[tokio::test]
async fn an_invalid_image_reference_is_reported() {
    let harness = Harness::new().await;
    harness.cloud.add_node("short", |node| node.image("busybox"));
    harness.cloud.add_node("elsewhere", |node| node.image("registry.example/node:1"));
    let ran = harness.run(&["check"]).await;
    assert_eq!(ran.code, 78, "{}", ran.all());
    ran.shows("failed image", &["busybox", "lacks a registry host", "managed node type"]);
    ran.shows("ok image", &["registry.example/node:1", "not Amazon ECR"]);
    let ran = harness.run(&["plan"]).await;
    assert_eq!(ran.code, 0, "{}", ran.all());
    ran.shows("left node", &["short", "lacks a registry host"]);
}

#[tokio::test]
async fn a_node_refused_by_the_host_is_reported_with_the_setting() {
    let mut harness = harness_with_nodes().await;
    harness.unset("MANAGED_APP_ALLOWED_REGISTRIES");
    harness.cloud.add_node("far", |node| node.image("registry.example/node:1"));
    harness.cloud.add_node("deep", |node| node.image(PUBLIC).volume("/etc", "/x"));
    let ran = harness.run(&["check"]).await;
    assert_eq!(ran.code, 78, "{}", ran.all());
    ran.shows("failed bounds \"far\"", &["MANAGED_APP_ALLOWED_REGISTRIES"]);
    ran.shows("failed bounds \"deep\"", &["/etc", "MANAGED_APP_ALLOWED_BIND_MOUNTS"]);
    let ran = harness.run(&["plan"]).await;
    ran.shows("left node \"far\"", &["MANAGED_APP_ALLOWED_REGISTRIES"]);
}

#[tokio::test]
async fn a_node_that_cannot_run_is_named_with_the_reason() {
    let harness = harness_with_nodes().await;
    harness.cloud.add_node("odd", |node| node.image(PUBLIC).port(Port::tcp(0, 80)));
    let ran = harness.run(&["check"]).await;
    assert_eq!(ran.code, 78, "{}", ran.all());
    ran.shows("ok app", &["3 nodes"]);
    ran.shows("failed node", &["\"odd\"", "port", "fix the node in EchoStream"]);
    ran.shows("ok changes", &[]);
}

#[tokio::test]
async fn credentials_of_app_and_host_are_distinguished() {
    let harness = Harness::new().await;
    harness.cloud.services.fail_until_released(Service::Credentials, Fault::Status(500));
    let ran = harness.run(&["check"]).await;
    assert_eq!(ran.code, 69, "{}", ran.all());
    ran.shows("failed changes", &["app's AWS credentials"]);
    ran.shows("ok log group", &[]);
}

#[tokio::test]
async fn a_host_without_aws_credentials_gets_a_remedy() {
    let mut harness = harness_with_nodes().await;
    harness.unset("AWS_ACCESS_KEY_ID");
    harness.unset("AWS_SECRET_ACCESS_KEY");
    let ran = harness.run(&["check"]).await;
    assert_eq!(ran.code, 78, "{}", ran.all());
    ran.shows("failed image", &["this host has no AWS credentials", "AWS_ACCESS_KEY_ID"]);
    ran.shows("failed log group", &["this host has no AWS credentials", "AWS_ACCESS_KEY_ID"]);
    ran.shows("ok changes", &[]);
}

#[tokio::test]
async fn unwritable_paths_are_reported_with_their_variables() {
    let mut harness = Harness::new().await;
    let file = harness.folder().join("file");
    std::fs::write(&file, "").expect("a file");
    harness.set("MANAGED_APP_STATE_DIRECTORY", &file.join("below").display().to_string());
    harness.set("MANAGED_APP_LOG_FILE", &file.join("below/log").display().to_string());
    let ran = harness.run(&["check"]).await;
    assert_eq!(ran.code, 78, "{}", ran.all());
    ran.shows("failed state directory", &["MANAGED_APP_STATE_DIRECTORY"]);
    ran.shows("failed log file", &["MANAGED_APP_LOG_FILE"]);
}

#[tokio::test]
async fn nodes_that_ask_for_awslogs_need_an_engine_that_has_it() {
    let mut harness = Harness::new().await;
    harness.set("MANAGED_APP_NODE_LOGS", "awslogs");
    let ran = harness.run(&["check"]).await;
    assert_eq!(ran.code, 78, "{}", ran.all());
    ran.shows("failed node output", &["MANAGED_APP_NODE_LOGS=agent"]);
    let ran = harness.run(&["plan"]).await;
    assert_eq!(ran.code, 78, "{}", ran.all());
}
