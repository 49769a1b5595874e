//! Owns the content of a message and its two MD5 sums. Knows no queues.
use std::collections::BTreeMap;

use md5::{Digest, Md5};

/// The value of a message attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    /// `StringValue`.
    Text(String),
    /// `BinaryValue`, decoded.
    Binary(Vec<u8>),
}

/// A message attribute with its data type, as `String` or `Number.int`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Attribute {
    pub(super) data_type: String,
    pub(super) value: Value,
}

impl Attribute {
    pub(super) fn text(value: String) -> Self {
        Self { data_type: "String".to_owned(), value: Value::Text(value) }
    }

    /// Its text, or `None` if it is binary.
    pub(super) fn into_text(self) -> Option<String> {
        match self.value {
            Value::Text(text) => Some(text),
            Value::Binary(_) => None,
        }
    }
}

pub(super) type Attributes = BTreeMap<String, Attribute>;

/// A message from its producer.
#[derive(Clone, Debug)]
pub(super) struct Draft {
    pub(super) body: String,
    pub(super) attributes: Attributes,
    pub(super) group: String,
    pub(super) deduplication_id: String,
}

pub(super) fn md5_of_body(body: &str) -> String {
    hex::encode(Md5::digest(body.as_bytes()))
}

/// The sum over attributes in the order of their names; absent when there are none.
///
/// Each is encoded as name, data type, one byte for the kind of value, value; all with a length of four bytes,
/// big-endian.
pub(super) fn md5_of_attributes<'a>(
    attributes: impl IntoIterator<Item = (&'a String, &'a Attribute)>,
) -> Option<String> {
    let mut sorted: Vec<_> = attributes.into_iter().collect();
    sorted.sort_by_key(|(name, _)| *name);
    let mut sum = Md5::new();
    for (name, attribute) in &sorted {
        add(&mut sum, name.as_bytes());
        add(&mut sum, attribute.data_type.as_bytes());
        match &attribute.value {
            Value::Text(text) => {
                sum.update([1]);
                add(&mut sum, text.as_bytes());
            }
            Value::Binary(bytes) => {
                sum.update([2]);
                add(&mut sum, bytes);
            }
        }
    }
    (!sorted.is_empty()).then(|| hex::encode(sum.finalize()))
}

fn add(sum: &mut Md5, bytes: &[u8]) {
    let length = u32::try_from(bytes.len()).expect("a message is at most 1 MiB");
    sum.update(length.to_be_bytes());
    sum.update(bytes);
}
