"""moto as an independent cloud for the calls of the daemon. Prints its endpoints and ends with the test."""

import json
import logging
import os
import sys
import uuid

import boto3
from moto.cognitoidp import models
from moto.server import ThreadedMotoServer

REGION, USER, PASSWORD, LOG_GROUP = "us-west-2", "plant-7-line", "Correct-Horse-7", "echostream/acme/plant-7"


class Undashed(uuid.UUID):
    """A UUID that is valid base64 as text."""

    def __str__(self) -> str:
        return self.hex


class Random(type(models.random)):
    """For Cognito only: SECRET_BLOCK is base64 at AWS and a UUID in moto, which clients cannot decode."""

    def uuid4(self) -> Undashed:
        return Undashed(int=super().uuid4().int)


models.random = Random()
logging.getLogger("werkzeug").setLevel(logging.CRITICAL)
server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
host, port = server.get_host_and_port()
endpoint = f"http://{host}:{port}"
session = boto3.Session("testing", "testing", region_name=REGION)


def client(service: str):
    return session.client(service, endpoint_url=endpoint)


cognito = client("cognito-idp")
pool = cognito.create_user_pool(PoolName="pool")["UserPool"]["Id"]
flows = ["ALLOW_USER_SRP_AUTH", "ALLOW_REFRESH_TOKEN_AUTH"]
created = cognito.create_user_pool_client(UserPoolId=pool, ClientName="app", ExplicitAuthFlows=flows)
cognito.admin_create_user(UserPoolId=pool, Username=USER)
cognito.admin_set_user_password(UserPoolId=pool, Username=USER, Password=PASSWORD, Permanent=True)
queue = client("sqs").create_queue(QueueName="changes.fifo", Attributes={"FifoQueue": "true"})
client("logs").create_log_group(logGroupName=LOG_GROUP)

settings = {
    "endpoint": endpoint,
    "region": REGION,
    "pool": pool,
    "client": created["UserPoolClient"]["ClientId"],
    "user": USER,
    "password": PASSWORD,
    "queue": queue["QueueUrl"],
    "log_group": LOG_GROUP,
}
print(json.dumps(settings), flush=True)
sys.stdin.read()
# The regular shutdown of moto waits for a request that may never arrive.
os._exit(0)
