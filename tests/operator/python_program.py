"""Creates the container of a node with the code of the Python program, echostream-managed-app 0.2.8 of PyPI.

Usage: python_program.py, with a JSON object on standard input: `app` and `log_group`, and `node` in the form of AppSync.
Uses the engine of DOCKER_HOST. Prints the ID of the container. The container is not started, because its log driver needs
the real CloudWatch. The whole program cannot run beside other containers: at its start it stops, removes and prunes all
containers of its engine.
"""

import asyncio
import json
import logging.handlers
import os
import sys
import types
from unittest import mock

# Imports for the cloud that the creation of a container does not need.
for name in [
    "aiorun",
    "awsserviceendpoints",
    "aws_error_utils",
    "boto3",
    "echostream_node",
    "gql.client",
    "gql.gql",
    "gql.transport.aiohttp",
    "gql_appsync_cognito_authentication",
    "pycognito",
    "sdnotify",
]:
    for index, _ in enumerate(parts := name.split(".")):
        sys.modules.setdefault(".".join(parts[: index + 1]), mock.MagicMock())
# The base class must be a real class.
sys.modules["echostream_node.asyncio"] = types.SimpleNamespace(AppNode=object)
# The import opens a file in /var/log.
logging.handlers.WatchedFileHandler = lambda filename: logging.NullHandler()

import echostream_managed_app as program  # noqa: E402


ENVIRONMENT = ["APPSYNC_ENDPOINT", "CLIENT_ID", "PASSWORD", "TENANT", "USER_POOL_ID", "USER_NAME"]


async def main():
    wanted = json.load(sys.stdin)
    client = program.ManagedAppDockerClient.from_env()
    network = client.networks.list(names=[wanted["app"]]) or [client.networks.create(name=wanted["app"], driver="bridge")]
    app = types.SimpleNamespace(
        docker_network=network[0],
        environment={name: os.environ[name] for name in ENVIRONMENT},
        log_group_name=wanted["log_group"],
        region="us-east-1",
    )
    node = wanted["node"]
    container = await client.containers.create_async(node["managedNodeType"]["imageUri"], managed_app=app, managed_node=node)
    print(container.id)


asyncio.run(main())
