"""The Lambda REQUEST authorizer of a `$connect` route."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from samsocket.api import Authorizer, Integration, Route
from samsocket.authorizer import allows
from tests.support.gateways import FunctionError, sample_api

if TYPE_CHECKING:
    from samsocket.api import WebSocketApi
    from tests.support.gateways import FakeAws, RunningGateway, Starter

ARN = "arn:aws:execute-api:us-east-1:000000000000:realtime/feed/$connect"


def policy(effect: str, resource: str = ARN, action: str = "execute-api:Invoke") -> dict[str, Any]:
    return {"Version": "2012-10-17", "Statement": [{"Effect": effect, "Action": action, "Resource": resource}]}


def guarded(*identity_sources: str) -> WebSocketApi:
    routes = dict(sample_api().routes)
    routes["$connect"] = Route(
        key="$connect",
        integration=Integration(function="connect"),
        authorization="CUSTOM",
        authorizer=Authorizer(function="guard", identity_sources=identity_sources),
    )
    return sample_api(routes=routes)


@pytest.fixture
async def gateway(start: Starter) -> RunningGateway:
    return await start(guarded("route.request.querystring.token", "route.request.header.X-Key"))


CREDENTIALS: dict[str, Any] = {"headers": {"x-key": "k"}}


@pytest.mark.parametrize(
    ("path", "headers"), [("/feed", {"x-key": "k"}), ("/feed?token=", {"x-key": "k"}), ("/feed?token=t", {})]
)
async def test_a_missing_identity_source_is_a_401_without_asking(
    gateway: RunningGateway, aws: FakeAws, path: str, headers: dict[str, str]
) -> None:
    assert (await gateway.refused(path, headers=headers)).status == 401
    assert aws.events == []


async def test_an_allowed_client_is_let_in_and_every_event_names_its_principal(
    gateway: RunningGateway, aws: FakeAws
) -> None:
    aws.functions["guard"] = lambda _: {
        "principalId": "me",
        "policyDocument": policy("Allow"),
        "context": {"key": "value", "numKey": 1, "boolKey": True},
    }
    client = await gateway.connect("/feed?token=t", **CREDENTIALS)
    await client.send('{"action": "note"}')
    await aws.event("MESSAGE")
    await client.close()
    await aws.event("DISCONNECT")
    known = [event["requestContext"].get("authorizer") for event in aws.events if "type" not in event]
    assert known == [{"principalId": "me", "key": "value", "numKey": "1", "boolKey": "true"}] * 3


async def test_the_authorizer_gets_the_event_that_aws_sends(gateway: RunningGateway, aws: FakeAws) -> None:
    aws.functions["guard"] = lambda _: {"principalId": "me", "policyDocument": policy("Allow")}
    await gateway.connect("/feed?token=t", **CREDENTIALS)
    asked = aws.events[0]
    assert (asked["type"], asked["methodArn"]) == ("REQUEST", ARN)
    assert asked["queryStringParameters"] == {"token": "t"}
    assert asked["stageVariables"] == {}
    assert asked["requestContext"]["connectionId"] == aws.events[1]["requestContext"]["connectionId"]


def unauthorized(_: dict[str, Any]) -> None:
    raise FunctionError("Unauthorized")


def broken(_: dict[str, Any]) -> None:
    raise FunctionError("boom")


@pytest.mark.parametrize(
    ("function", "status"),
    [
        (unauthorized, 401),
        (broken, 500),
        (lambda _: {"policyDocument": policy("Deny")}, 403),
        (lambda _: {"policyDocument": policy("Allow", "arn:aws:execute-api:*:*:*/calls/*")}, 403),
        (lambda _: None, 500),
        (lambda _: {"principalId": "me"}, 500),
    ],
)
async def test_a_client_that_is_not_allowed_is_refused(
    gateway: RunningGateway, aws: FakeAws, function: Any, status: int
) -> None:
    aws.functions["guard"] = function
    assert (await gateway.refused("/feed?token=t", **CREDENTIALS)).status == status
    assert [event.get("type") for event in aws.events] == ["REQUEST"]


@pytest.mark.parametrize(
    ("document", "allowed"),
    [
        (policy("Allow"), True),
        (policy("Allow", "*"), True),
        (policy("Allow", "arn:aws:execute-api:*:*:realtime/*"), True),
        (policy("Allow", ARN, "*"), True),
        (policy("Allow", ARN, "execute-api:*"), True),
        (policy("Allow", ARN.replace("feed", "fee?")), True),
        (policy("Allow", ARN.replace("feed", "calls")), False),
        (policy("Allow", ARN, "execute-api:ManageConnections"), False),
        ({"Statement": policy("Allow")["Statement"][0]}, True),
        ({"Statement": policy("Allow")["Statement"] + policy("Deny", "*")["Statement"]}, False),
        ({}, False),
    ],
)
def test_a_policy_allows_what_it_names_and_a_deny_wins(document: dict[str, Any], allowed: bool) -> None:
    assert allows(document, ARN) is allowed
