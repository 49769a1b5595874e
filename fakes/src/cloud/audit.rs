//! Owns the fake of the endpoint for audit records. It runs no auditor and changes nothing else.
use std::collections::BTreeMap;
use std::fmt;
use std::io::Read;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use flate2::read::GzDecoder;
use percent_encoding::percent_decode_str;
use serde::Deserialize;
use serde_json::{Value as Json, json};
use time::OffsetDateTime;
use wiremock::{Mock, MockServer, Request};

use super::awsjson::respond;
use super::faults::{Failure, Faults};
use super::sigv4::{Access, Parts, Scope};

/// Prefix of the path; the node name follows.
const PATH: &str = "/audit/";
const RECORDS_MAX: usize = 500;
/// Longest unpacked body.
const BODY_BYTES_MAX: u64 = 8 * 1024 * 1024;
/// Batches kept for inspection.
const BATCHES_MAX: usize = 10_000;

/// One audit record, with exactly the fields of the endpoint.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AuditRecord {
    /// Time at which the message was handled.
    #[serde(with = "time::serde::rfc3339")]
    pub datetime: OffsetDateTime,
    /// The messages from which this one was derived; null means none.
    #[serde(deserialize_with = "list_or_null")]
    pub previous_tracking_ids: Vec<String>,
    /// The node that sent the message.
    pub source_node: String,
    /// The message itself.
    pub tracking_id: String,
    /// Output of the auditor.
    pub attributes: BTreeMap<String, Json>,
}

/// Content of one call.
#[derive(Clone, Debug, PartialEq)]
pub struct AuditBatch {
    /// The node of the call.
    pub node: String,
    /// The type of all messages in it.
    pub message_type: String,
    /// Whether the body was compressed with gzip.
    pub compressed: bool,
    /// The records, as sent.
    pub records: Vec<AuditRecord>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Body {
    message_type: String,
    audit_records: Vec<AuditRecord>,
}

/// The audit records received so far; a cheap handle.
#[derive(Clone)]
pub struct AuditRecords(Arc<Shared>);

struct Shared {
    access: Access,
    region: String,
    faults: Faults,
    batches: Mutex<Vec<AuditBatch>>,
}

impl fmt::Debug for AuditRecords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuditRecords").field("batches", &self.lock().len()).finish_non_exhaustive()
    }
}

/// Adds the endpoint `<server>/audit` to a server, for credentials of [`Scope::App`] signed for `lambda` in a region.
pub async fn mount(server: &MockServer, access: Access, region: &str) -> AuditRecords {
    let (region, faults) = (region.to_owned(), Faults::default());
    let records = AuditRecords(Arc::new(Shared { access, region, faults, batches: Mutex::default() }));
    let service = records.clone();
    Mock::given(|request: &Request| request.method.as_str() == "POST" && request.url.path().starts_with(PATH))
        .respond_with(move |request: &Request| respond(service.answer(request), service.faults()))
        .mount(server)
        .await;
    records
}

impl AuditRecords {
    /// All accepted calls, oldest first; the newest 10,000 are kept.
    pub fn batches(&self) -> Vec<AuditBatch> {
        self.lock().clone()
    }

    /// All records of a node, oldest first.
    pub fn of_node(&self, node: &str) -> Vec<AuditRecord> {
        let batches = self.lock();
        batches.iter().filter(|batch| batch.node == node).flat_map(|batch| batch.records.clone()).collect()
    }

    /// Fault injection of the endpoint.
    pub fn faults(&self) -> &Faults {
        &self.0.faults
    }

    fn answer(&self, request: &Request) -> Result<Json, Failure> {
        self.faults().take()?;
        let forbidden = |refusal: super::sigv4::Refusal| Failure { status: 403, ..refusal.into() };
        let access = &self.0.access;
        access.verify(&Parts::from(request), &request.body, "lambda", &self.0.region, Scope::App).map_err(forbidden)?;
        let batch = read(request)?;
        let mut batches = self.lock();
        if batches.len() == BATCHES_MAX {
            batches.remove(0);
        }
        batches.push(batch);
        Ok(json!({}))
    }

    fn lock(&self) -> MutexGuard<'_, Vec<AuditBatch>> {
        self.0.batches.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn read(request: &Request) -> Result<AuditBatch, Failure> {
    let node = percent_decode_str(request.url.path().strip_prefix(PATH).unwrap_or_default());
    let node = node.decode_utf8().map_err(|_| bad("the node name is not UTF-8"))?.into_owned();
    let compressed = match request.headers.get("content-encoding").map(|value| value.as_bytes()) {
        None => false,
        Some(b"gzip") => true,
        Some(_) => return Err(bad("the content encoding must be gzip or absent")),
    };
    let body = if compressed { unpack(&request.body)? } else { request.body.clone() };
    let body: Body = serde_json::from_slice(&body).map_err(|error| bad(&error.to_string()))?;
    let empty_texts = [&node, &body.message_type].into_iter().any(|text| text.is_empty())
        || body.audit_records.iter().any(|record| record.source_node.is_empty() || record.tracking_id.is_empty());
    if empty_texts || !(1..=RECORDS_MAX).contains(&body.audit_records.len()) {
        return Err(bad("one to 500 records are needed, and names and ids must not be empty"));
    }
    Ok(AuditBatch { node, message_type: body.message_type, compressed, records: body.audit_records })
}

fn unpack(body: &[u8]) -> Result<Vec<u8>, Failure> {
    let mut unpacked = Vec::new();
    let read = GzDecoder::new(body).take(BODY_BYTES_MAX).read_to_end(&mut unpacked);
    read.map_err(|_| bad("the body is not gzip"))?;
    Ok(unpacked)
}

fn bad(message: &str) -> Failure {
    Failure::new(400, "BadRequestException", message)
}

fn list_or_null<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}
