//! Deletion of messages that were handed over. Failures are seen, tried again a few times, and then left to SQS, which
//! delivers the message once more: a duplicate does no harm.

use std::time::Duration;

use aws_sdk_sqs::Client;
use aws_sdk_sqs::operation::delete_message_batch::DeleteMessageBatchOutput;
use aws_sdk_sqs::types::DeleteMessageBatchRequestEntry;
use tokio::time::sleep;

use crate::cloud::failure::Failure;
use crate::cloud::text::sanitize;

/// Most entries of one batch, by SQS's rules.
pub(super) const BATCH_MAX: usize = 10;

/// Tries for one batch, the first included.
const ATTEMPTS_MAX: u32 = 3;

/// Wait between tries, before jitter.
const DELAY: Duration = Duration::from_millis(250);

/// Deletes at most [`BATCH_MAX`] messages by their receipt handles. Never fails: what remains is logged.
pub(super) async fn delete(client: Client, queue: String, receipts: Vec<String>) {
    let mut left = receipts;
    for attempt in 1..=ATTEMPTS_MAX {
        let entries: Vec<_> = left.iter().enumerate().filter_map(|(index, receipt)| entry(index, receipt)).collect();
        match client.delete_message_batch().queue_url(&queue).set_entries(Some(entries)).send().await {
            Ok(answer) => left = retained(left, &answer, attempt),
            Err(error) => {
                let failure = Failure::of(&error);
                tracing::warn!(attempt, error = failure.text, "could not delete change messages");
            }
        }
        if left.is_empty() {
            return;
        }
        if attempt < ATTEMPTS_MAX {
            sleep(DELAY.mul_f64(1.0 + rand::random::<f64>())).await;
        }
    }
    tracing::warn!(messages = left.len(), "change messages stay in the queue and will come again");
}

fn entry(index: usize, receipt: &str) -> Option<DeleteMessageBatchRequestEntry> {
    DeleteMessageBatchRequestEntry::builder().id(index.to_string()).receipt_handle(receipt).build().ok()
}

/// The receipts that failed, for another try. SQS's word on whose fault it was is not relied on: tries are few.
fn retained(receipts: Vec<String>, answer: &DeleteMessageBatchOutput, attempt: u32) -> Vec<String> {
    let failed = answer.failed();
    for entry in failed {
        let error = sanitize(entry.message().unwrap_or_else(|| entry.code()));
        tracing::warn!(attempt, code = sanitize(entry.code()), error, "a change message was not deleted");
    }
    let has_failed = |index: usize| failed.iter().any(|entry| entry.id() == index.to_string());
    receipts.into_iter().enumerate().filter(|(index, _)| has_failed(*index)).map(|(_, receipt)| receipt).collect()
}
