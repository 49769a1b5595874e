//! Deletes messages that were forwarded. Failures are retried a few times. After that SQS delivers the message again:
//! duplicates have no effect.

use std::time::Duration;

use aws_sdk_sqs::Client;
use aws_sdk_sqs::operation::delete_message_batch::DeleteMessageBatchOutput;
use aws_sdk_sqs::types::DeleteMessageBatchRequestEntry;
use tokio::time::sleep;

use crate::cloud::aws_error::AwsError;
use crate::text::excerpt;

/// Limit of entries of one batch (SQS).
pub(super) const BATCH_MAX: usize = 10;

/// Attempts for one batch, including the first.
const ATTEMPTS_MAX: u32 = 3;

/// Delay between attempts, without jitter.
const DELAY: Duration = Duration::from_millis(250);

/// Deletes at most [`BATCH_MAX`] messages by their receipt handles. Never fails: the remaining ones are logged.
pub(super) async fn delete(client: Client, queue: String, receipts: Vec<String>) {
    let mut left = receipts;
    for attempt in 1..=ATTEMPTS_MAX {
        let entries: Vec<_> = left.iter().enumerate().filter_map(|(index, receipt)| entry(index, receipt)).collect();
        match client.delete_message_batch().queue_url(&queue).set_entries(Some(entries)).send().await {
            Ok(output) => left = retained(left, &output, attempt),
            Err(error) => {
                tracing::warn!(attempt, error = AwsError::of(&error).text, "change messages cannot be deleted");
            }
        }
        if left.is_empty() {
            return;
        }
        if attempt < ATTEMPTS_MAX {
            sleep(DELAY.mul_f64(1.0 + rand::random::<f64>())).await;
        }
    }
    tracing::warn!(messages = left.len(), "change messages were not deleted and will be delivered again");
}

fn entry(index: usize, receipt: &str) -> Option<DeleteMessageBatchRequestEntry> {
    DeleteMessageBatchRequestEntry::builder().id(index.to_string()).receipt_handle(receipt).build().ok()
}

/// The receipts that failed, for the next attempt. Sender faults are retried too: attempts are few.
fn retained(receipts: Vec<String>, output: &DeleteMessageBatchOutput, attempt: u32) -> Vec<String> {
    let failed = output.failed();
    for entry in failed {
        let error = excerpt(entry.message().unwrap_or_else(|| entry.code()));
        tracing::warn!(attempt, code = excerpt(entry.code()), error, "a change message was not deleted");
    }
    let has_failed = |index: usize| failed.iter().any(|entry| entry.id() == index.to_string());
    receipts.into_iter().enumerate().filter(|(index, _)| has_failed(*index)).map(|(_, receipt)| receipt).collect()
}
