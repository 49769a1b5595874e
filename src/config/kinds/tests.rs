//! Valid and invalid values as tables.

use super::*;
use crate::config::settings::*;

fn table<K: Kind>(setting: &Setting<K>, good: &[&str], bad: &[&str]) {
    check(|text| setting.parse(text), good, bad);
}

fn check<T>(parse: impl Fn(&str) -> Option<T>, good: &[&str], bad: &[&str]) {
    for text in good {
        assert!(parse(text).is_some(), "should be valid: {text:?}");
    }
    for text in bad {
        assert!(parse(text).is_none(), "should be invalid: {text:?}");
    }
}

#[test]
fn names_are_bounded_and_printable() {
    let (fits, long) = ("é".repeat(256), "é".repeat(257));
    table(&APP, &["a", "My App: 1", "日本", &fits], &["", &long, "a\nb", "a\u{1b}[2J", "\0", "bad\u{fffd}"]);
    table(&HOST_ID, &["host-1", "0a1b"], &["", "a b", "a\tb", &"x".repeat(129)]);
    table(&CLIENT_ID, &["4k3h2g1", "a_b+c"], &["", "a-b", "a b"]);
}

#[test]
fn sizes_are_bytes_or_have_a_unit() {
    let size = |text: &str| Size(1..=1 << 40).parse(text);
    assert_eq!(size("1"), Some(1));
    assert_eq!((size("64k"), size("10M"), size("2g")), (Some(64 << 10), Some(10 << 20), Some(2 << 30)));
    for text in ["", "k", "0", "-1", "+1", "1.5m", "1 m", "1mb", "1t", "2000g", "99999999999999999999g"] {
        assert_eq!(size(text), None, "{text}");
    }
}

#[test]
fn endpoints_are_https_or_on_this_host() {
    check(
        |text| url(text).filter(|url| is_private(url, Some("https://example.com"))),
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
    check(
        |text| url(text).filter(|url| is_private(url, Some("http://172.17.0.1:4510"))),
        &["http://172.17.0.1:4510/graphql", "https://x.example"],
        &["http://172.17.0.1/graphql", "http://172.17.0.2:4510/graphql", "http://user@172.17.0.1:4510/graphql"],
    );
}

#[test]
fn regions_look_like_regions() {
    table(
        &AWS_DEFAULT_REGION,
        &["us-east-1", "ap-southeast-2", "us-gov-west-1", "cn-north-1", "eusc-de-east-1", "us-iso-east-1"],
        &["", "us-east", "us", "US-EAST-1", "us-east-1a", "us_east_1", "-east-1", "us--1", "us-east-", "us-east-123"],
    );
}

#[test]
fn user_pools_are_split_at_the_underscore() {
    let pool = UserPoolId { region: "eu-west-1".into(), id: "aB3".into() };
    assert_eq!(USER_POOL_ID.parse("eu-west-1_aB3"), Some(pool));
    table(
        &USER_POOL_ID,
        &[],
        &["", "eu-west-1", "eu-west-1_", "_aB3", "nowhere_aB3", "eu-west-1_a_b", "eu-west-1_a b"],
    );
}

#[test]
fn log_groups_keep_to_the_rules_of_cloudwatch() {
    let (fits, long) = ("g".repeat(512), "g".repeat(513));
    table(&LOG_GROUP_NAME, &["/echo/app#1.x_y-z", "g", &fits], &["", &long, "aws/x", "a b", "a:b", "é", "a*"]);
}

#[test]
fn numbers_and_durations_are_bounded() {
    table(&PARALLEL_PULLS, &["1", "64", "007"], &["", "0", "65", "+4", "-1", "4.0", "x", "9".repeat(40).as_str()]);
    table(
        &STOP_GRACE,
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
    assert_eq!(STOP_GRACE.parse("5m"), Some(Duration::from_secs(300)));
}

#[test]
fn limits_of_nodes_have_units_and_bounds() {
    let size = |text: &str| Size(KIB..=4 * GIB).parse(text);
    check(
        size,
        &["1024", "1k", "512m", "4G"],
        &["", "k", "1", "5g", "1.5g", "1 k", "-1k", "1kb", "99999999999999999999k"],
    );
    assert_eq!(size("512m"), Some(512 << 20));
    table(
        &NODE_DROP_CAPABILITIES,
        &["ALL", "net_raw, CAP_MKNOD"],
        &["", ",", "NET_RAW,", "net-raw", "NET RAW", "CAP_", "1"],
    );
    assert_eq!(capabilities("cap_net_raw,ALL"), Some(["ALL".to_owned(), "NET_RAW".to_owned()].into()));
    table(&NODE_NO_NEW_PRIVILEGES, &["yes", "No"], &["", "true", "1"]);
}

#[test]
fn paths_are_absolute_and_the_log_file_can_be_off() {
    table(&STATE_DIRECTORY, &["/a", "/var/log/x y.log"], &["", "a", "./a", "/a\nb"]);
    assert_eq!(LOG_FILE.parse("off"), Some(None));
    assert_eq!(LOG_FILE.parse("/x.log"), Some(Some("/x.log".into())));
    assert_eq!(LOG_FILE.parse("x.log"), None);
}

#[test]
fn choices_are_case_insensitive() {
    table(&LOGGING_LEVEL, &["DEBUG", "info", "Warning", "ERROR", "CRITICAL"], &["", "warn", "verbose", "INFO "]);
    table(&RUNTIME, &["docker", "podman", "memory", "auto", "AUTO"], &["", "containerd"]);
    table(&NODE_LOGS, &["awslogs", "engine"], &["", "none"]);
    table(&DAEMON_LOGS, &["on", "off", "OFF"], &["", "yes", "1"]);
    table(&ON_EXIT, &["stop", "leave"], &["", "kill"]);
    table(&ON_REMOVED, &["shutdown", "exit"], &["", "stop"]);
    table(&REPLACE, &["careful", "overlap", "Overlap"], &["", "fast"]);
}

#[test]
fn bounds_are_described_in_the_largest_unit() {
    assert_eq!(Size(1..=1 << 40).describe("2k"), "a size from 1 to 1024g, like 2k");
    assert_eq!(Size(1536..=3 * MIB).describe("2k"), "a size from 1536 to 3m, like 2k");
    assert_eq!(Time(0..=90 * MINUTE).describe("2s"), "a duration from 0s to 90m, like 2s");
    assert_eq!(Time(1500..=24 * HOUR).describe("2s"), "a duration from 1500ms to 24h, like 2s");
    assert_eq!(Number(1..=9).describe("2"), "a number from 1 to 9");
    assert_eq!(OneOf(&[("a", 1), ("b", 2), ("c", 3)]).describe("a"), "a, b or c");
    assert_eq!((ON_OR_OFF.describe("on"), NAME.describe("x")), ("on or off".to_owned(), APP.expected()));
}

#[test]
fn bounds_are_valid_values_and_their_neighbours_are_not() {
    table(&PARALLEL_OPERATIONS, &["1", "1024"], &["0", "1025"]);
    table(&NODE_LOG_FILES, &["1", "1000"], &["0", "1001"]);
    table(&NODE_PIDS_MAX, &["1", "4194304"], &["0", "4194305"]);
    table(&AWSLOGS_BUFFER, &["64k", "1g"], &["65535", "1073741825"]);
    table(&NODE_LOG_SIZE, &["64k", "100g"], &["63k", "101g"]);
    table(&NODE_MEMORY_MAX, &["16m", "16384g"], &["15m", "16385g"]);
    table(&REPLACE_WINDOW, &["0s", "0ms", "10m"], &["0", "600001ms"]);
    table(&RESYNC, &["10s", "24h"], &["9999ms", "25h"]);
}
