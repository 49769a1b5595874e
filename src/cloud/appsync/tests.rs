//! Tests of the error of each kind of HTTP response.

use serde_json::json;

use super::*;

fn check(status: u16, body: &str, expected: (&str, CloudErrorKind)) {
    let status = StatusCode::from_u16(status).expect("a status");
    let found = match parse_response::<Value>("try", status, body.as_bytes()) {
        Ok(data) => panic!("{status} {body} was accepted as {data}"),
        Err(CallError::Unauthorized(error)) => ("unauthorized", error.kind()),
        Err(CallError::Transient(error)) => ("transient", error.kind()),
        Err(CallError::Permanent(error)) => ("permanent", error.kind()),
    };
    assert_eq!(found, expected, "{status} {body}");
}

#[test]
fn responses_map_to_error_kinds() {
    use CloudErrorKind::{Denied, Failed, InvalidResponse, Throttled};
    let unauthorized = r#"{"errors":[{"errorType":"UnauthorizedException","message":"Token has expired."}]}"#;
    check(401, unauthorized, ("unauthorized", Denied));
    check(401, "", ("unauthorized", Denied));
    check(200, unauthorized, ("unauthorized", Denied));
    check(429, "{}", ("transient", Throttled));
    check(200, r#"{"errors":[{"errorType":"ThrottlingException"}]}"#, ("transient", Throttled));
    check(500, "<html>", ("transient", Failed));
    check(503, "", ("transient", Failed));
    check(400, r#"{"errors":[{"message":"Validation error"}]}"#, ("permanent", Failed));
    check(302, "", ("permanent", Failed));
    check(200, r#"{"data":{"GetApp":{"name":"a"}},"errors":[{"message":"a part failed"}]}"#, ("permanent", Failed));
    check(200, r#"{"data":{"GetApp":null},"errors":[{}]}"#, ("permanent", Failed));
    check(200, r#"{"data":{"GetApp":null},"errors":"odd"}"#, ("permanent", Failed));
    check(200, r#"{"data":null}"#, ("permanent", InvalidResponse));
    check(200, "{}", ("permanent", InvalidResponse));
    check(200, "not json", ("permanent", InvalidResponse));
    check(200, "", ("permanent", InvalidResponse));
}

#[test]
fn data_without_errors_is_taken() {
    for errors in [json!(null), json!([])] {
        let body = json!({"data": {"x": 1}, "errors": errors}).to_string();
        let data = parse_response::<Value>("try", StatusCode::OK, body.as_bytes());
        assert_eq!(data.ok(), Some(json!({"x": 1})), "{body}");
    }
}

#[test]
fn messages_of_errors_are_limited_and_sanitised() {
    let error = |message: String| WireError { message: Some(message), error_type: Some("T".to_owned()) };
    assert_eq!(describe(&[error("a\nb".to_owned())]).as_deref(), Some("T: a b"));
    let long = describe(&[error("x".repeat(100_000))]).expect("a text");
    assert!(long.len() < 1_000);
}
