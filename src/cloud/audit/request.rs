//! Builds a request to the audit endpoint from records and credentials. Pure: no I/O, no clock.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Arc;
use std::time::SystemTime;

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningError, SigningSettings, sign};
use aws_sigv4::sign::v4;
use flate2::Compression;
use flate2::write::GzEncoder;
use reqwest::Url;
use reqwest::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::FormatItem;
use time::macros::format_description;

use super::queue::Record;
use crate::config;
use crate::model::App;

/// The type of all messages of a change receiver.
const MESSAGE_TYPE: &str = "echo.change";

/// The service that requests are signed for.
const SERVICE: &str = "lambda";

/// Bodies with more records than this are compressed.
const PLAIN_RECORDS_MAX: usize = 10;

const DATE_TIME: &[FormatItem<'_>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");

/// The endpoint of the records, with region and app.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    url: Url,
    region: String,
    app: String,
}

impl Target {
    /// The endpoint with the change receiver's name as the last part of its path. The error is a reason for log lines.
    pub(super) fn of(app: &App) -> Result<Self, &'static str> {
        let receiver = app.change_receiver.as_ref().ok_or("the app has no change receiver")?;
        let endpoint = app.audit_records_endpoint.as_deref().ok_or("the app has no audit endpoint")?;
        // The session token travels with each request.
        let endpoint = config::endpoint(endpoint).ok_or("the audit endpoint is not an https URL")?;
        let mut url = Url::parse(&endpoint).map_err(|_| "the audit endpoint is not a URL")?;
        url.path_segments_mut().map_err(|()| "the audit endpoint has no path")?.pop_if_empty().push(&receiver.name);
        Ok(Self { url, region: app.tenant.region.clone(), app: app.name.clone() })
    }

    pub(super) fn url(&self) -> Url {
        self.url.clone()
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct WireBody<'a> {
    message_type: &'static str,
    audit_records: Vec<WireRecord<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct WireRecord<'a> {
    datetime: String,
    previous_tracking_ids: &'a [String],
    source_node: &'a str,
    tracking_id: &'a str,
    attributes: BTreeMap<&'static str, &'a str>,
}

/// The body, compressed if there are many records, and its headers.
pub(super) fn body(target: &Target, records: &[Arc<Record>]) -> (Vec<u8>, HeaderMap) {
    let audit_records = records.iter().map(|record| wire(record, &target.app)).collect();
    let body = WireBody { message_type: MESSAGE_TYPE, audit_records };
    let json = serde_json::to_vec(&body).expect("plain text has a JSON form");
    let mut headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("application/json"))]);
    if records.len() <= PLAIN_RECORDS_MAX {
        return (json, headers);
    }
    headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    let mut packed = GzEncoder::new(Vec::new(), Compression::default());
    packed.write_all(&json).expect("writes to memory cannot fail");
    (packed.finish().expect("writes to memory cannot fail"), headers)
}

fn wire<'a>(record: &'a Record, app: &'a str) -> WireRecord<'a> {
    WireRecord {
        datetime: date_time(record.at),
        previous_tracking_ids: &record.previous_tracking_ids,
        source_node: &record.source_node,
        tracking_id: &record.tracking_id,
        attributes: BTreeMap::from([("app", app)]),
    }
}

fn date_time(at: OffsetDateTime) -> String {
    at.format(DATE_TIME).expect("the format has only date and time")
}

/// Adds the headers of AWS Signature Version 4.
pub(super) fn add_signature(
    headers: &mut HeaderMap,
    target: &Target,
    body: &[u8],
    credentials: &Credentials,
    now: SystemTime,
) -> Result<(), SigningError> {
    let identity = credentials.clone().into();
    let params = v4::SigningParams::builder()
        .identity(&identity)
        .region(&target.region)
        .name(SERVICE)
        .time(now)
        .settings(SigningSettings::default())
        .build()
        .expect("all parts are given")
        .into();
    let texts = headers.iter().filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)));
    let request = SignableRequest::new("POST", target.url.as_str(), texts, SignableBody::Bytes(body))?;
    let (signature, _) = sign(request, &params)?.into_parts();
    for (name, value) in signature.headers() {
        let name = HeaderName::from_bytes(name.as_bytes()).expect("the signer names headers");
        let mut value = HeaderValue::from_str(value).expect("the signer makes headers");
        value.set_sensitive(true);
        headers.insert(name, value);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{ChangeReceiver, Tenant};

    fn url(endpoint: &str, receiver: &str) -> Result<String, &'static str> {
        let tenant = Tenant { name: "t".into(), region: "r".into(), config: None, audit: true, table: "table".into() };
        let receiver = ChangeReceiver { name: receiver.to_owned(), queue: "q".into(), source: "s".into() };
        let app = App {
            name: "app".into(),
            tenant,
            config: None,
            table_access: false,
            audit_records_endpoint: Some(endpoint.to_owned()),
            change_receiver: Some(receiver),
            nodes: BTreeMap::new(),
            invalid_nodes: BTreeMap::new(),
            is_complete: true,
        };
        Target::of(&app).map(|target| target.url().to_string())
    }

    #[test]
    fn the_receivers_name_is_one_part_of_the_path() {
        let check = |endpoint, name, expected: &str| assert_eq!(url(endpoint, name).as_deref(), Ok(expected));
        check("https://x.example/audit", "a:Change Receiver", "https://x.example/audit/a:Change%20Receiver");
        check("https://x.example/audit/", "a/b?c#d%e", "https://x.example/audit/a%2Fb%3Fc%23d%25e");
        check("https://x.example", "é", "https://x.example/%C3%A9");
        assert!(url("http://x.example/audit", "a").is_err(), "the session token would be sent unencrypted");
        assert!(url("https://user:word@x.example/", "a").is_err());
    }

    #[test]
    fn times_have_milliseconds_and_are_utc() {
        let at = OffsetDateTime::UNIX_EPOCH + time::Duration::milliseconds(1_234);
        assert_eq!(date_time(at), "1970-01-01T00:00:01.234Z");
    }

    #[test]
    fn the_secret_and_the_signature_do_not_show() {
        let credentials = Credentials::new("AKIA", "secret-key", Some("session-token".to_owned()), None, "test");
        let url = Url::parse("https://x.example/a").expect("a URL");
        let target = Target { url, region: "us-east-1".into(), app: "app".into() };
        let (body, mut headers) = body(&target, &[]);
        add_signature(&mut headers, &target, &body, &credentials, SystemTime::UNIX_EPOCH).expect("signed");
        assert!(headers["authorization"].to_str().expect("text").contains("/us-east-1/lambda/aws4_request"));
        let shown = format!("{headers:?}");
        assert!(!shown.contains("session-token") && !shown.contains("Signature="), "{shown}");
    }
}
