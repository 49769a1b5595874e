//! Owns the parsing of SQS's JSON fields: presence, type, bounds. The operations interpret them.
use std::collections::HashSet;
use std::time::Duration;

use serde_json::Value as Json;

use super::error::SqsError;

/// Maximum number of entries in a batch.
pub(super) const BATCH_MAX: usize = 10;

/// A required, non-empty text field.
pub(super) fn text<'a>(json: &'a Json, name: &str) -> Result<&'a str, SqsError> {
    json[name].as_str().filter(|text| !text.is_empty()).ok_or_else(|| SqsError::missing(name))
}

/// A list of texts; absent means empty.
pub(super) fn texts(json: &Json, name: &str) -> Vec<String> {
    let list = json[name].as_array().map(Vec::as_slice).unwrap_or_default();
    list.iter().filter_map(|value| value.as_str().map(str::to_owned)).collect()
}

/// An integer within bounds; `None` when absent or null.
pub(super) fn number(json: &Json, name: &str, least: u64, most: u64) -> Result<Option<u64>, SqsError> {
    if json[name].is_null() {
        return Ok(None);
    }
    let value = json[name].as_u64().filter(|value| (least..=most).contains(value));
    let refusal = || {
        SqsError::invalid_value(format!(
            "Value {} for parameter {name} is invalid. Reason: Must be between {least} and {most}, if provided.",
            json[name]
        ))
    };
    value.map(Some).ok_or_else(refusal)
}

/// A number of seconds within bounds.
pub(super) fn seconds(json: &Json, name: &str, most: u64) -> Result<Option<Duration>, SqsError> {
    Ok(number(json, name, 0, most)?.map(Duration::from_secs))
}

/// The entries of a batch with their ids: one to ten, with valid and distinct ids.
pub(super) fn entries(json: &Json) -> Result<Vec<(&str, &Json)>, SqsError> {
    let list = json["Entries"].as_array().map(Vec::as_slice).unwrap_or_default();
    if list.is_empty() {
        return Err(SqsError::empty_batch());
    }
    if list.len() > BATCH_MAX {
        return Err(SqsError::too_many_entries(list.len()));
    }
    let mut seen = HashSet::new();
    list.iter().map(|entry| Ok((entry_id(entry, &mut seen)?, entry))).collect()
}

fn entry_id<'a>(entry: &'a Json, seen: &mut HashSet<&'a str>) -> Result<&'a str, SqsError> {
    let id = text(entry, "Id")?;
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if id.len() > 80 || !id.chars().all(plain) {
        return Err(SqsError::bad_entry_id());
    }
    if seen.insert(id) { Ok(id) } else { Err(SqsError::entry_ids_repeat(id)) }
}
