"""The fake cloud rejects the same requests as AWS, with the same error code and HTTP status."""

import gzip
import json
import time

import boto3
import botocore.auth
import requests
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

import cloud
from checks import HttpRefusal, refused, run, switch

user = cloud.signed_in()
good_token = user.access_token
region = cloud.tenant_region(good_token)
app = cloud.app_session(good_token)
queue = cloud.queue_into_node(good_token)
sqs = app.client("sqs", config=cloud.PLAIN)
ecr = boto3.client("ecr", config=cloud.PLAIN)
logs = boto3.client("logs", config=cloud.PLAIN)

# --- SQS --------------------------------------------------------------------------------------------------------------


def sqs_with(key: str | None = None, secret: str | None = None, token: str | None = None, where: str = region):
    """An SQS client with the credentials of the app, except these parts."""
    held = app.get_credentials()
    session = boto3.Session(key or held.access_key, secret or held.secret_key, token or held.token, where)
    return session.client("sqs", config=cloud.PLAIN)


@refused(400, "AWS.SimpleQueueService.NonExistentQueue")
def a_queue_that_does_not_exist() -> None:
    sqs.receive_message(QueueUrl=queue.replace(".fifo", "-other.fifo"))


@refused(403, "SignatureDoesNotMatch")
def a_signature_for_another_region() -> None:
    sqs_with(where="eu-west-3").receive_message(QueueUrl=queue)


@refused(403, "SignatureDoesNotMatch")
def a_signature_with_another_secret() -> None:
    sqs_with(secret="wrong").receive_message(QueueUrl=queue)


@refused(403, "InvalidClientTokenId")
def an_unknown_access_key() -> None:
    sqs_with(key="ASIAUNKNOWN").receive_message(QueueUrl=queue)


@refused(403, "InvalidClientTokenId")
def another_session_token() -> None:
    sqs_with(token="another").receive_message(QueueUrl=queue)


@refused(403, "AccessDenied")
def credentials_of_somebody_else_on_the_queue() -> None:
    boto3.client("sqs", region_name=region, config=cloud.PLAIN).receive_message(QueueUrl=queue)


@refused(403, "SignatureDoesNotMatch")
def a_signature_of_an_hour_ago() -> None:
    now = botocore.auth.get_current_datetime
    botocore.auth.get_current_datetime = lambda *given: now(*given).replace(year=2020)
    try:
        sqs.receive_message(QueueUrl=queue)
    finally:
        botocore.auth.get_current_datetime = now


def delete(*ids: str) -> None:
    sqs.delete_message_batch(QueueUrl=queue, Entries=[{"Id": id, "ReceiptHandle": "handle"} for id in ids])


@refused(400, "AWS.SimpleQueueService.TooManyEntriesInBatchRequest")
def a_batch_of_eleven() -> None:
    delete(*map(str, range(11)))


@refused(400, "AWS.SimpleQueueService.EmptyBatchRequest")
def a_batch_of_nothing() -> None:
    delete()


@refused(400, "AWS.SimpleQueueService.BatchEntryIdsNotDistinct")
def a_batch_with_an_id_twice() -> None:
    delete("a", "a")


@refused(400, "AWS.SimpleQueueService.InvalidBatchEntryId")
def a_batch_with_an_id_that_is_none() -> None:
    delete("a b")


def message(**changes: object) -> dict:
    wanted = {"MessageBody": "text", "MessageGroupId": "g"} | changes
    return {name: value for name, value in wanted.items() if value is not None}


@refused(400, "AWS.SimpleQueueService.BatchRequestTooLong")
def a_batch_of_more_than_a_mebibyte() -> None:
    entries = [message(Id=str(id), MessageBody="x" * 600_000, MessageDeduplicationId=str(id)) for id in range(2)]
    sqs.send_message_batch(QueueUrl=queue, Entries=entries)


@refused(400, "InvalidParameterValue")
def a_message_of_more_than_a_mebibyte() -> None:
    sqs.send_message(QueueUrl=queue, **message(MessageBody="x" * 1_048_577))


@refused(400, "MissingParameter")
def a_message_without_a_group() -> None:
    sqs.send_message(QueueUrl=queue, **message(MessageGroupId=None))


@refused(400, "InvalidParameterValue")
def a_message_without_deduplication_id_where_one_is_needed() -> None:
    created = sqs.create_queue(QueueName="plain.fifo", Attributes={"FifoQueue": "true"})["QueueUrl"]
    sqs.send_message(QueueUrl=created, **message())


@refused(400, "InvalidMessageContents")
def a_message_with_a_control_character() -> None:
    sqs.send_message(QueueUrl=queue, **message(MessageBody="\x01"))


@refused(400, "InvalidParameterValue")
def a_message_attribute_of_no_known_type() -> None:
    attributes = {"a": {"DataType": "Text", "StringValue": "x"}}
    sqs.send_message(QueueUrl=queue, **message(MessageAttributes=attributes))


@refused(400, "InvalidParameterValue")
def eleven_messages_at_a_time() -> None:
    sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=11)


@refused(400, "InvalidParameterValue")
def a_long_poll_of_more_than_twenty_seconds() -> None:
    sqs.receive_message(QueueUrl=queue, WaitTimeSeconds=21)


@refused(400, "InvalidParameterValue")
def a_visibility_of_more_than_twelve_hours() -> None:
    sqs.receive_message(QueueUrl=queue, VisibilityTimeout=43_201)


@refused(400, "ReceiptHandleIsInvalid")
def a_receipt_handle_that_is_none() -> None:
    sqs.delete_message(QueueUrl=queue, ReceiptHandle="nonsense")


def received() -> str:
    """A receipt handle of a message on the queue of the node."""
    unique = str(time.monotonic_ns())
    try:
        sqs.send_message(QueueUrl=queue, **message(MessageBody=unique, MessageGroupId=unique))
        return sqs.receive_message(QueueUrl=queue)["Messages"][0]["ReceiptHandle"]
    except ClientError as error:
        raise AssertionError("the preparation was rejected") from error


@refused(400, "ReceiptHandleIsInvalid")
def a_receipt_handle_of_another_queue() -> None:
    other = sqs.create_queue(QueueName="other.fifo", Attributes={"FifoQueue": "true"})["QueueUrl"]
    sqs.delete_message(QueueUrl=other, ReceiptHandle=received())


@refused(400, "InvalidParameterValue")
def a_receipt_handle_that_has_expired() -> None:
    handle = received()
    sqs.change_message_visibility(QueueUrl=queue, ReceiptHandle=handle, VisibilityTimeout=0)
    sqs.delete_message(QueueUrl=queue, ReceiptHandle=handle)


@refused(400, "InvalidParameterValue")
def extending_a_message_that_was_deleted() -> None:
    handle = received()
    sqs.delete_message(QueueUrl=queue, ReceiptHandle=handle)
    sqs.change_message_visibility(QueueUrl=queue, ReceiptHandle=handle, VisibilityTimeout=60)


# --- ECR and CloudWatch Logs ------------------------------------------------------------------------------------------


def host_client(service: str, key: str | None = None, secret: str | None = None, where: str = cloud.HOST_REGION):
    """A client with the credentials of the host, except these parts."""
    held = boto3.Session().get_credentials()
    session = boto3.Session(key or held.access_key, secret or held.secret_key, region_name=where)
    return session.client(service, config=cloud.PLAIN)


@refused(400, "InvalidSignatureException")
def a_registry_token_with_another_secret() -> None:
    host_client("ecr", secret="wrong").get_authorization_token()


@refused(400, "UnrecognizedClientException")
def a_registry_token_with_an_unknown_key() -> None:
    host_client("ecr", key="AKIAUNKNOWN").get_authorization_token()


@refused(400, "AccessDeniedException")
def a_registry_token_with_the_credentials_of_the_app() -> None:
    app.client("ecr", config=cloud.PLAIN).get_authorization_token()


@refused(400, "InvalidParameterException")
def a_registry_that_is_no_account() -> None:
    ecr.get_authorization_token(registryIds=["123"])


@refused(400, "InvalidSignatureException")
def a_public_registry_token_in_another_region() -> None:
    host_client("ecr-public", where="eu-west-1").get_authorization_token()


STREAM = {"logGroupName": cloud.LOG_GROUP, "logStreamName": "refusals"}
logs.create_log_stream(**STREAM)
NOW_MS = int(time.time() * 1000)


def put(*events: tuple[int, str], **changes: str) -> None:
    listed = [{"timestamp": NOW_MS + after_ms, "message": text} for after_ms, text in events]
    logs.put_log_events(**(STREAM | changes), logEvents=listed)


@refused(400, "ResourceNotFoundException")
def a_log_group_that_does_not_exist() -> None:
    put((0, "x"), logGroupName="unknown")


@refused(400, "ResourceNotFoundException")
def a_log_stream_that_does_not_exist() -> None:
    put((0, "x"), logStreamName="unknown")


@refused(400, "ResourceAlreadyExistsException")
def a_log_stream_that_exists() -> None:
    logs.create_log_stream(**STREAM)


@refused(400, "InvalidParameterException")
def a_log_stream_with_a_colon_in_its_name() -> None:
    logs.create_log_stream(logGroupName=cloud.LOG_GROUP, logStreamName="a:b")


@refused(400, "AccessDeniedException")
def making_a_log_group() -> None:
    logs.create_log_group(logGroupName="new")


@refused(400, "InvalidParameterException")
def log_events_out_of_order() -> None:
    put((0, "x"), (-1, "x"))


@refused(400, "InvalidParameterException")
def log_events_of_more_than_a_day() -> None:
    put((-24 * 3600 * 1000 - 1, "x"), (0, "x"))


@refused(400, "InvalidParameterException")
def more_log_events_than_ten_thousand() -> None:
    put(*[(0, "x")] * 10_001)


@refused(400, "InvalidParameterException")
def log_events_of_more_than_a_mebibyte() -> None:
    put(*[(0, "x" * 200_000)] * 6)


@refused(400, "InvalidParameterException")
def an_empty_log_event() -> None:
    put((0, ""))


@refused(400, "InvalidParameterException")
def no_log_events() -> None:
    put()


@refused(400, "InvalidSignatureException")
def log_events_with_another_secret() -> None:
    host_client("logs", secret="wrong").create_log_stream(**STREAM)


# --- Audit records ----------------------------------------------------------------------------------------------------


def audit(signed_for: str = region, count: int = 1, zipped: bool = True) -> None:
    record = {"datetime": "2026-11-24T10:00:00Z", "previousTrackingIds": None, "sourceNode": "s", "trackingId": "t"}
    body = json.dumps({"messageType": "text", "auditRecords": [record | {"attributes": {}}] * count}).encode()
    request = AWSRequest("POST", f"{cloud.ENDPOINT}/audit/{cloud.NODE}", data=gzip.compress(body) if zipped else body)
    request.headers["Content-Encoding"] = "gzip"
    held: Credentials = app.get_credentials()
    SigV4Auth(held, "lambda", signed_for).add_auth(request)
    answer = requests.post(request.url, request.body, headers=dict(request.headers), timeout=10)
    if answer.status_code != 200:
        raise HttpRefusal(answer.status_code, answer.json()["__type"])


@refused(403, "InvalidSignatureException")
def audit_records_signed_for_another_region() -> None:
    audit(signed_for="eu-west-3")


@refused(400, "BadRequestException")
def more_audit_records_than_five_hundred() -> None:
    audit(count=501)


@refused(400, "BadRequestException")
def audit_records_that_are_not_what_their_encoding_says() -> None:
    audit(zipped=False)


# --- Credentials that have ended, last --------------------------------------------------------------------------------


@refused(403, "InvalidClientTokenId")
def credentials_that_were_revoked() -> None:
    switch("revoke_credentials")
    sqs.receive_message(QueueUrl=queue)


@refused(403, "ExpiredToken")
def credentials_that_have_expired() -> None:
    switch("end_credentials_at_once")
    ended = cloud.app_session(cloud.signed_in().access_token)
    ended.client("sqs", config=cloud.PLAIN).receive_message(QueueUrl=queue)


run()
