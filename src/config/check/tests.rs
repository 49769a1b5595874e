//! Valid and invalid values as tables.

use super::*;

fn table<T>(check: impl Fn(&str) -> Option<T>, good: &[&str], bad: &[&str]) {
    for text in good {
        assert!(check(text).is_some(), "should be valid: {text:?}");
    }
    for text in bad {
        assert!(check(text).is_none(), "should be invalid: {text:?}");
    }
}

#[test]
fn names_are_bounded_and_printable() {
    let (fits, long) = ("é".repeat(256), "é".repeat(257));
    table(name, &["a", "My App: 1", "日本", &fits], &["", &long, "a\nb", "a\u{1b}[2J", "\0", "bad\u{fffd}"]);
    table(host_id, &["host-1", "0a1b"], &["", "a b", "a\tb", &"x".repeat(129)]);
    table(client_id, &["4k3h2g1", "a_b+c"], &["", "a-b", "a b"]);
}

#[test]
fn sizes_are_bytes_or_have_a_unit() {
    let size = |text: &str| size(text, 1..=1 << 40);
    assert_eq!(size("1"), Some(1));
    assert_eq!((size("64k"), size("10M"), size("2g")), (Some(64 << 10), Some(10 << 20), Some(2 << 30)));
    for text in ["", "k", "0", "-1", "+1", "1.5m", "1 m", "1mb", "1t", "2000g", "99999999999999999999g"] {
        assert_eq!(size(text), None, "{text}");
    }
}

#[test]
fn endpoints_are_https_or_on_this_host() {
    table(
        |text| endpoint(text, Some("https://example.com")),
        &[
            "https://x.appsync-api.us-east-1.amazonaws.com/graphql",
            "https://api.example:8443/graphql",
            "http://localhost:4000/graphql",
            "http://127.0.0.1:4000",
            "http://127.9.9.9",
            "http://[::1]:1/graphql",
        ],
        &[
            "",
            "x.example/graphql",
            "http://example.com/graphql",
            "http://localhost.example.com",
            "http://10.0.0.1",
            "http://127.0.0.1.example.com",
            "https://user:secret@x.example",
            "https://user@x.example",
            "http://localhost@evil.example/",
            "ftp://localhost",
            "https://",
            "https://x.example/#part",
            " https://x.example",
            "https://x.exa\nmple",
        ],
    );
}

#[test]
fn plain_http_is_allowed_to_the_configured_fake_cloud() {
    table(
        |text| endpoint(text, Some("http://172.17.0.1:4510")),
        &["http://172.17.0.1:4510/graphql", "https://x.example"],
        &["http://172.17.0.1/graphql", "http://172.17.0.2:4510/graphql", "http://user@172.17.0.1:4510/graphql"],
    );
}

#[test]
fn regions_look_like_regions() {
    table(
        region,
        &["us-east-1", "ap-southeast-2", "us-gov-west-1", "cn-north-1", "eusc-de-east-1", "us-iso-east-1"],
        &["", "us-east", "us", "US-EAST-1", "us-east-1a", "us_east_1", "-east-1", "us--1", "us-east-", "us-east-123"],
    );
}

#[test]
fn user_pools_are_split_at_the_underscore() {
    let pool = UserPoolId { region: "eu-west-1".into(), id: "aB3".into() };
    assert_eq!(user_pool_id("eu-west-1_aB3"), Some(pool));
    table(user_pool_id, &[], &["", "eu-west-1", "eu-west-1_", "_aB3", "nowhere_aB3", "eu-west-1_a_b", "eu-west-1_a b"]);
}

#[test]
fn log_groups_keep_to_the_rules_of_cloudwatch() {
    let (fits, long) = ("g".repeat(512), "g".repeat(513));
    table(log_group, &["/echo/app#1.x_y-z", "g", &fits], &["", &long, "aws/x", "a b", "a:b", "é", "a*"]);
}

#[test]
fn numbers_and_durations_are_bounded() {
    table(
        |text| number(text, 1..=64),
        &["1", "64", "007"],
        &["", "0", "65", "+4", "-1", "4.0", "x", "9".repeat(40).as_str()],
    );
    let bounds = Duration::from_secs(1)..=Duration::from_secs(600);
    table(
        |text| duration(text, bounds.clone()),
        &["1s", "1000ms", "30s", "10m"],
        &[
            "",
            "30",
            "s",
            "999ms",
            "11m",
            "1h",
            "-1s",
            "1.5s",
            "1 s",
            "1d",
            "99999999999999999999s",
            "9999999999999999h",
        ],
    );
    assert_eq!(duration("5m", bounds), Some(Duration::from_secs(300)));
}

#[test]
fn limits_of_nodes_have_units_and_bounds() {
    let size = |text: &str| bytes(text, 1024..=4 << 30);
    table(
        size,
        &["1024", "1k", "512m", "4G"],
        &["", "k", "1", "5g", "1.5g", "1 k", "-1k", "1kb", "99999999999999999999k"],
    );
    assert_eq!(size("512m"), Some(512 << 20));
    table(capabilities, &["ALL", "net_raw, CAP_MKNOD"], &["", ",", "NET_RAW,", "net-raw", "NET RAW", "CAP_", "1"]);
    assert_eq!(capabilities("cap_net_raw,ALL"), Some(["ALL".to_owned(), "NET_RAW".to_owned()].into()));
    table(yes_or_no, &["yes", "No"], &["", "true", "1"]);
}

#[test]
fn paths_are_absolute_and_the_log_file_can_be_off() {
    table(path, &["/a", "/var/log/x y.log"], &["", "a", "./a", "/a\nb"]);
    assert_eq!(path_or_off("off"), Some(None));
    assert_eq!(path_or_off("/x.log"), Some(Some("/x.log".into())));
    assert_eq!(path_or_off("x.log"), None);
}

#[test]
fn choices_are_case_insensitive() {
    table(logging_level, &["DEBUG", "info", "Warning", "ERROR", "CRITICAL"], &["", "warn", "verbose", "INFO "]);
    table(runtime, &["docker", "podman", "memory", "auto", "AUTO"], &["", "containerd"]);
    table(node_logs, &["awslogs", "engine"], &["", "none"]);
    table(switch, &["on", "off", "OFF"], &["", "yes", "1"]);
    table(on_exit, &["stop", "leave"], &["", "kill"]);
    table(on_removed, &["shutdown", "exit"], &["", "stop"]);
    table(replace, &["careful", "overlap", "Overlap"], &["", "fast"]);
}
