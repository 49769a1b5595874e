//! Owns the effect of each SQS operation on its JSON. The server handles signatures, faults and HTTP.
use std::time::Duration;

use serde_json::{Value as Json, json};
use sha2::{Digest, Sha256};
use tokio::time::Instant;

use super::attributes;
use super::error::SqsError;
use super::message::{Draft, md5_of_attributes, md5_of_body};
use super::queue::{Delivery, Queue};
use super::queues::{ACCOUNT, FifoQueues};
use super::wire;

const VISIBILITY_MAX_S: u64 = 12 * 60 * 60;
const WAIT_MAX_S: u64 = 20;
const BODY_BYTES_MAX: usize = 1_048_576;
/// Limits for names and ids of a queue, a group and a deduplication.
const QUEUE_NAME_MAX: usize = 80;
const ID_MAX: usize = 128;
const SENDER: &str = "AROAFAKE:app";

type OperationResult = Result<Json, SqsError>;

/// Runs one operation, named as in `x-amz-target` after the dot.
pub(super) async fn run(queues: &FifoQueues, operation: &str, input: &Json) -> OperationResult {
    match operation {
        "ReceiveMessage" => receive(queues, input).await,
        "DeleteMessage" => delete(queues, wire::text(input, "QueueUrl")?, input).map(|()| json!({})),
        "DeleteMessageBatch" => batch(queues, input, delete_entry),
        "ChangeMessageVisibility" => {
            change_visibility(queues, wire::text(input, "QueueUrl")?, input).map(|()| json!({}))
        }
        "ChangeMessageVisibilityBatch" => {
            batch(queues, input, |queues, url, entry| change_visibility(queues, url, entry).map(|()| json!({})))
        }
        "SendMessage" => send(queues, wire::text(input, "QueueUrl")?, input),
        "SendMessageBatch" => send_batch(queues, input),
        "GetQueueUrl" => Ok(json!({"QueueUrl": queues.find_url(wire::text(input, "QueueName")?)?})),
        "GetQueueAttributes" => queue_attributes(queues, input),
        "CreateQueue" => create(queues, input),
        "DeleteQueue" => known_queue(queues, input).map(|url| queues.delete(url)).map(|()| json!({})),
        "PurgeQueue" => known_queue(queues, input).map(|url| queues.purge(url)).map(|()| json!({})),
        _ => Err(SqsError::unknown_operation()),
    }
}

async fn receive(queues: &FifoQueues, input: &Json) -> OperationResult {
    let url = wire::text(input, "QueueUrl")?;
    let max = wire::number(input, "MaxNumberOfMessages", 1, 10)?.unwrap_or(1);
    let wait = wire::seconds(input, "WaitTimeSeconds", WAIT_MAX_S)?.unwrap_or(Duration::ZERO);
    let visibility = wire::seconds(input, "VisibilityTimeout", VISIBILITY_MAX_S)?;
    let names = wire::texts(input, "MessageAttributeNames");
    let system = [wire::texts(input, "MessageSystemAttributeNames"), wire::texts(input, "AttributeNames")].concat();
    let max = usize::try_from(max).expect("at most 10");
    let deliveries = queues.receive(url, max, visibility, wait).await?;
    if deliveries.is_empty() {
        return Ok(json!({}));
    }
    let messages: Vec<Json> = deliveries.iter().map(|delivery| format_delivery(delivery, &names, &system)).collect();
    Ok(json!({ "Messages": messages }))
}

fn format_delivery(delivery: &Delivery, names: &[String], system: &[String]) -> Json {
    let message = &delivery.message;
    let mut json = json!({
        "MessageId": message.id,
        "ReceiptHandle": delivery.receipt,
        "MD5OfBody": md5_of_body(&message.draft.body),
        "Body": message.draft.body,
    });
    let selected = attributes::select(&message.draft.attributes, names);
    if let Some(sum) = md5_of_attributes(selected.iter().copied()) {
        json["MD5OfMessageAttributes"] = json!(sum);
        json["MessageAttributes"] = attributes::format(&selected);
    }
    if !system.is_empty() {
        json["Attributes"] = attributes::of_system(message, SENDER, system);
    }
    json
}

fn delete(queues: &FifoQueues, url: &str, input: &Json) -> Result<(), SqsError> {
    let handle = wire::text(input, "ReceiptHandle")?;
    let in_vain = queues.0.faults.take_lost_delete();
    let deleted = queues.with(url, |queue| {
        if in_vain { queue.delete_in_vain(handle, Instant::now()) } else { queue.delete(handle, Instant::now()) }
    })?;
    // The rest of the group may be visible now.
    queues.wake();
    deleted
}

fn delete_entry(queues: &FifoQueues, url: &str, entry: &Json) -> OperationResult {
    if queues.0.faults.take_failed_delete() {
        return Err(SqsError::bad_receipt(wire::text(entry, "ReceiptHandle")?));
    }
    delete(queues, url, entry).map(|()| json!({}))
}

fn change_visibility(queues: &FifoQueues, url: &str, input: &Json) -> Result<(), SqsError> {
    let handle = wire::text(input, "ReceiptHandle")?;
    let visibility = wire::seconds(input, "VisibilityTimeout", VISIBILITY_MAX_S)?;
    let visibility = visibility.ok_or_else(|| SqsError::missing("VisibilityTimeout"))?;
    let changed = queues.with(url, |queue| queue.change_visibility(handle, visibility, Instant::now()))?;
    queues.wake();
    changed
}

fn send(queues: &FifoQueues, url: &str, input: &Json) -> OperationResult {
    let content_based = queues.with(url, |queue| queue.content_based_deduplication)?;
    let draft = draft(input, content_based)?;
    let md5 = md5_of_body(&draft.body);
    let attributes_md5 = md5_of_attributes(&draft.attributes);
    let (id, sequence) = queues.post(url, draft)?;
    let mut json = json!({
        "MessageId": id,
        "MD5OfMessageBody": md5,
        "SequenceNumber": attributes::sequence_number(sequence),
    });
    if let Some(sum) = attributes_md5 {
        json["MD5OfMessageAttributes"] = json!(sum);
    }
    Ok(json)
}

/// A whole batch has the same size limit as one message; if it is larger, nothing is sent.
fn send_batch(queues: &FifoQueues, input: &Json) -> OperationResult {
    known_queue(queues, input)?;
    let bytes = wire::entries(input)?.into_iter().map(|(_, entry)| attributes::bytes_sent(entry)).sum();
    if bytes > BODY_BYTES_MAX {
        return Err(SqsError::batch_too_long(bytes, BODY_BYTES_MAX));
    }
    batch(queues, input, send)
}

fn draft(input: &Json, content_based: bool) -> Result<Draft, SqsError> {
    let body = wire::text(input, "MessageBody")?.to_owned();
    if attributes::bytes_sent(input) > BODY_BYTES_MAX {
        return Err(SqsError::invalid_value(
            "One or more parameters are invalid. Reason: Message must be shorter than 1048576 bytes.",
        ));
    }
    // Characters that XML 1.0 does not allow; a Rust string cannot contain surrogates.
    let is_allowed = |c: char| matches!(c, '\t' | '\n' | '\r' | '\u{20}'..) && !matches!(c, '\u{fffe}' | '\u{ffff}');
    if !body.chars().all(is_allowed) {
        return Err(SqsError::bad_characters());
    }
    let group = bounded(wire::text(input, "MessageGroupId")?, "MessageGroupId")?;
    let deduplication_id = match input["MessageDeduplicationId"].as_str() {
        Some(id) => bounded(id, "MessageDeduplicationId")?,
        None if content_based => hex::encode(Sha256::digest(&body)),
        None => {
            return Err(SqsError::invalid_value(
                "The queue should either have ContentBasedDeduplication enabled or MessageDeduplicationId provided explicitly",
            ));
        }
    };
    Ok(Draft { body, attributes: attributes::parse(&input["MessageAttributes"])?, group, deduplication_id })
}

fn bounded(id: &str, name: &str) -> Result<String, SqsError> {
    let allowed = id.bytes().all(|byte| byte.is_ascii_graphic());
    if allowed && (1..=ID_MAX).contains(&id.len()) {
        return Ok(id.to_owned());
    }
    Err(SqsError::invalid_value(format!(
        "Value {id} for parameter {name} is invalid. Reason: {name} can only include alphanumeric and punctuation characters. 1 to 128 in length."
    )))
}

/// Runs `each` for every entry and sorts the results into `Successful` and `Failed`.
fn batch(
    queues: &FifoQueues,
    input: &Json,
    each: impl Fn(&FifoQueues, &str, &Json) -> OperationResult,
) -> OperationResult {
    let url = known_queue(queues, input)?;
    let (mut successful, mut failed) = (Vec::new(), Vec::new());
    for (id, entry) in wire::entries(input)? {
        match each(queues, url, entry) {
            Ok(mut done) => {
                done["Id"] = json!(id);
                successful.push(done);
            }
            Err(error) => failed.push(json!({
                "Id": id,
                "Code": error.query_code,
                "Message": error.message,
                "SenderFault": true,
            })),
        }
    }
    Ok(json!({ "Successful": successful, "Failed": failed }))
}

fn create(queues: &FifoQueues, input: &Json) -> OperationResult {
    let name = wire::text(input, "QueueName")?;
    let stem = name.strip_suffix(".fifo").filter(|_| input["Attributes"]["FifoQueue"] == "true");
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if name.len() > QUEUE_NAME_MAX || !stem.is_some_and(|stem| !stem.is_empty() && stem.chars().all(plain)) {
        return Err(SqsError::invalid_value(
            "The name of a FIFO queue can only include alphanumeric characters, hyphens, or underscores, must end with .fifo suffix and be 1 to 80 in length.",
        ));
    }
    let url = queues.create(name);
    queues.with(&url, |queue| apply_attributes(queue, &input["Attributes"]))??;
    Ok(json!({ "QueueUrl": url }))
}

fn apply_attributes(queue: &mut Queue, attributes: &Json) -> Result<(), SqsError> {
    queue.content_based_deduplication = attributes["ContentBasedDeduplication"] == "true";
    if let Some(text) = attributes["VisibilityTimeout"].as_str() {
        let seconds = text.parse::<u64>().ok().filter(|seconds| *seconds <= VISIBILITY_MAX_S);
        let seconds =
            seconds.ok_or_else(|| SqsError::invalid_value("Invalid value for the parameter VisibilityTimeout."))?;
        queue.visibility = Duration::from_secs(seconds);
    }
    Ok(())
}

fn queue_attributes(queues: &FifoQueues, input: &Json) -> OperationResult {
    let url = known_queue(queues, input)?;
    let name = url.rsplit('/').next().unwrap_or(url);
    let names = wire::texts(input, "AttributeNames");
    let all = queues.with(url, |queue| {
        let in_flight = queue.count_in_flight(Instant::now());
        [
            ("ApproximateNumberOfMessages", (queue.pending() - in_flight).to_string()),
            ("ApproximateNumberOfMessagesNotVisible", in_flight.to_string()),
            ("ContentBasedDeduplication", queue.content_based_deduplication.to_string()),
            ("CreatedTimestamp", (queue.created_ms / 1000).to_string()),
            ("FifoQueue", "true".to_owned()),
            ("QueueArn", format!("arn:aws:sqs:{}:{ACCOUNT}:{name}", queues.0.region)),
            ("VisibilityTimeout", queue.visibility.as_secs().to_string()),
        ]
    })?;
    let asked = |name: &str| names.iter().any(|asked| asked == "All" || asked == name);
    let fields = all.into_iter().filter(|(name, _)| asked(name)).map(|(name, value)| (name.to_owned(), json!(value)));
    Ok(json!({ "Attributes": Json::Object(fields.collect()) }))
}

/// The queue URL of a request, when the queue exists.
fn known_queue<'a>(queues: &FifoQueues, input: &'a Json) -> Result<&'a str, SqsError> {
    let url = wire::text(input, "QueueUrl")?;
    queues.with(url, |_| url)
}

#[cfg(test)]
mod tests;
