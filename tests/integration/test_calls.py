"""Calls, whose starts and ends may come in any order, twice, or not at all."""

from __future__ import annotations

import itertools
from typing import Any
from uuid import uuid4

import pytest

from realtime.errors import ConfigurationError
from realtime.tables import TableNames, Tables
from realtime.tables.calls import OPEN_CALLS_SHARDS, CallEnded, OpenCall, Report
from realtime.tables.dynamodb import Cursor
from realtime.tables.outbox import Duplicate
from realtime.tables.transactions import Transaction
from tests.samples import backend_event
from tests.support.cloud import Cloud
from tests.unit.fakes import as_client

NOW = 1_705_314_600  # s
BOTH = frozenset({"123", "789"})


class Line:
    """Starts and ends calls."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self.calls = Tables(cloud.dynamodb, TableNames(users="UsersTable", events="EventsTable")).calls

    def start(self, call_id: str = "456", at: int = NOW) -> None:
        self._change(call_id, at, ongoing=True)

    def end(self, call_id: str = "456", at: int = NOW) -> None:
        self._change(call_id, at, ongoing=False)

    def busy(self, user_id: str = "123") -> set[str]:
        return set(self._cloud.user(user_id).get("busy_calls", ()))

    def open(self, since: int = NOW + 1) -> list[OpenCall]:
        found: list[OpenCall] = []
        cursor: Cursor = None
        while True:
            page, cursor = self.calls.open_since(since, cursor)
            found += page
            if cursor is None:
                return sorted(found, key=lambda call: call.call_id)

    def _change(self, call_id: str, at: int, *, ongoing: bool) -> None:
        writes = self.calls.call_writes(call_id, BOTH, at * 1000, ongoing=ongoing)
        Transaction(self._cloud.dynamodb).add(*writes).commit("a call")


class Sender:
    """Sends events of calls, as a backend does."""

    def __init__(self, cloud: Cloud) -> None:
        self._ingest = cloud.function("ingest")

    def __call__(self, kind: str, user_id: str, listener_id: str) -> dict[str, Any]:
        event = backend_event(kind)
        event |= {"id": str(uuid4()), "detail": {**event["detail"], "user_id": user_id, "listener_id": listener_id}}
        self.again(event)
        return event

    def again(self, event: dict[str, Any]) -> None:
        assert self._ingest(event) == {"batchItemFailures": []}


@pytest.fixture
def line(cloud: Cloud) -> Line:
    return Line(cloud)


def test_a_call_keeps_both_busy_while_it_is_open(line: Line) -> None:
    line.start()
    assert line.busy("123") == line.busy("789") == {"456"}
    assert line.open() == [OpenCall("456", BOTH)]
    line.end()
    assert line.busy("123") == line.busy("789") == set()
    assert line.open() == []


def test_a_call_that_has_ended_does_not_start_again(line: Line) -> None:
    line.end()
    with pytest.raises(CallEnded):
        line.start()
    assert line.busy() == set()
    assert line.open() == []


@pytest.mark.parametrize("order", sorted(set(itertools.permutations(["start", "start", "end", "end"]))))
def test_nobody_stays_busy_with_any_order_of_starts_and_ends(line: Line, order: tuple[str, ...]) -> None:
    for each in order:
        try:
            getattr(line, each)()
        except CallEnded:
            assert each == "start"
    assert line.busy() == set()
    assert line.open() == []


def test_a_call_whose_end_never_came_is_ended(line: Line) -> None:
    line.start()
    (call,) = line.open()
    line.calls.end(call, NOW * 1000)
    assert line.busy("123") == line.busy("789") == set()
    assert line.open() == []


def test_a_start_that_comes_twice_keeps_the_time_of_the_first(line: Line) -> None:
    line.start(at=NOW)
    line.start(at=NOW + 100)
    assert line.open(since=NOW) == []
    assert [call.call_id for call in line.open(since=NOW + 1)] == ["456"]


def test_a_search_of_all_shards_finds_old_open_calls_alone(line: Line) -> None:
    for n in range(OPEN_CALLS_SHARDS * 5):
        line.start(f"old {n:02}", at=NOW)
    line.start("young", at=NOW + 50)
    assert [call.call_id for call in line.open(since=NOW + 50)] == [f"old {n:02}" for n in range(OPEN_CALLS_SHARDS * 5)]


@pytest.mark.parametrize("named_by_the_end", [("123", "789"), ("123", "5"), ("6", "7")])
def test_nobody_stays_busy_with_a_call_whose_participants_changed(
    cloud: Cloud, line: Line, named_by_the_end: tuple[str, str]
) -> None:
    send = Sender(cloud)
    send("call_started", "123", "789")
    send("call_started", "123", "5")
    assert (line.busy("123"), line.busy("789"), line.busy("5")) == ({"456"}, set(), {"456"})
    assert line.open() == [OpenCall("456", frozenset({"123", "5"}))]
    send("call_ended", *named_by_the_end)
    assert [user_id for user_id in ("123", "789", "5", "6", "7") if line.busy(user_id)] == []
    assert line.open() == []
    send("call_started", "123", "8")
    assert line.busy("123") == line.busy("8") == set()


def test_an_event_that_comes_again_after_the_participants_changed_changes_nothing(cloud: Cloud, line: Line) -> None:
    send = Sender(cloud)
    first = send("call_started", "123", "789")
    send("call_started", "123", "5")
    send.again(first)
    assert (line.busy("123"), line.busy("789"), line.busy("5")) == ({"456"}, set(), {"456"})


def test_a_call_is_ended_for_those_who_are_in_it_though_the_index_shows_others(line: Line) -> None:
    line.start()
    line.calls.end(OpenCall("456", frozenset({"123", "5"})), NOW * 1000)
    assert line.busy("123") == line.busy("789") == set()
    assert line.open() == []


@pytest.mark.parametrize("ongoing", [True, False])
def test_a_report_of_a_call_that_comes_again_fails_with_the_id_under_which_it_was_recorded(
    line: Line, cloud: Cloud, ongoing: bool
) -> None:
    def report(source_id: str, event_id: str) -> None:
        writes = line.calls.call_writes("456", BOTH, NOW * 1000, ongoing=ongoing, report=Report(source_id, event_id))
        Transaction(cloud.dynamodb).add(*writes).commit("a call")

    report("source-1", "event-1")
    report("source-2", "event-2")
    for source_id, recorded_as in (("source-1", "event-1"), ("source-2", "event-2")):
        with pytest.raises(Duplicate) as caught:
            report(source_id, "event-3")
        assert caught.value.recorded_as == recorded_as


def test_a_search_reads_each_shard_to_its_end_and_shows_each_call_once(line: Line, cloud: Cloud) -> None:
    class SmallPages:
        def query(self, **request: Any) -> Any:
            return cloud.dynamodb.query(**request, Limit=2)

    for n in range(OPEN_CALLS_SHARDS * 5):
        line.start(f"{n:02}")
    calls = Tables(as_client(SmallPages()), TableNames(users="UsersTable", events="EventsTable")).calls
    found: list[OpenCall] = []
    cursor: Cursor = None
    for _ in range(OPEN_CALLS_SHARDS * 10):
        page, cursor = calls.open_since(NOW + 1, cursor)
        found += page
        if cursor is None:
            break
    assert cursor is None
    assert sorted(call.call_id for call in found) == [f"{n:02}" for n in range(OPEN_CALLS_SHARDS * 5)]


def test_the_item_of_a_call_is_no_message(line: Line, cloud: Cloud) -> None:
    line.start()
    (item,) = cloud.rows("Events")
    assert "message" not in item


def test_an_ended_call_is_kept_for_as_long_as_its_start_may_come(line: Line, cloud: Cloud) -> None:
    line.end()
    (item,) = cloud.rows("Events")
    assert item["expires_at"] == NOW + 26 * 3600  # EventBridge delivers for up to 24 h


def test_an_open_call_is_kept_until_a_sweep_has_surely_ended_it(line: Line, cloud: Cloud) -> None:
    line.start()
    (item,) = cloud.rows("Events")
    assert item["expires_at"] == NOW + 14 * 86_400


def test_a_call_that_cannot_be_ended_is_reported(cloud: Cloud) -> None:
    calls = Tables(cloud.dynamodb, TableNames(users="UsersTable", events="Nowhere")).calls
    with pytest.raises(ConfigurationError, match="ending a call: "):
        calls.end(OpenCall("456", BOTH), NOW * 1000)
