//! `check` and the endpoints of AWS: partitions, FIPS, dual stack, custom endpoints, repositories that do not exist
//! yet.

use crate::harness::Harness;

const PRIVATE: &str = "123456789012.dkr.ecr.eu-west-1.amazonaws.com/node:1";

/// A pull-through cache rule may create it at the first pull; the permissions of the host do not include these rules.
#[tokio::test]
async fn a_repository_that_the_first_pull_may_create_is_no_failure() {
    let harness = Harness::new().await;
    harness.cloud.add_node("a", |node| node.image(PRIVATE));
    harness.cloud.registry.remove_repository("node");
    let ran = harness.run(&["check"]).await;
    assert_eq!(ran.code, 0, "{}", ran.all());
    ran.shows(
        &format!("skipped image {PRIVATE}: its repository does not exist"),
        &["pull-through cache rule", "push it there"],
    );
}

/// The region does not exist, so the error of the name lookup shows which host was tried.
#[tokio::test]
async fn check_tries_the_endpoints_that_the_sdk_would_call() {
    let logs_at = async |variables: &[(&str, &str)]| {
        let mut harness = Harness::new().await;
        for variable in ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_CLOUDWATCH_LOGS"] {
            harness.unset(variable);
        }
        harness.set("AWS_DEFAULT_REGION", "us-nowhere-1");
        variables.iter().for_each(|(name, value)| harness.set(name, value));
        let ran = harness.run(&["check"]).await;
        let mut lines =
            ran.stdout.lines().filter(|line| line.contains("CloudWatch Logs") && line.contains(" network "));
        lines.next().unwrap_or_else(|| panic!("{}", ran.all())).to_owned()
    };
    for (variables, expected) in [
        (&[][..], "https://logs.us-nowhere-1.amazonaws.com"),
        (&[("AWS_USE_FIPS_ENDPOINT", "true")], "https://logs-fips.us-nowhere-1.amazonaws.com"),
        (&[("AWS_USE_DUALSTACK_ENDPOINT", "true")], "https://logs.us-nowhere-1.api.aws"),
        (&[("AWS_DEFAULT_REGION", "eusc-de-nowhere-1")], "https://logs.eusc-de-nowhere-1.amazonaws.eu"),
        (&[("AWS_ENDPOINT_URL_CLOUDWATCH_LOGS", "https://logs.invalid/")], "https://logs.invalid"),
        (
            &[("AWS_USE_FIPS_ENDPOINT", "true"), ("AWS_ENDPOINT_URL_CLOUDWATCH_LOGS", "https://logs.invalid/")],
            "FIPS and custom endpoint are not supported",
        ),
    ] {
        let line = logs_at(variables).await;
        assert!(line.contains(expected), "{variables:?}: {line}");
    }
}
