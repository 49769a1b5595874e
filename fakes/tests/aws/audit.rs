//! The audit endpoint, called with AWS's own signer over a plain connection.
use std::io::Write;
use std::time::SystemTime;

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use flate2::{Compression, write::GzEncoder};
use managed_app_fakes::cloud::audit::{self, AuditRecords};
use managed_app_fakes::cloud::sigv4::{Access, Scope};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use wiremock::MockServer;

use crate::client::REGION;

struct Fixture {
    server: MockServer,
    access: Access,
    records: AuditRecords,
}

struct Call<'a> {
    node: &'a str,
    body: Vec<u8>,
    gzip: bool,
    service: &'a str,
    region: &'a str,
    secret: &'a str,
}

impl<'a> Call<'a> {
    fn new(node: &'a str, body: &Value) -> Self {
        let body = body.to_string().into_bytes();
        Self { node, body, gzip: false, service: "lambda", region: REGION, secret: "app-secret" }
    }
}

async fn fixture() -> Fixture {
    let (server, access) = (MockServer::start().await, Access::new());
    access.allow("AKIAAPP", "app-secret", Some("app-token"), Scope::App, None);
    let records = audit::mount(&server, access.clone(), REGION).await;
    Fixture { server, access, records }
}

impl Fixture {
    /// Signs, sends, and returns the status.
    async fn post(&self, call: Call<'_>) -> u16 {
        let address = self.server.address().to_string();
        let path = format!("/audit/{}", call.node);
        let mut headers = vec![("host".to_owned(), address.clone())];
        if call.gzip {
            headers.push(("content-encoding".to_owned(), "gzip".to_owned()));
        }
        headers.extend(signature(&call, &format!("http://{address}{path}"), &headers));
        let lines: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let length = call.body.len();
        let head = format!("POST {path} HTTP/1.1\r\n{lines}content-length: {length}\r\nconnection: close\r\n\r\n");
        let mut stream = TcpStream::connect(&address).await.expect("connected");
        stream.write_all(&[head.into_bytes(), call.body].concat()).await.expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("answered");
        answer.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status")
    }
}

fn signature(call: &Call<'_>, url: &str, headers: &[(String, String)]) -> Vec<(String, String)> {
    let identity = Credentials::new("AKIAAPP", call.secret, Some("app-token".to_owned()), None, "test").into();
    let params = v4::SigningParams::builder()
        .identity(&identity)
        .region(call.region)
        .name(call.service)
        .time(SystemTime::now())
        .settings(SigningSettings::default())
        .build()
        .expect("complete");
    let headers = headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let request = SignableRequest::new("POST", url, headers, SignableBody::Bytes(&call.body)).expect("a request");
    let (signed, _) = sign(request, &params.into()).expect("signed").into_parts();
    signed.headers().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

fn body(count: usize) -> Value {
    let record = |number: usize| {
        json!({
            "datetime": "2026-11-22T19:17:00.123456+00:00",
            "previousTrackingIds": if number == 0 { Value::Null } else { json!(["before"]) },
            "sourceNode": "Source",
            "trackingId": number.to_string(),
            "attributes": {"app": "App"},
        })
    };
    json!({ "messageType": "echo.change", "auditRecords": (0..count).map(record).collect::<Vec<_>>() })
}

fn gzip(body: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(body).expect("memory takes it");
    encoder.finish().expect("memory takes it")
}

#[tokio::test]
async fn records_are_stored_under_the_decoded_node_name() {
    let fixture = fixture().await;
    let node = "App%3AChange%20Receiver%2F%C3%A9";
    assert_eq!(fixture.post(Call::new(node, &body(2))).await, 200);
    let records = fixture.records.of_node("App:Change Receiver/é");
    assert_eq!(records.iter().map(|record| record.tracking_id.as_str()).collect::<Vec<_>>(), ["0", "1"]);
    assert_eq!(records[0].previous_tracking_ids, Vec::<String>::new());
    assert_eq!(records[1].attributes.get("app"), Some(&json!("App")));
    assert_eq!(records[1].datetime.unix_timestamp_nanos() % 1_000_000_000, 123_456_000);
}

#[tokio::test]
async fn compressed_bodies_are_unpacked() {
    let fixture = fixture().await;
    let mut call = Call::new("Node", &body(500));
    call.body = gzip(&call.body);
    call.gzip = true;
    assert_eq!(fixture.post(call).await, 200);
    let batches = fixture.records.batches();
    assert!(batches[0].compressed);
    assert_eq!(batches[0].records.len(), 500);
    let unpacked = Call { gzip: true, ..Call::new("Node", &body(1)) };
    assert_eq!(fixture.post(unpacked).await, 400, "plain JSON that claims to be gzip");
}

#[tokio::test]
async fn bad_bodies_are_refused() {
    let fixture = fixture().await;
    let mut unknown_field = body(1);
    unknown_field["auditRecords"][0]["surprise"] = json!(1);
    let mut bad_date = body(1);
    bad_date["auditRecords"][0]["datetime"] = json!("yesterday");
    let mut no_type = body(1);
    no_type["messageType"] = json!("");
    for bad in [body(0), body(501), unknown_field, bad_date, no_type, json!([])] {
        assert_eq!(fixture.post(Call::new("Node", &bad)).await, 400);
    }
    assert_eq!(fixture.post(Call::new("", &body(1))).await, 400, "a node must be named");
    assert!(fixture.records.batches().is_empty());
}

#[tokio::test]
async fn wrong_signatures_and_clocks_are_forbidden() {
    let fixture = fixture().await;
    let good = || Call::new("Node", &Value::Null);
    let wrong_secret = Call { secret: "wrong", ..good() };
    let wrong_region = Call { region: "eu-west-3", ..good() };
    let wrong_service = Call { service: "execute-api", ..good() };
    for call in [wrong_secret, wrong_region, wrong_service] {
        assert_eq!(fixture.post(call).await, 403);
    }
    for minutes in [-6, 6] {
        fixture.access.set_clock_offset(time::Duration::minutes(minutes));
        assert_eq!(fixture.post(Call::new("Node", &body(1))).await, 403);
    }
    fixture.access.set_clock_offset(time::Duration::minutes(4));
    assert_eq!(fixture.post(Call::new("Node", &body(1))).await, 200);
}

#[tokio::test]
async fn audit_faults_reject_calls_temporarily() {
    let fixture = fixture().await;
    fixture.records.faults().fail_next(1, 500, "InternalServerError");
    assert_eq!(fixture.post(Call::new("Node", &body(1))).await, 500);
    assert_eq!(fixture.post(Call::new("Node", &body(1))).await, 200);
    fixture.records.faults().set_outage(true);
    assert_eq!(fixture.post(Call::new("Node", &body(1))).await, 503);
}
