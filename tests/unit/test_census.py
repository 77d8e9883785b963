"""Counts of what is in the tables: all parts are read to their end, and counting stops with the function's time."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from realtime.aws import retries
from realtime.errors import ConfigurationError, Unavailable
from realtime.tables.census import Census, Online
from tests.unit.fakes import as_client, aws_error

BY_CALL, BY_HAND = {"busy_calls": {"SS": ["456"]}}, {"is_busy_manual": {"BOOL": True}}
AVAILABLE: dict[str, Any] = {}
AVAILABLE_AGAIN = {"is_busy_manual": {"BOOL": False}}


class Tables:
    """Query and Scan: each shard and segment has two pages; a shard holds 10 users, of whom 4 are listeners."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self._lock = threading.Lock()

    def query(self, **query: Any) -> dict[str, Any]:
        with self._lock:
            self.asked.append(query)
        if "ExclusiveStartKey" in query:
            return {"Items": [AVAILABLE, AVAILABLE_AGAIN], "ScannedCount": 3}
        return {"Items": [BY_CALL, BY_HAND], "ScannedCount": 7, "LastEvaluatedKey": {"user_id": {"S": "7"}}}

    def scan(self, **scan: Any) -> dict[str, Any]:
        with self._lock:
            self.asked.append(scan)
        if "ExclusiveStartKey" in scan:
            return {"Items": [{"endpoint": {"S": "feed"}}]}
        items = [{"endpoint": {"S": stage}} for stage in ("live", "live", "feed")]
        return {"Items": items, "LastEvaluatedKey": {"connection_id": {"S": "a="}}}


def census(client: object) -> Census:
    return Census(as_client(client), "ConnectionsTable", "UsersTable")


def test_all_users_online_are_counted_and_of_the_listeners_those_busy_by_a_call_or_by_hand() -> None:
    tables = Tables()
    assert census(tables).online("listener") == Online(users=80, listeners=32, busy=16)
    shards = [each["ExpressionAttributeValues"][":shard"]["S"] for each in tables.asked]
    assert sorted(shards) == sorted([*"01234567"] * 2)
    assert {each["ExpressionAttributeValues"][":role"]["S"] for each in tables.asked} == {"listener"}


def test_connections_are_counted_by_stage_in_all_segments() -> None:
    tables = Tables()
    assert census(tables).connections(1_705_314_600) == {"live": 16, "feed": 16}
    assert sorted(each["Segment"] for each in tables.asked) == sorted([*range(8)] * 2)
    assert {each["TotalSegments"] for each in tables.asked} == {8}


def test_counting_goes_on_after_the_last_key_of_each_page() -> None:
    tables = Tables()
    census(tables).connections(1_705_314_600)
    starts = [each.get("ExclusiveStartKey") for each in tables.asked]
    assert starts.count(None) == 8
    assert starts.count({"connection_id": {"S": "a="}}) == 8


def test_counting_stops_when_the_functions_time_is_up() -> None:
    tables = Tables()
    with retries.none(), pytest.raises(Unavailable, match="more to count than the function's time allows"):
        census(tables).online("listener")
    assert tables.asked == []


def test_a_count_that_is_not_allowed_names_itself() -> None:
    class Broken:
        def scan(self, **_: Any) -> None:
            raise aws_error("AccessDeniedException")

    with pytest.raises(ConfigurationError, match="counting: AccessDeniedException"):
        census(Broken()).connections(0)
