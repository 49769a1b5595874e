//! Tests of the lines of events.

use std::sync::{Arc, Mutex};

use secrecy::SecretString;
use tracing_subscriber::layer::SubscriberExt;

use super::*;

/// The lines of `log`, without their time, whose form is checked.
fn lines_at(threshold: LoggingLevel, redactor: &Redactor, log: impl FnOnce()) -> Vec<String> {
    let lines = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&lines);
    let sink = move |line: Line, _| kept.lock().expect("no test panics here").push(line.text);
    let layer = Lines { threshold, redactor: redactor.clone(), sink };
    tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), log);
    let lines = lines.lock().expect("no test panics here");
    lines.iter().map(|line| without_time(line)).collect()
}

fn without_time(line: &str) -> String {
    let mut parts = line.splitn(3, ' ');
    let (level, time, rest) = (parts.next(), parts.next(), parts.next());
    let time = time.expect("a line has a time");
    let shape: String = time.chars().map(|next| if next.is_ascii_digit() { '0' } else { next }).collect();
    assert_eq!(shape, "0000-00-00T00:00:00Z", "{line}");
    format!("{} {}", level.expect("a line has a level"), rest.expect("a line has a message"))
}

fn check(log: impl FnOnce(), expected: &[&str]) {
    assert_eq!(lines_at(LoggingLevel::Debug, &Redactor::default(), log), expected);
}

#[test]
fn lines_have_the_form_of_the_contract() {
    check(|| tracing::info!("ready"), &["[INFO] ready"]);
    check(|| tracing::warn!(node = "a", attempt = 3, "retrying"), &["[WARNING] retrying node=a attempt=3"]);
    check(|| tracing::error!(error = %"no route", "failed"), &["[ERROR] failed error=\"no route\""]);
    check(|| tracing::debug!(reason = "", "looked"), &["[DEBUG] looked reason=\"\""]);
    check(|| tracing::error!(critical = true, code = 70, "lost"), &["[CRITICAL] lost code=70"]);
    check(|| tracing::info!("count {}", 2), &["[INFO] count 2"]);
}

#[test]
fn fields_of_spans_come_before_those_of_the_event() {
    let log = || {
        let outer = tracing::debug_span!("operation", node = "a b", change = tracing::field::Empty);
        outer.record("change", "Edge");
        let _outer = outer.entered();
        let _inner = tracing::info_span!("pull", image = "i").entered();
        let _foreign = tracing::error_span!(target: "hyper", "request", uri = "secret").entered();
        tracing::info!(elapsed_ms = 5, "done");
    };
    let expected = ["[INFO] done node=\"a b\" change=Edge image=i elapsed_ms=5"];
    assert_eq!(lines_at(LoggingLevel::Info, &Redactor::default(), log), expected);
}

#[test]
fn one_event_is_one_line_and_cannot_control_a_terminal() {
    let evil = "x\n[ERROR] forged\r\u{1b}[2J\u{202e}\u{2028}\0";
    let escaped = r#""x\n[ERROR] forged\r\u{1b}[2J\u{202e}\u{2028}\u{0}""#;
    check(|| tracing::info!(node = evil, "m"), &[&format!("[INFO] m node={escaped}")]);
    check(|| tracing::info!(node = %evil, "m"), &[&format!("[INFO] m node={escaped}")]);
    check(|| tracing::info!("a{}b", "\n\u{9b}"), &[r"[INFO] a\n\u{9b}b"]);
    check(|| tracing::info!(v = r#"a"b\c"#, "m"), &[r#"[INFO] m v="a\"b\\c""#]);
    check(|| tracing::info!(v = "a=b", w = "é✓", "m"), &["[INFO] m v=\"a=b\" w=é✓"]);
}

#[test]
fn known_secrets_are_in_no_line() {
    let redactor = Redactor::default();
    redactor.add(&SecretString::from("hun\"ter2"));
    let log = || {
        let _span = tracing::info_span!("s", password = "hun\"ter2").entered();
        tracing::info!(error = %"said hun\"ter2 !", "sign-in hun\"ter2");
    };
    let expected = r#"[INFO] sign-in [redacted] password="[redacted]" error="said [redacted] !""#;
    assert_eq!(lines_at(LoggingLevel::Info, &redactor, log), [expected]);
}

#[test]
fn long_lines_are_cut_between_characters_after_redaction() {
    let redactor = Redactor::default();
    redactor.add(&SecretString::from("secret-at-the-end"));
    let long = format!("{}secret-at-the-end", "é".repeat(line::LINE_BYTES_MAX / 2 - 40));
    let lines = lines_at(LoggingLevel::Info, &redactor, || tracing::info!(long = %long.repeat(2), "m"));
    assert!(lines[0].len() <= line::LINE_BYTES_MAX);
    assert!(lines[0].ends_with(" [cut]") && !lines[0].contains("secret-at"));
}

#[test]
fn the_threshold_critical_lets_critical_events_through_only() {
    let log = || {
        tracing::error!("plain");
        tracing::error!(critical = false, "not so bad");
        tracing::error!(critical = true, "bad");
    };
    assert_eq!(lines_at(LoggingLevel::Critical, &Redactor::default(), log), ["[CRITICAL] bad"]);
}

#[test]
fn noise_of_others_is_left_out() {
    let log = || {
        tracing::info!(target: "hyper::client", "noise");
        tracing::warn!(target: "hyper::client", "worth it");
        tracing::error!(target: "aws_cognito_srp", "hash");
        tracing::debug!("ours");
    };
    assert_eq!(lines_at(LoggingLevel::Info, &Redactor::default(), log), ["[WARNING] worth it"]);
}

#[test]
fn lines_about_shipping_and_of_library_tasks_are_not_shipped() {
    let shipped = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&shipped);
    let sink = move |_, may_ship| kept.lock().expect("no test panics here").push(may_ship);
    let layer = Lines { threshold: LoggingLevel::Debug, redactor: Redactor::default(), sink };
    tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
        tracing::info!("ours");
        tracing::warn!(target: "hyper::client", "a library's own task");
        tracing::info_span!("task").in_scope(|| tracing::warn!(target: "hyper::client", "called by us"));
        tracing::error_span!(target: "hyper", "request").in_scope(|| tracing::warn!(target: "hyper", "again its own"));
        tracing::info_span!("task").in_scope(|| {
            tracing::info_span!(UNSHIPPED).in_scope(|| {
                tracing::warn!("shipping failed");
                tracing::warn!(target: "aws_smithy_runtime", "a call of shipping failed");
                tracing::info_span!("attempt").in_scope(|| tracing::error!("deeper"));
            });
        });
    });
    let shipped = shipped.lock().expect("no test panics here");
    assert_eq!(shipped[..], [true, false, true, false, false, false, false]);
}

proptest::proptest! {
    #[test]
    fn no_value_breaks_a_line(value in "(?s).{0,40}", message in "(?s).{0,40}") {
        let lines = lines_at(LoggingLevel::Info, &Redactor::default(), || tracing::info!(node = %value, "{message}"));
        assert_eq!(lines.len(), 1);
        assert!(!lines[0].chars().any(char::is_control), "{:?}", lines[0]);
    }
}
