"""gql runs the operations of the daemon on the introspected schema of the fake cloud. graphql-core validates both
against the published schema of EchoStream, if it is available."""

import os
from pathlib import Path

from gql import Client, gql
from gql.transport.requests import RequestsHTTPTransport
from graphql import (
    GraphQLObjectType,
    GraphQLSchema,
    build_schema,
    extend_schema,
    is_interface_type,
    is_specified_scalar_type,
    is_union_type,
    parse,
    validate,
)
from pycognito.utils import RequestsSrpAuth

import cloud
from checks import check, run

# Served in production, but missing in the published schema.
SERVED_BESIDES = parse("extend type Tenant { audit: Boolean }")

names = {"name": cloud.APP, "tenant": cloud.TENANT}
auth = RequestsSrpAuth(cognito=cloud.signed_in(), http_header_prefix="")
client = Client(
    transport=RequestsHTTPTransport(url=cloud.APPSYNC, auth=auth, timeout=10), fetch_schema_from_transport=True
)
documents = {path.stem: path.read_text() for path in cloud.OPERATIONS.glob("*.graphql") if path.stem != "schema"}


@check
def fetches_the_schema_and_reads_the_app() -> None:
    with client as session:
        app = session.execute(gql(documents["get_app"]), variable_values=names)["GetApp"]
    assert app["__typename"] == "ManagedApp" and app["name"] == cloud.APP
    nodes = {node["name"]: node for node in app["nodes"]}
    assert nodes[cloud.NODE]["receiveEdges"][0]["source"]["name"] == cloud.OUTSIDE
    assert nodes[f"{cloud.APP}:Change Receiver"]["receiveEdge"]["queue"].endswith(".fifo")


@check
def reads_the_credentials_of_the_app() -> None:
    with client as session:
        values = {**names, "duration": 900}
        app = session.execute(gql(documents["get_aws_credentials"]), variable_values=values)["GetApp"]
    assert all(app["GetAwsCredentials"].values())


@check
def every_operation_is_valid_on_the_served_schema() -> None:
    assert set(documents) == {"get_app", "get_aws_credentials"}, "a new operation needs a check here"
    assert [validate(client.schema, parse(text)) for text in documents.values()] == [[]] * len(documents)


def published() -> GraphQLSchema:
    folder = Path(os.environ["PUBLISHED_SCHEMA"])
    texts = [(folder / f"{name}.graphql").read_text() for name in ["scalars", "directives", "schema"]]
    return extend_schema(build_schema("\n".join(texts)), SERVED_BESIDES)


def every_operation_is_valid_on_the_published_schema() -> None:
    schema = published()
    for name, text in documents.items():
        assert validate(schema, parse(text)) == [], name


def the_served_schema_is_a_part_of_the_published_one() -> None:
    schema = published()
    for name, served in client.schema.type_map.items():
        if name.startswith("__") or is_specified_scalar_type(served):
            continue
        original = schema.get_type(name)
        assert type(original) is type(served), name
        if isinstance(served, GraphQLObjectType) or is_interface_type(served):
            for field_name, field in served.fields.items():
                assert str(field.type) == str(original.fields[field_name].type), f"{name}.{field_name}"
                for argument_name, argument in field.args.items():
                    assert str(argument.type) == str(original.fields[field_name].args[argument_name].type)
        if is_union_type(served):
            assert {of.name for of in served.types} <= {of.name for of in original.types}, name


if "PUBLISHED_SCHEMA" in os.environ:
    check(every_operation_is_valid_on_the_published_schema)
    check(the_served_schema_is_a_part_of_the_published_one)
run()
