"""The settings of the cloud from environment variables, and functions that several scripts use."""

import os
import sys
from pathlib import Path

import boto3
import requests
from botocore.config import Config
from pycognito import Cognito

APP, TENANT = os.environ["APP"], os.environ["TENANT"]
ENDPOINT = os.environ["AWS_ENDPOINT_URL"]
APPSYNC = os.environ["APPSYNC_ENDPOINT"]
POOL, CLIENT = os.environ["USER_POOL_ID"], os.environ["CLIENT_ID"]
USER, PASSWORD = os.environ["USER_NAME"], os.environ["PASSWORD"]
LOG_GROUP = os.environ["LOG_GROUP_NAME"]
HOST_REGION = os.environ["AWS_DEFAULT_REGION"]

# A node of the app that the test created, with an edge from and to a node elsewhere.
NODE, OUTSIDE = "inlet", "outside"

OPERATIONS = Path(__file__).parents[2] / "src/cloud/graphql"

# The validation of the services is under test, not that of boto3; and each rejection is seen without retries.
PLAIN = Config(parameter_validation=False, retries={"total_max_attempts": 1})

# pycognito fetches the keys of the tokens from AWS, with any endpoint, unless this variable contains them.
KEYS = requests.get(f"{ENDPOINT}/{POOL}/.well-known/jwks.json", timeout=10).text
os.environ["COGNITO_JWKS"] = KEYS


def operation(name: str) -> str:
    """An operation of the daemon."""
    return (OPERATIONS / f"{name}.graphql").read_text()


def user() -> Cognito:
    """The user of the app, signed out."""
    return Cognito(POOL, CLIENT, username=USER)


def signed_in() -> Cognito:
    """The user of the app; pycognito has verified the tokens with the keys of the pool."""
    cognito = user()
    cognito.authenticate(password=PASSWORD)
    return cognito


def query_appsync(token: str, query: str, variables: dict) -> dict:
    """The data of the response of AppSync."""
    body = {"query": query, "variables": variables}
    answer = requests.post(APPSYNC, json=body, headers={"Authorization": token}, timeout=10)
    answer.raise_for_status()
    assert "errors" not in answer.json(), answer.text
    return answer.json()["data"]


def app_session(token: str) -> boto3.Session:
    """A session with the credentials of the app in the region of the tenant."""
    names = {"name": APP, "tenant": TENANT}
    data = query_appsync(token, operation("get_aws_credentials"), {**names, "duration": 900})
    keys = data["GetApp"]["GetAwsCredentials"]
    return boto3.Session(keys["accessKeyId"], keys["secretAccessKey"], keys["sessionToken"], tenant_region(token))


def tenant_region(token: str) -> str:
    """The region of the queues and logs of nodes."""
    query = "query($tenant: String!, $name: String!) { GetApp(tenant: $tenant, name: $name) { tenant { region } } }"
    return query_appsync(token, query, {"name": APP, "tenant": TENANT})["GetApp"]["tenant"]["region"]


def queue_into_node(token: str) -> str:
    """URL of the queue of the edge into the node."""
    query = """query($tenant: String!, $name: String!) {
        GetNode(tenant: $tenant, name: $name) { ... on ManagedNode { receiveEdges { queue } } }
    }"""
    return query_appsync(token, query, {"name": NODE, "tenant": TENANT})["GetNode"]["receiveEdges"][0]["queue"]


def log(text: str) -> None:
    """Prints a line for readers of a failed test."""
    print(text, file=sys.stderr)
