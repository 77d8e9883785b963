"""Pages of a user's own history."""

from __future__ import annotations

import json
from typing import Any

import jwt
import pytest

from realtime import inbox
from realtime.ids import make_event_id
from realtime.tables.entries import Entry
from realtime.tables.outbox import Outbox
from tests.samples import KEY_ID, SECRET, sample
from tests.support.cloud import STORY_BEGINS, Cloud, Function

CONNECTION = "RfGx1dQAIAMCIhA="
NOW = STORY_BEGINS * 1000


def kept(cloud: Cloud, audience: str, age_s: int, **more: Any) -> str:
    """Record a message of so long ago; return its id."""
    event_id = make_event_id(NOW - age_s * 1000, audience)
    data = {"call_id": 1, "user_id": 123, "listener_id": 5}
    message = {"type": "call_ended", "data": data | more.pop("data", {}), "timestamp": "2024-01-15T10:00:00.000Z"}
    entry = Entry(audience, event_id, "call_ended", json.dumps({**message, "id": event_id}), NOW // 1000 + 60, **more)
    Outbox(cloud.dynamodb, "EventsTable").put(entry)
    return event_id


def connect(cloud: Cloud, stage: str, **parameters: str) -> Function:
    """Connect the story's user."""
    event = sample("connect.token-in-query")
    event["requestContext"]["stage"] = stage
    token = jwt.encode({"sub": "123", "exp": 4_102_444_800}, SECRET, headers={"kid": KEY_ID})
    event["queryStringParameters"] = {"token": token, **parameters}
    cloud.function("connect")(event)
    return cloud.function("default")


def page(default: Function, **data: Any) -> tuple[list[str], str | None]:
    """Return the ids of a page's messages, and where it goes on."""
    event = {**sample("default.ping"), "body": json.dumps({"type": "history", "data": data})}
    answer = json.loads(default(event)["body"])
    assert answer["type"] == "history_page", answer
    assert len(json.dumps(answer)) < 32_768
    return [each["id"] for each in answer["data"]["messages"]], answer["data"]["next"]


def test_the_inbox_is_read_page_by_page_in_either_direction(cloud: Cloud) -> None:
    audiences = ("calls/123", "notifications/123", "notifications/*/0")
    ids = [kept(cloud, audiences[age % 3], age * 60) for age in range(1, 8)]  # the newest first
    kept(cloud, "calls/5", 1)
    default = connect(cloud, "live")
    assert page(default) == (ids, None)
    assert page(default, limit=3) == (ids[:3], ids[2])
    assert page(default, limit=3, before=ids[2]) == (ids[3:6], ids[5])
    assert page(default, limit=3, before=ids[5]) == (ids[6:], None)
    assert page(default, after=ids[4], limit=2) == ([ids[3], ids[2]], ids[2]), "the oldest first"
    assert page(default, after=ids[2], limit=2) == ([ids[1], ids[0]], None)
    assert page(default, after=ids[5], before=ids[1]) == (ids[2:5], None)
    assert page(default, before=ids[6]) == ([], None)


@pytest.mark.parametrize(
    ("stage", "parameters", "audiences"),
    [
        ("calls", {}, {"calls/123"}),
        ("notifications", {}, {"notifications/123", "notifications/*/0"}),
        ("live", {"endpoints": "calls,feed"}, {"calls/123"}),
    ],
)
def test_a_page_has_what_the_connections_endpoints_have(
    cloud: Cloud, stage: str, parameters: dict[str, str], audiences: set[str]
) -> None:
    ids = {
        name: kept(cloud, name, age) for age, name in enumerate(("calls/123", "notifications/123", "notifications/*/0"))
    }
    found, _ = page(connect(cloud, stage, **parameters))
    assert set(found) == {ids[name] for name in audiences}


def test_what_has_expired_or_is_older_than_the_history_is_not_shown(cloud: Cloud) -> None:
    kept(cloud, "calls/123", 60, not_after_s=NOW // 1000 - 30)
    kept(cloud, "calls/123", 90_000)
    here = kept(cloud, "calls/123", 80_000)
    assert page(connect(cloud, "calls")) == ([here], None)


@pytest.mark.parametrize("oldest_first", [True, False])
def test_of_very_many_expired_messages_a_page_reads_some_and_says_where_to_go_on(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch, *, oldest_first: bool
) -> None:
    monkeypatch.setattr(inbox, "_MOST_READ", 5)
    first = kept(cloud, "notifications/*/0", 50_000)
    for age in range(1000, 1012):
        kept(cloud, "notifications/*/0", age, not_after_s=NOW // 1000 - 30)
    last = kept(cloud, "notifications/*/0", 40)
    mine = [kept(cloud, "notifications/123", age) for age in (30, 1004, 60_000)]
    default = connect(cloud, "notifications")
    found: list[str] = []
    where = make_event_id(NOW - 80_000_000) if oldest_first else None
    pages = 0
    key = "after" if oldest_first else "before"
    while where is not None or not pages:
        pages += 1
        ids, where = page(default, **({key: where} if where else {}))
        found += ids
    every = [mine[0], last, mine[1], first, mine[2]]
    assert found == (every[::-1] if oldest_first else every)
    assert pages > 2


def test_a_page_ends_where_its_frame_is_full_and_names_what_fits_into_none(cloud: Cloud) -> None:
    half = kept(cloud, "calls/123", 1, data={"text": "x" * 20_000})
    whole = kept(cloud, "calls/123", 2, data={"text": "x" * 32_000})
    small = kept(cloud, "calls/123", 3)
    default = connect(cloud, "calls")
    assert page(default) == ([half], half)
    event = {**sample("default.history"), "body": json.dumps({"type": "history", "data": {"before": half}})}
    event["requestContext"]["connectionId"] = CONNECTION
    data = json.loads(default(event)["body"])["data"]
    assert (data["left_out"], [each["id"] for each in data["messages"]], data["next"]) == ([whole], [small], None)


@pytest.mark.parametrize(
    "between",
    [
        {"before": make_event_id(NOW - 100_000_000)},  # where a page of the day before ended
        {"after": make_event_id(NOW), "before": make_event_id(NOW - 1000)},
        {"before": "0" * 28},
    ],
)
def test_a_page_of_what_is_older_than_the_history_or_between_ids_in_the_wrong_order_is_empty(
    strict_cloud: Cloud, between: dict[str, str]
) -> None:
    kept(strict_cloud, "calls/123", 60)
    assert page(connect(strict_cloud, "calls"), **between) == ([], None)


def test_a_page_that_names_many_messages_fits_into_a_frame(cloud: Cloud) -> None:
    for age in range(60):
        kept(cloud, "calls/123", age, data={"text": "x" * 32_000})
    kept(cloud, "calls/123", 60, data={"text": "x" * 31_000})
    event = {**sample("default.ping"), "body": json.dumps({"type": "history", "data": {"limit": 100}})}
    answer = connect(cloud, "calls")(event)["body"]
    assert len(answer.encode()) <= 32_768
    assert len(json.loads(answer)["data"]["left_out"]) >= 60


def test_a_connection_without_history_is_told_where_there_is_one(cloud: Cloud) -> None:
    default = connect(cloud, "feed")
    event = {**sample("default.ping"), "body": sample("default.history")["body"]}
    assert "connect to calls, notifications or live" in default(event)["body"]
