//! Owns message attributes in JSON, both ways, and the selection of names in ReceiveMessage.
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value as Json, json};

use super::error::SqsError;
use super::message::{Attribute, Attributes, Value};
use super::queue::Stored;

/// SQS accepts ten attributes per message.
const ATTRIBUTES_MAX: usize = 10;

/// Reads `MessageAttributes`; absent and null mean none.
pub(super) fn parse(json: &Json) -> Result<Attributes, SqsError> {
    let empty = Map::new();
    let fields = json.as_object().unwrap_or(&empty);
    if fields.len() > ATTRIBUTES_MAX {
        return Err(SqsError::invalid_value("Number of message attributes exceeds the allowed maximum of 10."));
    }
    fields.iter().map(|(name, value)| Ok((name.clone(), parse_one(name, value)?))).collect()
}

/// Size of a message as SQS counts it: its body and the names, types and values of its attributes.
pub(super) fn bytes_sent(message: &Json) -> usize {
    let length = |json: &Json| json.as_str().map_or(0, str::len);
    let attribute = |(name, value): (&String, &Json)| {
        let binary = value["BinaryValue"].as_str().and_then(|text| STANDARD.decode(text).ok()).map_or(0, |b| b.len());
        name.len() + length(&value["DataType"]) + length(&value["StringValue"]) + binary
    };
    let attributes = message["MessageAttributes"].as_object();
    length(&message["MessageBody"]) + attributes.map_or(0, |all| all.iter().map(attribute).sum())
}

fn parse_one(name: &str, json: &Json) -> Result<Attribute, SqsError> {
    let bad = || SqsError::invalid_value(format!("The message attribute '{name}' has an invalid type or value."));
    let data_type = json["DataType"].as_str().ok_or_else(bad)?;
    let text = || json["StringValue"].as_str().filter(|text| !text.is_empty()).map(|text| Value::Text(text.to_owned()));
    let value = match data_type.split('.').next() {
        Some("String" | "Number") => text(),
        Some("Binary") => json["BinaryValue"].as_str().and_then(|text| STANDARD.decode(text).ok()).map(Value::Binary),
        _ => None,
    };
    Ok(Attribute { data_type: data_type.to_owned(), value: value.ok_or_else(bad)? })
}

/// The attributes that a receiver requested by `All`, `.*`, `prefix.*` or full name.
pub(super) fn select<'a>(attributes: &'a Attributes, names: &[String]) -> Vec<(&'a String, &'a Attribute)> {
    let asked = |attribute: &str| {
        names.iter().any(|name| match name.strip_suffix(".*") {
            Some(prefix) => prefix.is_empty() || attribute.starts_with(prefix),
            None => name == "All" || name == attribute,
        })
    };
    attributes.iter().filter(|(name, _)| asked(name)).collect()
}

pub(super) fn format(selected: &[(&String, &Attribute)]) -> Json {
    let fields = selected.iter().map(|(name, attribute)| {
        let value = match &attribute.value {
            Value::Text(text) => json!({"DataType": attribute.data_type, "StringValue": text}),
            Value::Binary(bytes) => json!({"DataType": attribute.data_type, "BinaryValue": STANDARD.encode(bytes)}),
        };
        ((*name).clone(), value)
    });
    Json::Object(fields.collect())
}

/// The requested attributes that SQS itself adds to a message.
pub(super) fn of_system(message: &Stored, sender: &str, names: &[String]) -> Json {
    let all = [
        ("ApproximateFirstReceiveTimestamp", message.first_received_ms.to_string()),
        ("ApproximateReceiveCount", message.receive_count.to_string()),
        ("MessageDeduplicationId", message.draft.deduplication_id.clone()),
        ("MessageGroupId", message.draft.group.clone()),
        ("SenderId", sender.to_owned()),
        ("SentTimestamp", message.sent_ms.to_string()),
        ("SequenceNumber", sequence_number(message.sequence)),
    ];
    let asked = |name: &str| names.iter().any(|asked| asked == "All" || asked == name);
    Json::Object(
        all.into_iter().filter(|(name, _)| asked(name)).map(|(n, v)| (n.to_owned(), Json::String(v))).collect(),
    )
}

/// Twenty digits, as in AWS.
pub(super) fn sequence_number(sequence: u64) -> String {
    format!("{:020}", 18_800_000_000_000_000_000_u128 + u128::from(sequence))
}
