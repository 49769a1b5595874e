"""The fake cloud rejects the same requests as Cognito and AppSync; `refusals.py` has the other services."""

import json

import boto3
import requests
from pycognito.aws_srp import AWSSRP

import cloud
from checks import HttpRefusal, refused, run, switch

user = cloud.signed_in()
good_token = user.access_token
cognito = boto3.client("cognito-idp", region_name=cloud.POOL.split("_")[0], config=cloud.PLAIN)

# --- Cognito ----------------------------------------------------------------------------------------------------------


def initiate(flow: str, client: str = cloud.CLIENT, **parameters: str) -> dict:
    return cognito.initiate_auth(AuthFlow=flow, ClientId=client, AuthParameters=parameters)


def respond(**changes: str) -> None:
    """Responds to a challenge correctly, except for these parameters."""
    srp = AWSSRP(cloud.USER, cloud.PASSWORD, cloud.POOL, cloud.CLIENT, client=cognito)
    begun = initiate("USER_SRP_AUTH", **srp.get_auth_params())
    responses = srp.process_challenge(begun["ChallengeParameters"], srp.get_auth_params()) | changes
    cognito.respond_to_auth_challenge(
        ClientId=cloud.CLIENT, ChallengeName="PASSWORD_VERIFIER", ChallengeResponses=responses
    )


@refused(400, "NotAuthorizedException")
def a_wrong_password() -> None:
    cloud.user().authenticate(password="wrong")


@refused(400, "UserNotFoundException")
def an_unknown_user() -> None:
    initiate("USER_SRP_AUTH", USERNAME="nobody", SRP_A="abc")


@refused(400, "ResourceNotFoundException")
def an_unknown_client_id() -> None:
    initiate("USER_SRP_AUTH", client="unknown", USERNAME=cloud.USER, SRP_A="abc")


@refused(400, "InvalidParameterException")
def a_sign_in_flow_that_is_not_enabled() -> None:
    initiate("USER_PASSWORD_AUTH", USERNAME=cloud.USER, PASSWORD=cloud.PASSWORD)


@refused(400, "InvalidParameterException")
def a_sign_in_without_a_public_value() -> None:
    initiate("USER_SRP_AUTH", USERNAME=cloud.USER)


@refused(400, "InvalidParameterException")
def a_public_value_that_would_give_the_key_away() -> None:
    initiate("USER_SRP_AUTH", USERNAME=cloud.USER, SRP_A="0")


@refused(400, "NotAuthorizedException")
def a_forged_proof_of_the_password() -> None:
    respond(PASSWORD_CLAIM_SIGNATURE="Zm9yZ2Vk")


@refused(400, "NotAuthorizedException")
def a_secret_block_that_was_never_given() -> None:
    respond(PASSWORD_CLAIM_SECRET_BLOCK="Zm9yZ2Vk")


@refused(400, "InvalidParameterException")
def a_time_stamp_of_another_form() -> None:
    respond(TIMESTAMP="2026-11-24T10:00:00Z")


@refused(400, "NotAuthorizedException")
def a_time_stamp_that_was_not_signed() -> None:
    respond(TIMESTAMP="Tue Nov 24 10:00:00 UTC 2020")


@refused(400, "NotAuthorizedException")
def an_unknown_refresh_token() -> None:
    initiate("REFRESH_TOKEN_AUTH", REFRESH_TOKEN="nonsense")


@refused(400, "NotAuthorizedException")
def an_expired_refresh_token() -> None:
    switch("expire_refresh_tokens")
    user.renew_access_token()


@refused(400, "NotAuthorizedException")
def a_revoked_refresh_token() -> None:
    switch("revoke_refresh_tokens")
    user.renew_access_token()


@refused(400, "NotAuthorizedException")
def a_disabled_user() -> None:
    switch("disable_user")
    try:
        cloud.signed_in()
    finally:
        switch("enable_user")


# --- AppSync ----------------------------------------------------------------------------------------------------------


def post(token: str | None, body: str) -> dict:
    headers = {"Authorization": token} if token else {}
    answer = requests.post(cloud.APPSYNC, body, headers=headers, timeout=10)
    if answer.status_code != 200:
        raise HttpRefusal(answer.status_code, answer.json()["errors"][0]["errorType"])
    if "errors" in answer.json():
        raise HttpRefusal(200, answer.json()["errors"][0]["errorType"] or "errors")
    return answer.json()


QUERY = json.dumps({"query": "{ __typename }"})


@refused(401, "UnauthorizedException")
def a_query_without_a_token() -> None:
    post(None, QUERY)


@refused(401, "UnauthorizedException")
def a_token_that_is_none() -> None:
    post("nonsense", QUERY)


@refused(401, "UnauthorizedException")
def a_token_behind_the_word_bearer() -> None:
    post(f"Bearer {good_token}", QUERY)


@refused(401, "UnauthorizedException")
def a_token_with_another_signature() -> None:
    post(good_token[:-8] + "AAAAAAAA", QUERY)


@refused(400, "MalformedHttpRequestException")
def a_body_that_is_no_query() -> None:
    post(good_token, "meow")


@refused(400, "MalformedHttpRequestException")
def an_empty_body() -> None:
    post(good_token, "")


@refused(200, "errors")
def a_field_that_does_not_exist() -> None:
    post(good_token, json.dumps({"query": "{badfield}"}))


@refused(200, "errors")
def a_variable_that_is_missing() -> None:
    query = cloud.operation("get_app")
    post(good_token, json.dumps({"query": query, "variables": {"name": cloud.APP}}))


@refused(401, "UnauthorizedException")
def an_expired_access_token() -> None:
    switch("expire_access_tokens")
    post(good_token, QUERY)


run()
