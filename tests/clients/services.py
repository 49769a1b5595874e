"""pycognito and boto3 get the same results from the fake cloud as from AWS."""

import base64
import hashlib
import time
from datetime import datetime, timedelta, timezone

import boto3

import cloud
from checks import check, run

signed_in = cloud.signed_in()
queue = cloud.queue_into_node(signed_in.access_token)
sqs = cloud.app_session(signed_in.access_token).client("sqs", config=cloud.PLAIN)
logs = boto3.client("logs", config=cloud.PLAIN)


@check
def signs_in_by_srp_with_the_right_password() -> None:
    # pycognito verifies signature, issuer, audience, end and use of both tokens.
    assert signed_in.access_claims["client_id"] == signed_in.id_claims["aud"] == cloud.CLIENT
    assert signed_in.access_claims["username"] == signed_in.id_claims["cognito:username"] == cloud.USER


@check
def renews_the_access_token_without_the_password() -> None:
    before = signed_in.access_token
    signed_in.renew_access_token()
    assert signed_in.access_token != before
    signed_in.verify_tokens()


def receive(count: int = 1) -> list[dict]:
    answer = sqs.receive_message(
        QueueUrl=queue, MaxNumberOfMessages=count, MessageAttributeNames=["All"], MessageSystemAttributeNames=["All"]
    )
    return answer.get("Messages", [])


@check
def receives_extends_returns_and_deletes_on_a_fifo_queue() -> None:
    tracking = {"trackingId": {"DataType": "String", "StringValue": "t-1"}}
    for body in ["first", "second"]:
        sent = sqs.send_message(QueueUrl=queue, MessageBody=body, MessageGroupId="g", MessageAttributes=tracking)
        assert sent["MD5OfMessageBody"] == hashlib.md5(body.encode()).hexdigest()
    [first] = receive()
    assert first["Body"] == "first" and first["Attributes"]["MessageGroupId"] == "g"
    assert first["MessageAttributes"]["trackingId"]["StringValue"] == "t-1"
    assert receive() == [], "the rest of the group waits"
    handle = first["ReceiptHandle"]
    sqs.change_message_visibility(QueueUrl=queue, ReceiptHandle=handle, VisibilityTimeout=60)
    assert receive() == [], "it was extended"
    sqs.change_message_visibility(QueueUrl=queue, ReceiptHandle=handle, VisibilityTimeout=0)
    [again] = receive()
    assert again["MessageId"] == first["MessageId"] and again["Attributes"]["ApproximateReceiveCount"] == "2"
    sqs.delete_message(QueueUrl=queue, ReceiptHandle=again["ReceiptHandle"])
    [second] = receive(10)
    assert second["Body"] == "second"
    entries = [{"Id": "0", "ReceiptHandle": second["ReceiptHandle"]}, {"Id": "1", "ReceiptHandle": "nonsense"}]
    outcome = sqs.delete_message_batch(QueueUrl=queue, Entries=entries)
    assert [entry["Id"] for entry in outcome["Successful"]] == ["0"]
    assert [entry["Code"] for entry in outcome["Failed"]] == ["ReceiptHandleIsInvalid"]
    assert receive(10) == []


@check
def takes_a_message_once_that_is_sent_twice() -> None:
    ids = {sqs.send_message(QueueUrl=queue, MessageBody="same", MessageGroupId="h")["MessageId"] for _ in range(2)}
    messages = receive(10)
    assert [message["MessageId"] for message in messages] == list(ids)
    sqs.delete_message(QueueUrl=queue, ReceiptHandle=messages[0]["ReceiptHandle"])


@check
def waits_in_a_long_poll_no_longer_than_asked() -> None:
    started = time.monotonic()
    assert "Messages" not in sqs.receive_message(QueueUrl=queue, WaitTimeSeconds=1)
    assert time.monotonic() - started >= 1


def check_registry_token(data: dict) -> None:
    user, password = base64.b64decode(data["authorizationToken"]).decode().split(":", 1)
    assert user == "AWS" and password
    left = data["expiresAt"] - datetime.now(timezone.utc)
    assert timedelta(hours=11) < left <= timedelta(hours=12)


@check
def gets_an_ecr_token_of_an_account_in_a_region() -> None:
    ecr = boto3.client("ecr", region_name="eu-west-1", config=cloud.PLAIN)
    [data] = ecr.get_authorization_token(registryIds=["111122223333"])["authorizationData"]
    assert data["proxyEndpoint"] == "https://111122223333.dkr.ecr.eu-west-1.amazonaws.com"
    check_registry_token(data)


@check
def gets_an_ecr_public_token() -> None:
    ecr = boto3.client("ecr-public", region_name="us-east-1", config=cloud.PLAIN)
    check_registry_token(ecr.get_authorization_token()["authorizationData"])


@check
def puts_log_events_and_is_told_which_were_rejected() -> None:
    stream = {"logGroupName": cloud.LOG_GROUP, "logStreamName": "boto3"}
    logs.create_log_stream(**stream)
    day_ms, now_ms = 24 * 3600 * 1000, int(time.time() * 1000)

    def put(*times: int) -> dict:
        return logs.put_log_events(**stream, logEvents=[{"timestamp": at, "message": "text"} for at in times])

    assert "rejectedLogEventsInfo" not in put(now_ms)
    old, new = now_ms - 14 * day_ms, now_ms + day_ms // 12
    minute_ms = 60_000
    assert put(old - 2 * minute_ms, old - minute_ms, old + minute_ms)["rejectedLogEventsInfo"] == {
        "tooOldLogEventEndIndex": 2
    }
    assert put(now_ms, new + minute_ms)["rejectedLogEventsInfo"] == {"tooNewLogEventStartIndex": 1}


run()
