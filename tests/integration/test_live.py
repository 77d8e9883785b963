"""One connection for several endpoints: what is stored of it, and what becomes of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jwt
import pytest

from realtime.audiences import is_watching, listing_of
from realtime.messages import ENDPOINTS, TYPES
from realtime.tables.connections import Connection, Connections
from realtime.tables.sessions import read_session
from realtime.tables.transactions import Transaction
from tests.samples import KEY_ID, SECRET, sample
from tests.support.cloud import STORY_BEGINS, Cloud
from tests.support.meter import Meter
from tests.unit.fakes import Clock, FakePoster

LIVE = "RfGx1dQAIAMCIhA="
FAR = 4_102_444_800


def connect(cloud: Cloud, *, scope: str | None = None, **parameters: str) -> Any:
    """Let a user connect to the stage `live`."""
    claims = {"sub": "123", "iat": STORY_BEGINS, "exp": FAR, **({"scope": scope} if scope else {})}
    event = sample("connect.token-in-query")
    event["requestContext"] |= {"stage": "live", "connectionId": LIVE}
    token = jwt.encode(claims, SECRET, "HS256", headers={"kid": KEY_ID})
    event["queryStringParameters"] = {"token": token, **parameters}
    return cloud.function("connect", RejectionMode="handshake")(event)


def disconnect(cloud: Cloud) -> None:
    event = sample("disconnect")
    event["requestContext"] |= {"connectionId": LIVE, "stage": "live"}
    cloud.function("disconnect")(event)


def heard(cloud: Cloud) -> set[str]:
    """Return the names of the lists in which `broadcast` finds the connection."""
    indexed = {row["indexed_audience"] for row in cloud.rows("Connections") if "indexed_audience" in row}
    return indexed | {each for each in cloud.audiences_of(LIVE) if is_watching(each)}


def session(cloud: Cloud) -> Any:
    return cloud.row("Connections", connection_id=LIVE, audience=f"connection/{LIVE}")


def frame(cloud: Cloud, kind: str, **data: Any) -> dict[str, Any]:
    """Return the answer to a frame of the connection."""
    cloud.poster = FakePoster()
    event = sample("default.ping")
    event["requestContext"] |= {"connectionId": LIVE, "stage": "live"}
    answer: dict[str, Any] = json.loads(
        cloud.function("default")({**event, "body": json.dumps({"type": kind, "data": data})})["body"]
    )
    return answer


def test_registering_costs_what_one_connection_costs(cloud: Cloud) -> None:
    meter = Meter(cloud)
    with meter.measuring() as cost:
        assert connect(cloud)["statusCode"] == 200
    assert cost.writes == 8
    assert heard(cloud) == {"user/123", "live/*/0"}
    assert session(cloud)["endpoints"] == set(ENDPOINTS)
    assert session(cloud)["wide"] == "presence/*/0"
    assert "types" not in session(cloud)


@pytest.mark.parametrize(
    ("scope", "parameters", "endpoints", "audiences"),
    [
        ("calls feed", {}, {"calls", "feed"}, {"live/123", "live/*/0"}),
        (
            None,
            {"endpoints": "calls, notifications"},
            {"calls", "notifications"},
            {"live/123", "live-notifications/*/0"},
        ),
        ("calls feed", {"endpoints": "calls"}, {"calls"}, {"live/123"}),
        (None, {"endpoints": "presence"}, {"presence"}, {"live/*/0"}),
        (None, {"watch": "5"}, set(ENDPOINTS), {"live/123", "watched/5", "live-notifications/*/0"}),
    ],
)
def test_the_scope_and_the_client_choose_the_endpoints(
    cloud: Cloud, scope: str | None, parameters: dict[str, str], endpoints: set[str], audiences: set[str]
) -> None:
    assert connect(cloud, scope=scope, **parameters)["statusCode"] == 200
    assert session(cloud)["endpoints"] == endpoints
    assert heard(cloud) == set(map(listing_of, audiences))
    types = {kind for each in endpoints for kind in TYPES[each]} if len(endpoints) < len(ENDPOINTS) else None
    assert session(cloud).get("types") == types


@pytest.mark.parametrize(
    ("scope", "parameters", "status"),
    [
        ("calls", {"endpoints": "calls,feed"}, 403),
        ("chat", {}, 403),
        (None, {"endpoints": "chat"}, 400),
        (None, {"endpoints": "calls", "types": "presence_update"}, 400),
        (None, {"endpoints": "calls", "watch": "5"}, 400),
    ],
)
def test_what_may_not_be_heard_is_refused(
    cloud: Cloud, scope: str | None, parameters: dict[str, str], status: int
) -> None:
    assert connect(cloud, scope=scope, **parameters)["statusCode"] == status
    assert cloud.rows("Connections") == []


def test_types_filter_over_all_endpoints(cloud: Cloud) -> None:
    connect(cloud, types="call_started,listener_online")
    assert session(cloud)["types"] == {"call_started", "listener_online"}
    assert "wide" not in session(cloud)


def test_a_connection_that_begins_to_watch_still_hears_notifications_to_everyone(cloud: Cloud) -> None:
    connect(cloud)
    assert frame(cloud, "watch", user_ids=[5])["type"] == "snapshot"
    assert heard(cloud) == {"user/123", "watched/5", "live-notifications/*/0"}
    frame(cloud, "unwatch", user_ids=[5])
    assert heard(cloud) == {"user/123", "live-notifications/*/0"}


class FunctionDied(BaseException):
    """The end of an instance: nothing catches it."""


@pytest.fixture
def die_at(strict_cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Return what lets the function die in place of its call of this number to DynamoDB, from then on; 0: never."""
    strict = strict_cloud.strict
    assert strict is not None
    call, left = strict.call, [0]

    def call_or_die(operation: str, request: dict[str, Any]) -> dict[str, Any]:
        left[0] -= 1
        if left[0] == 0:
            raise FunctionDied
        return call(operation, request)

    monkeypatch.setattr(strict, "call", call_or_die)
    return lambda number: left.__setitem__(0, number)


@pytest.mark.parametrize("user_id", [5, 6])
def test_wherever_the_first_watch_fails_the_next_one_leaves_everyone(
    strict_cloud: Cloud, clock: Clock, die_at: Callable[[int], None], user_id: int
) -> None:
    calls, has_failed = 0, True
    while has_failed:
        calls += 1
        connect(strict_cloud)
        die_at(calls)
        try:
            frame(strict_cloud, "watch", user_ids=[5])
            has_failed = False
        except FunctionDied:
            clock.now += 16  # no revision of the first is kept any longer
            frame(strict_cloud, "watch", user_ids=[user_id])
        die_at(0)
        assert heard(strict_cloud) - {"watched/5", "watched/6"} == {"user/123", "live-notifications/*/0"}, calls
        assert session(strict_cloud)["wide"] == "notifications/*/0"
        disconnect(strict_cloud)
        assert strict_cloud.rows("Connections") == []
    assert calls > 8  # of a session, the state, the subscriptions and the users


@pytest.mark.parametrize(
    ("parameters", "wide"),
    [
        ({}, "notifications/*/0"),
        ({"endpoints": "presence,calls"}, None),
        ({"types": "presence_update"}, None),
        ({"types": ",".join(["presence_update", *TYPES["notifications"]])}, "notifications/*/0"),
    ],
)
def test_the_session_says_the_same_of_a_connection_that_watches_from_its_beginning_or_since_a_frame(
    cloud: Cloud, parameters: dict[str, str], wide: str | None
) -> None:
    connect(cloud, watch="5", **parameters)
    assert session(cloud).get("wide") == wide
    disconnect(cloud)
    connect(cloud, **parameters)
    frame(cloud, "watch", user_ids=[5])
    assert session(cloud).get("wide") == wide


def test_a_connection_that_left_everyone_pays_for_that_once(cloud: Cloud) -> None:
    connect(cloud)
    frame(cloud, "watch", user_ids=[5])
    meter = Meter(cloud)
    with meter.measuring() as cost:
        frame(cloud, "watch", user_ids=[6])
    assert cost.writes == 2  # the state, and the subscription


def test_a_connection_without_presence_cannot_watch_or_sync(cloud: Cloud) -> None:
    connect(cloud, endpoints="calls,notifications")
    for kind, data in (("sync", {}), ("watch", {"user_ids": [5]})):
        assert frame(cloud, kind, **data)["data"]["code"] == "BAD_REQUEST"


def test_another_token_must_allow_all_that_a_connection_hears(cloud: Cloud) -> None:
    connect(cloud, endpoints="calls,feed")
    claims = {"sub": "123", "iat": STORY_BEGINS, "exp": FAR, "scope": "calls"}
    token = jwt.encode(claims, SECRET, "HS256", headers={"kid": KEY_ID})
    assert frame(cloud, "authenticate", token=token)["data"]["code"] == "PERMISSION_DENIED"
    token = jwt.encode({**claims, "scope": "feed calls"}, SECRET, "HS256", headers={"kid": KEY_ID})
    assert frame(cloud, "authenticate", token=token)["type"] == "authenticated"


def test_nothing_is_left_of_a_connection_that_ended(cloud: Cloud) -> None:
    connect(cloud, watch="5,6")
    disconnect(cloud)
    assert cloud.rows("Connections") == []


def test_a_session_of_before_hears_the_endpoint_that_is_its_stage(cloud: Cloud) -> None:
    connections = Connections(cloud.dynamodb, "ConnectionsTable")
    before = Connection("one=", "calls", "123", STORY_BEGINS * 1000, STORY_BEGINS + 3600)
    (write, *_) = connections.registration_writes(before, ["calls/123"], STORY_BEGINS + 900)
    assert "endpoints" not in write.request["Item"]
    assert read_session(write.request["Item"]).connection == before
    assert before.endpoints == {"calls"}
    several = replace(before, stage="live", chosen=frozenset({"calls", "feed"}))
    Transaction(cloud.dynamodb).add(
        *connections.registration_writes(several, ["live/123", "live/*/0"], STORY_BEGINS + 900)
    ).commit("a test")
    (found,) = connections.sessions(["one="])
    assert found.connection == several
    assert found.connection.endpoints == {"calls", "feed"}
