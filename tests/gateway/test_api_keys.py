"""`ApiKeyRequired` on `$connect`: keys of usage plans."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from samsocket.api import API_KEY_OF_THE_AUTHORIZER, ApiKey, Authorizer, Integration, Route, Throttle
from tests.support.gateways import sample_api

if TYPE_CHECKING:
    from samsocket.api import WebSocketApi
    from tests.support.gateways import FakeAws, Starter

KEYS = {
    "of-feed": ApiKey(key_id="k1", stages=frozenset({"feed"})),
    "of-calls": ApiKey(key_id="k2", stages=frozenset({"calls"})),
    "slow": ApiKey(key_id="k3", stages=frozenset({"feed"}), throttle=Throttle(rate=0.001, burst=1)),
}


def keyed(**changes: Any) -> WebSocketApi:
    connect = Route(key="$connect", integration=Integration(function="connect"), api_key_required=True)
    routes = {**sample_api().routes, "$connect": connect}
    return sample_api(**{"routes": routes, "api_keys": KEYS, **changes})


async def test_a_client_with_a_key_of_the_stage_is_let_in_and_events_name_it(start: Starter, aws: FakeAws) -> None:
    gateway = await start(keyed())
    await gateway.connect("/feed", headers={"X-Api-Key": "of-feed"})
    identity = (await aws.event("CONNECT"))["requestContext"]["identity"]
    assert (identity["apiKey"], identity["apiKeyId"]) == ("of-feed", "k1")


@pytest.mark.parametrize("headers", [{}, {"x-api-key": "nobody"}, {"x-api-key": "of-calls"}])
async def test_a_client_without_a_key_of_the_stage_is_forbidden(
    start: Starter, aws: FakeAws, headers: dict[str, str]
) -> None:
    gateway = await start(keyed())
    assert (await gateway.refused("/feed", headers=headers)).status == 403
    assert aws.events == []


async def test_a_key_over_its_usage_plans_rate_is_429(start: Starter) -> None:
    gateway = await start(keyed())
    await gateway.connect("/feed", headers={"x-api-key": "slow"})
    assert (await gateway.refused("/feed", headers={"x-api-key": "slow"})).status == 429
    await gateway.connect("/feed", headers={"x-api-key": "of-feed"})


async def test_the_authorizer_can_name_the_key(start: Starter, aws: FakeAws) -> None:
    connect = Route(
        key="$connect",
        integration=Integration(function="connect"),
        authorization="CUSTOM",
        authorizer=Authorizer(function="guard"),
        api_key_required=True,
    )
    routes = {**sample_api().routes, "$connect": connect}
    gateway = await start(keyed(routes=routes, api_key_selection=API_KEY_OF_THE_AUTHORIZER))
    allow = {"Statement": [{"Effect": "Allow", "Action": "execute-api:Invoke", "Resource": "*"}]}
    aws.functions["guard"] = lambda _: {
        "policyDocument": allow,
        "context": {"usageIdentifierKey": "of-feed"},
    }
    await gateway.connect("/feed")
    assert (await gateway.refused("/calls", headers={"x-api-key": "of-calls"})).status == 403
