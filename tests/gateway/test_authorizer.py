"""The Lambda REQUEST authorizer of a `$connect` route."""

from __future__ import annotations

import dataclasses
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
    headers = asked["headers"]
    assert (headers["Connection"], headers["content-length"], headers["Upgrade"]) == ("upgrade", "0", "websocket")
    assert headers["Sec-WebSocket-Version"] == "13"
    assert asked["multiValueHeaders"]["Connection"] == ["upgrade"]
    assert {"Connection", "content-length", "Upgrade"}.isdisjoint(aws.events[1]["headers"])
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
        (lambda _: {"policyDocument": {"Statement": ["Allow"]}}, 500),
        (lambda _: {"policyDocument": {"Statement": [{"Effect": ["Allow"], "Action": "*", "Resource": "*"}]}}, 500),
    ],
)
async def test_a_client_that_is_not_allowed_is_refused(
    gateway: RunningGateway, aws: FakeAws, function: Any, status: int
) -> None:
    aws.functions["guard"] = function
    refusal = await gateway.refused("/feed?token=t", **CREDENTIALS)
    assert refusal.status == status
    assert refusal.headers is not None
    assert refusal.headers["Content-Type"].startswith("application/json"), "the gateway's own answer"
    assert [event.get("type") for event in aws.events] == ["REQUEST"]


async def test_an_authorizer_need_not_return_a_context(gateway: RunningGateway, aws: FakeAws) -> None:
    answers: list[dict[str, Any]] = [{}, {"context": None}, {"context": {}}]
    for answer in answers:
        allowed = {"principalId": "me", "policyDocument": policy("Allow"), **answer}
        aws.functions["guard"] = lambda _, allowed=allowed: allowed  # type: ignore[misc]
        await gateway.connect("/feed?token=t", **CREDENTIALS)
        assert aws.events[-1]["requestContext"]["authorizer"] == {"principalId": "me"}


@pytest.mark.parametrize("context", [{"a": {"b": 1}}, {"a": [1]}, "text", {"a": "x" * 8_192}])
async def test_a_context_of_nested_values_or_over_8_kb_is_an_error(
    gateway: RunningGateway, aws: FakeAws, context: Any
) -> None:
    aws.functions["guard"] = lambda _: {"principalId": "me", "policyDocument": policy("Allow"), "context": context}
    assert (await gateway.refused("/feed?token=t", **CREDENTIALS)).status == 500


async def test_the_authorizer_is_asked_for_each_handshake(gateway: RunningGateway, aws: FakeAws) -> None:
    aws.functions["guard"] = lambda _: {"principalId": "me", "policyDocument": policy("Allow")}
    for _ in range(3):
        await gateway.connect("/feed?token=t", **CREDENTIALS)
    assert [event.get("type") for event in aws.events].count("REQUEST") == 3


@pytest.mark.parametrize(
    ("source", "path", "present"),
    [
        ("route.request.multivalueheader.X-Key", "/feed", True),
        ("route.request.multivaluequerystring.token", "/feed?token=t", True),
        ("route.request.multivaluequerystring.token", "/feed", False),
        ("context.identity.sourceIp", "/feed", True),
        ("context.nothing", "/feed", False),
        ("stageVariables.level", "/feed", True),
        ("stageVariables.nothing", "/feed", False),
    ],
)
async def test_an_identity_source_can_be_in_each_place(
    start: Starter, aws: FakeAws, source: str, path: str, present: bool
) -> None:
    api = dataclasses.replace(guarded(source), stages={"feed": {"level": "3"}})
    gateway = await start(api)
    aws.functions["guard"] = lambda _: {"principalId": "me", "policyDocument": policy("Allow")}
    if present:
        await gateway.connect(path, **CREDENTIALS)
    else:
        assert (await gateway.refused(path, **CREDENTIALS)).status == 401


async def test_an_authorizer_that_does_not_let_api_gateway_invoke_it_is_an_error(start: Starter, aws: FakeAws) -> None:
    gateway = await start(guarded())
    aws.functions["guard"] = lambda _: {"principalId": "me", "policyDocument": policy("Allow")}
    aws.policies["guard"] = None
    assert (await gateway.refused("/feed", **CREDENTIALS)).status == 500
    arn = "arn:aws:execute-api:us-east-1:000000000000:realtime/authorizers/*"
    statement = {"Effect": "Allow", "Principal": {"Service": "apigateway.amazonaws.com"}, "Action": "lambda:*"}
    aws.policies["guard"] = {"Statement": [{**statement, "Condition": {"ArnLike": {"AWS:SourceArn": arn}}}]}
    await gateway.connect("/feed", **CREDENTIALS)


async def test_an_authorizer_that_is_not_there_lets_nobody_in(start: Starter) -> None:
    api = guarded()
    connect = dataclasses.replace(api.routes["$connect"], authorizer=Authorizer(function=""))
    gateway = await start(dataclasses.replace(api, routes={"$connect": connect}))
    assert (await gateway.refused("/feed", **CREDENTIALS)).status == 500


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
        (policy("Allow", ARN, "Execute-API:invoke"), True),
        (policy("Allow", ARN.upper()), False),
        ({"Statement": {"Effect": "Allow", "NotAction": "execute-api:Manage*", "NotResource": "none"}}, True),
        ({"Statement": {"Effect": "Allow", "NotAction": "execute-api:*", "Resource": "*"}}, False),
        ({"Statement": {"Effect": "Allow", "Action": "*", "NotResource": ARN}}, False),
        ({"Statement": {"Effect": "Allow", "Resource": "*"}}, False),
        ({"Statement": policy("Allow")["Statement"][0]}, True),
        ({"Statement": policy("Allow")["Statement"] + policy("Deny", "*")["Statement"]}, False),
        ({}, False),
    ],
)
def test_a_policy_allows_what_it_names_and_a_deny_wins(document: dict[str, Any], allowed: bool) -> None:
    assert allows(document, ARN) is allowed
