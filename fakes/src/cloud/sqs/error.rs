//! Owns the errors of SQS: JSON shape, query code, status. Not their conditions.
use crate::cloud::sigv4::Refusal;

/// A rejected call or a rejected entry of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SqsError {
    pub(super) status: u16,
    /// The full `__type` of the JSON protocol.
    pub(super) shape: String,
    /// The code of the query protocol, as in `x-amzn-query-error`.
    pub(super) query_code: String,
    pub(super) message: String,
}

impl SqsError {
    fn sqs(shape: &str, query_code: &str, message: impl Into<String>) -> Self {
        Self {
            status: 400,
            shape: format!("com.amazonaws.sqs#{shape}"),
            query_code: query_code.to_owned(),
            message: message.into(),
        }
    }

    fn coral(shape: &str, query_code: &str, message: impl Into<String>) -> Self {
        Self { shape: format!("com.amazon.coral.service#{shape}"), ..Self::sqs(shape, query_code, message) }
    }

    pub(super) fn no_such_queue() -> Self {
        let code = "AWS.SimpleQueueService.NonExistentQueue";
        Self::sqs("QueueDoesNotExist", code, "The specified queue does not exist.")
    }

    pub(super) fn invalid_value(message: impl Into<String>) -> Self {
        Self::coral("InvalidParameterValueException", "InvalidParameterValue", message)
    }

    pub(super) fn missing(name: &str) -> Self {
        let message = format!("The request must contain the parameter {name}.");
        Self::coral("MissingRequiredParameterException", "MissingParameter", message)
    }

    pub(super) fn bad_receipt(handle: &str) -> Self {
        let message = format!("The input receipt handle \"{handle}\" is not a valid receipt handle.");
        Self::sqs("ReceiptHandleIsInvalid", "ReceiptHandleIsInvalid", message)
    }

    pub(super) fn expired_receipt(handle: &str) -> Self {
        Self::invalid_value(format!(
            "Value {handle} for parameter ReceiptHandle is invalid. Reason: The receipt handle has expired."
        ))
    }

    pub(super) fn not_in_flight(handle: &str) -> Self {
        Self::invalid_value(format!(
            "Value {handle} for parameter ReceiptHandle is invalid. Reason: Message does not exist or is not available for visibility timeout change."
        ))
    }

    pub(super) fn empty_batch() -> Self {
        let message = "There should be at least one batch entry in the request.";
        Self::sqs("EmptyBatchRequest", "AWS.SimpleQueueService.EmptyBatchRequest", message)
    }

    pub(super) fn too_many_entries(count: usize) -> Self {
        let message = format!("Maximum number of entries per request are 10. You have sent {count}.");
        Self::sqs("TooManyEntriesInBatchRequest", "AWS.SimpleQueueService.TooManyEntriesInBatchRequest", message)
    }

    pub(super) fn batch_too_long(bytes: usize, most: usize) -> Self {
        let message = format!("Batch requests cannot be longer than {most} bytes. You have sent {bytes} bytes.");
        Self::sqs("BatchRequestTooLong", "AWS.SimpleQueueService.BatchRequestTooLong", message)
    }

    pub(super) fn bad_characters() -> Self {
        let message = "Invalid binary character was found in the message body, the set of allowed characters is #x9 | \
                       #xA | #xD | #x20 to #xD7FF | #xE000 to #xFFFD | #x10000 to #x10FFFF";
        Self::sqs("InvalidMessageContents", "InvalidMessageContents", message)
    }

    pub(super) fn entry_ids_repeat(id: &str) -> Self {
        let message = format!("Id {id} repeated.");
        Self::sqs("BatchEntryIdsNotDistinct", "AWS.SimpleQueueService.BatchEntryIdsNotDistinct", message)
    }

    pub(super) fn bad_entry_id() -> Self {
        let message = "A batch entry id can only contain alphanumeric characters, hyphens and underscores.";
        Self::sqs("InvalidBatchEntryId", "AWS.SimpleQueueService.InvalidBatchEntryId", message)
    }

    pub(super) fn unknown_operation() -> Self {
        Self::coral("UnknownOperationException", "InvalidAction", "The operation is not known here.")
    }

    pub(super) fn unreadable(message: impl Into<String>) -> Self {
        Self::coral("SerializationException", "MalformedInput", message)
    }

    pub(super) fn closed() -> Self {
        Self::injected(503, "ServiceUnavailable")
    }

    /// An injected failure.
    pub(super) fn injected(status: u16, code: &str) -> Self {
        Self { status, ..Self::coral(code, code, "injected by the test") }
    }
}

impl From<Refusal> for SqsError {
    fn from(refusal: Refusal) -> Self {
        let error = Self::coral(refusal.json_code(), refusal.query_code(), refusal.to_string());
        Self { status: 403, ..error }
    }
}
