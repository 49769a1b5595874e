//! What each kind of HTTP answer means.

use serde_json::json;

use super::*;

fn check(status: u16, body: &str, expected: (&str, CloudErrorKind)) {
    let status = StatusCode::from_u16(status).expect("a status");
    let judged = match judge::<Value>("try", status, body.as_bytes()) {
        Ok(data) => panic!("{status} {body} was taken as {data}"),
        Err(Refusal::Token(error)) => ("token", error.kind()),
        Err(Refusal::Passing(error)) => ("passing", error.kind()),
        Err(Refusal::Lasting(error)) => ("lasting", error.kind()),
    };
    assert_eq!(judged, expected, "{status} {body}");
}

#[test]
fn answers_have_meanings() {
    use CloudErrorKind::{Failed, InvalidResponse, Refused, Throttled};
    let unauthorized = r#"{"errors":[{"errorType":"UnauthorizedException","message":"Token has expired."}]}"#;
    check(401, unauthorized, ("token", Refused));
    check(401, "", ("token", Refused));
    check(200, unauthorized, ("token", Refused));
    check(429, "{}", ("passing", Throttled));
    check(200, r#"{"errors":[{"errorType":"ThrottlingException"}]}"#, ("passing", Throttled));
    check(500, "<html>", ("passing", Failed));
    check(503, "", ("passing", Failed));
    check(400, r#"{"errors":[{"message":"Validation error"}]}"#, ("lasting", Failed));
    check(302, "", ("lasting", Failed));
    check(200, r#"{"data":{"GetApp":{"name":"a"}},"errors":[{"message":"a part failed"}]}"#, ("lasting", Failed));
    check(200, r#"{"data":{"GetApp":null},"errors":[{}]}"#, ("lasting", Failed));
    check(200, r#"{"data":{"GetApp":null},"errors":"odd"}"#, ("lasting", Failed));
    check(200, r#"{"data":null}"#, ("lasting", InvalidResponse));
    check(200, "{}", ("lasting", InvalidResponse));
    check(200, "not json", ("lasting", InvalidResponse));
    check(200, "", ("lasting", InvalidResponse));
}

#[test]
fn data_without_errors_is_taken() {
    for errors in [json!(null), json!([])] {
        let body = json!({"data": {"x": 1}, "errors": errors}).to_string();
        let data = judge::<Value>("try", StatusCode::OK, body.as_bytes());
        assert_eq!(data.ok(), Some(json!({"x": 1})), "{body}");
    }
}

#[test]
fn messages_of_errors_are_bounded_and_clean() {
    let error = |message: String| WireError { message: Some(message), error_type: Some("T".to_owned()) };
    assert_eq!(describe(&[error("a\nb".to_owned())]).as_deref(), Some("T: a\\nb"));
    let long = describe(&[error("x".repeat(100_000))]).expect("a text");
    assert!(long.len() < 1_000);
}
