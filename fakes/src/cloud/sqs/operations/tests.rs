//! Accepted and rejected messages. Integration tests cover receiving, and the wire, with AWS's own client.

use super::*;

const MEBIBYTE: usize = 1_048_576;

/// The error code for a queue of an edge, or `None`.
async fn refusal(operation: &str, entries: Json) -> Option<String> {
    let queues = FifoQueues::new("eu-west-1");
    let mut input = entries;
    input["QueueUrl"] = json!(queues.create_edge("edge.fifo"));
    run(&queues, operation, &input).await.err().map(|error| error.query_code)
}

async fn refusal_of_batch(bytes: [usize; 2]) -> Option<String> {
    let entry = |id: usize| json!({"Id": id.to_string(), "MessageGroupId": "g", "MessageBody": "x".repeat(bytes[id])});
    refusal("SendMessageBatch", json!({"Entries": [entry(0), entry(1)]})).await
}

#[tokio::test]
async fn a_batch_may_be_as_long_as_one_message() {
    assert_eq!(refusal_of_batch([MEBIBYTE - 1, 1]).await, None);
    let refused = refusal_of_batch([MEBIBYTE - 1, 2]).await;
    assert_eq!(refused.as_deref(), Some("AWS.SimpleQueueService.BatchRequestTooLong"));
}

#[tokio::test]
async fn attributes_count_as_part_of_a_message() {
    let sent = async |bytes: usize| {
        let attributes = json!({"name": {"DataType": "String", "StringValue": "value"}});
        let message = json!({"MessageGroupId": "g", "MessageBody": "x".repeat(bytes), "MessageAttributes": attributes});
        refusal("SendMessage", message).await
    };
    let of_attribute = "name".len() + "String".len() + "value".len();
    assert_eq!(sent(MEBIBYTE - of_attribute).await, None);
    assert_eq!(sent(MEBIBYTE - of_attribute + 1).await.as_deref(), Some("InvalidParameterValue"));
}

#[tokio::test]
async fn only_characters_that_xml_allows_are_sent() {
    let sent = async |body: &str| refusal("SendMessage", json!({"MessageGroupId": "g", "MessageBody": body})).await;
    assert_eq!(sent("\t\r\n \u{fffd}\u{10ffff}").await, None);
    for body in ["\0", "\u{1f}", "a\u{1b}[31m", "\u{fffe}", "\u{ffff}"] {
        assert_eq!(sent(body).await.as_deref(), Some("InvalidMessageContents"), "{body:?}");
    }
}

#[tokio::test]
async fn a_queue_of_an_edge_deduplicates_by_content() {
    let queues = FifoQueues::new("eu-west-1");
    let url = queues.create_edge("edge.fifo");
    for body in ["a", "a", "b"] {
        let message = json!({"QueueUrl": url, "MessageGroupId": "g", "MessageBody": body});
        run(&queues, "SendMessage", &message).await.expect("no deduplication id is needed");
    }
    assert_eq!(queues.pending(&url), 2);
}
