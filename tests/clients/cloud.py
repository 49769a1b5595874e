"""The cloud as its clients are told of it, by environment variables; what several scripts ask of it."""

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

# A node of the app that the test has made, with an edge from and to a node elsewhere.
NODE, OUTSIDE = "inlet", "outside"

OPERATIONS = Path(__file__).parents[2] / "src/cloud/graphql"

# What the services check is what counts here, not what boto3 checks before it asks; and each refusal is seen as it comes.
PLAIN = Config(parameter_validation=False, retries={"total_max_attempts": 1})

# pycognito looks for the keys of the tokens at AWS, whatever endpoint it has, unless it is given them.
KEYS = requests.get(f"{ENDPOINT}/{POOL}/.well-known/jwks.json", timeout=10).text
os.environ["COGNITO_JWKS"] = KEYS


def operation(name: str) -> str:
    """An operation of the daemon."""
    return (OPERATIONS / f"{name}.graphql").read_text()


def user() -> Cognito:
    """The app's user, signed out."""
    return Cognito(POOL, CLIENT, username=USER)


def signed_in() -> Cognito:
    """The app's user; pycognito has checked the tokens against the pool's keys."""
    cognito = user()
    cognito.authenticate(password=PASSWORD)
    return cognito


def ask(token: str, query: str, variables: dict) -> dict:
    """The data that AppSync answers."""
    body = {"query": query, "variables": variables}
    answer = requests.post(APPSYNC, json=body, headers={"Authorization": token}, timeout=10)
    answer.raise_for_status()
    assert "errors" not in answer.json(), answer.text
    return answer.json()["data"]


def app_session(token: str) -> boto3.Session:
    """A session with the app's credentials in the tenant's region."""
    names = {"name": APP, "tenant": TENANT}
    given = ask(token, operation("get_aws_credentials"), {**names, "duration": 900})["GetApp"]["GetAwsCredentials"]
    return boto3.Session(given["accessKeyId"], given["secretAccessKey"], given["sessionToken"], tenant_region(token))


def tenant_region(token: str) -> str:
    """Where queues and logs of nodes are."""
    query = "query($tenant: String!, $name: String!) { GetApp(tenant: $tenant, name: $name) { tenant { region } } }"
    return ask(token, query, {"name": APP, "tenant": TENANT})["GetApp"]["tenant"]["region"]


def queue_into_node(token: str) -> str:
    """URL of the queue of the edge into the node."""
    query = """query($tenant: String!, $name: String!) {
        GetNode(tenant: $tenant, name: $name) { ... on ManagedNode { receiveEdges { queue } } }
    }"""
    return ask(token, query, {"name": NODE, "tenant": TENANT})["GetNode"]["receiveEdges"][0]["queue"]


def log(text: str) -> None:
    """For whoever reads the output of a failed test."""
    print(text, file=sys.stderr)
