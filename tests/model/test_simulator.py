"""The basic parts of the simulator: if they were wrong, the model would promise too much."""

from __future__ import annotations

import json
import random
import time
from typing import Any

import pytest
from botocore.exceptions import ClientError, ReadTimeoutError

from realtime.aws import retries
from realtime.tables.dynamodb import item
from tests.model.client import Client
from tests.model.promises import check_all
from tests.model.runtime import Crash, Failed, Runtime, Trouble
from tests.model.service import CONNECTIONS, GRACE, HIDDEN_SECONDS, THROUGHPUT, USERS, SimulatedService
from tests.model.tables import Change, Tables
from tests.support.strict_dynamodb import Throughput


@pytest.fixture(scope="module")
def made_tables() -> Tables:
    return Tables()


@pytest.fixture
def changes(made_tables: Tables) -> list[Change]:
    made_tables.wipe()
    seen: list[Change] = []
    made_tables.on_change = seen.append
    return seen


@pytest.fixture
def tables(made_tables: Tables, changes: list[Change]) -> Tables:
    return made_tables


def add(user_id: str, *connections: str, condition: str | None = None) -> dict[str, Any]:
    """Return an update of a user's set."""
    return {
        "TableName": USERS,
        "Key": item({"user_id": user_id}),
        "UpdateExpression": "ADD connection_ids :ids",
        "ExpressionAttributeValues": item({":ids": frozenset(connections)}),
        **({"ConditionExpression": condition} if condition else {}),
    }


def test_a_write_reaches_the_stream_with_its_images_before_and_after(tables: Tables, changes: list[Change]) -> None:
    tables.call("update_item", add("1", "b"))
    tables.call("update_item", add("1", "a"))
    first = item({"user_id": "1", "connection_ids": frozenset("b")})
    assert changes == [
        Change(USERS, ("1",), None, first),
        Change(USERS, ("1",), first, item({"user_id": "1", "connection_ids": frozenset("ab")})),
    ]


def test_a_write_that_changes_nothing_does_not_reach_the_stream(tables: Tables, changes: list[Change]) -> None:
    for _ in range(2):
        tables.call("update_item", add("1", "a"))
    assert len(changes) == 1


def test_a_transaction_reaches_the_stream_part_by_part_or_not_at_all(tables: Tables, changes: list[Change]) -> None:
    row = item({"connection_id": "a", "audience": "feed/*/0"})
    put = {"Put": {"TableName": CONNECTIONS, "Item": row}}
    failing = {"Update": add("1", "a", condition="attribute_exists(user_id)")}
    with pytest.raises(ClientError) as failed:
        tables.call("transact_write_items", {"TransactItems": [put, failing]})
    assert [reason["Code"] for reason in failed.value.response["CancellationReasons"]] == [
        "None",
        "ConditionalCheckFailed",
    ]
    assert (changes, tables.all(CONNECTIONS)) == ([], [])
    tables.call("transact_write_items", {"TransactItems": [put, {"Update": add("1", "a")}]})
    assert [(change.table, change.key) for change in changes] == [(CONNECTIONS, ("a", "feed/*/0")), (USERS, ("1",))]


def test_frozen_indexes_show_the_old_state_and_tables_the_current_one(tables: Tables) -> None:
    def shown() -> list[str]:
        answer = tables.call(
            "query",
            {
                "TableName": CONNECTIONS,
                "IndexName": "AudienceIndex",
                "KeyConditionExpression": "indexed_audience = :audience",
                "ExpressionAttributeValues": item({":audience": "feed/7"}),
            },
        )
        return [row["connection_id"]["S"] for row in answer["Items"]]

    def put(connection_id: str) -> None:
        row = item({"connection_id": connection_id, "audience": "feed/7", "indexed_audience": "feed/7"})
        tables.call("put_item", {"TableName": CONNECTIONS, "Item": row})

    put("a")
    tables.freeze_reads()
    put("b")
    assert (shown(), len(tables.all(CONNECTIONS))) == (["a"], 2)
    tables.thaw_reads()
    assert shown() == ["a", "b"]


class Function:
    """A replacement for a real function: it makes three calls to AWS, and continues if one fails."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.done: list[str] = []
        self.met: list[str] = []
        self.runtime = Runtime(lambda action: self.done.append(action[0]), lambda: None)
        monkeypatch.setattr("disconnect.handler", self.handler)

    def handler(self, event: dict[str, Any], context: object) -> str:
        for name in ("one", "two", "three"):
            try:
                self.runtime.call(name, lambda name=name: self.done.append(name))  # type: ignore[misc]
            except (ClientError, ReadTimeoutError, Crash) as error:
                self.met.append(type(error).__name__)
        return "the answer"


@pytest.mark.parametrize(
    ("kind", "done", "met"),
    [
        ("error", ["one", "three"], ["ClientError"]),
        ("lost answer", ["one", "two", "three"], ["ReadTimeoutError"]),
        ("meanwhile", ["one", "elsewhere", "two", "three"], []),
    ],
)
def test_a_trouble_affects_one_call(
    monkeypatch: pytest.MonkeyPatch, kind: Any, done: list[str], met: list[str]
) -> None:
    function = Function(monkeypatch)
    assert function.runtime.invoke("disconnect", {}, Trouble(kind, 1, ("elsewhere",))) == "the answer"
    assert (function.done, function.met) == (done, met)


def test_a_concurrent_step_may_run_after_the_last_call_of_a_function(monkeypatch: pytest.MonkeyPatch) -> None:
    function = Function(monkeypatch)
    function.runtime.invoke("disconnect", {}, Trouble("meanwhile", 5, ("elsewhere",)))
    assert function.done == ["one", "two", "three", "elsewhere"]


def test_a_crashed_function_does_nothing_more_even_if_it_catches_every_error(monkeypatch: pytest.MonkeyPatch) -> None:
    function = Function(monkeypatch)
    with pytest.raises(Failed):
        function.runtime.invoke("disconnect", {}, Trouble("crash", 1))
    assert function.done == ["one"]


def test_a_function_may_crash_after_its_last_call(monkeypatch: pytest.MonkeyPatch) -> None:
    function = Function(monkeypatch)
    with pytest.raises(Failed):
        function.runtime.invoke("disconnect", {}, Trouble("crash", 5))
    assert function.done == ["one", "two", "three"]


def test_a_failure_that_no_trouble_explains_does_not_count_as_a_failure_of_aws(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(event: dict[str, Any], context: object) -> None:
        raise KeyError("user_id")

    monkeypatch.setattr("disconnect.handler", broken)
    with pytest.raises(KeyError):
        Runtime(lambda action: None, lambda: None).invoke("disconnect", {})


def test_functions_see_the_simulated_clock_and_nothing_else_does(service: SimulatedService) -> None:
    before = time.time()
    service.pass_time(1e9)
    assert retries.time.time() == service.clock.now  # type: ignore[attr-defined]
    assert time.time() - before < 1e6


def test_a_check_that_fails_comes_again_later_and_is_lost_after_five_times(service: SimulatedService) -> None:
    socket = service.connect("1", "calls")
    service.close(socket)
    service.deliver_all()
    (check,) = service.checks
    assert service.due_checks() == []
    for _ in range(5):
        service.pass_time(GRACE + HIDDEN_SECONDS)
        assert service.due_checks() == [check]
        service.check([check], Trouble("error", 0))
    assert service.checks == []


def test_a_batch_of_records_comes_again_if_its_invocation_failed(service: SimulatedService) -> None:
    service.connect("1", "calls")
    (record,) = service.user_records
    service.announce([record], Trouble("crash", 0))
    assert service.user_records == [record]
    service.announce([record])
    assert service.user_records == []


def test_a_connection_whose_handshake_failed_is_registered_at_most(service: SimulatedService) -> None:
    ghost = service.connect("1", "calls", trouble=Trouble("lost answer", 0))
    assert (ghost.state, ghost.is_registered) == ("closed", True)
    assert service.gateway.request("GET", ghost.connection_id, b"") == 410


def test_retries_overcome_the_failures_that_calls_meet_in_the_model(service: SimulatedService) -> None:
    random.seed(1)
    service.clear()
    met = service.dynamodb.met
    met.clear()
    for _ in range(30):
        socket = service.connect("1", "presence", role="listener")
        service.connect("2", "presence")
        assert (socket.state, socket.is_registered) == ("open", True)
        for each in service.open_sockets():
            service.close(each)
        service.deliver_all()
        service.pass_time(GRACE + 1)
        service.check(service.due_checks())
        service.deliver_all()
    assert not service.left_to_sweep
    check_all(service)
    assert met.keys() >= {
        "InternalServerError",
        "ProvisionedThroughputExceededException",
        "TransactionConflict",
        "TransactionConflictException",
        "lost",
        "partial",
    }


def test_a_partition_that_is_used_up_makes_functions_fail_as_aws_would(service: SimulatedService) -> None:
    service.dynamodb.throughput = Throughput(writes=0.001)
    try:
        service.connect("1", "calls")
        socket = service.connect("1", "calls")
    finally:
        service.dynamodb.throughput = THROUGHPUT
        service.clear()
    assert (socket.state, socket.is_registered) == ("closed", False)


@pytest.fixture
def client() -> Client:
    return Client(None, (), lambda message: None)


def message(version: int, *, online: bool, second: int = 0, user_id: int = 1) -> str:
    data = {"user_id": user_id, "is_online": online, "is_busy": False, "last_seen": None}
    at = f"2026-01-01T00:10:{second:02}.000Z"
    return json.dumps(
        {"type": "presence_update", "data": data, "timestamp": at, "id": f"{version:028x}", "version": version}
    )


def snapshot(*users: int, complete: bool = True) -> str:
    state = {"is_online": True, "is_busy": False, "last_seen": None, "username": None, "version": 5}
    shown = [{"user_id": user_id, **state} for user_id in users]
    data = {"users": shown, "complete": complete}
    return json.dumps({"type": "snapshot", "data": data, "timestamp": "2026-01-01T00:11:30.000Z"})


def test_a_client_keeps_the_higher_version_of_two_messages(client: Client) -> None:
    client.hear(message(4, online=False))
    client.hear(message(3, online=True))
    assert not client.view["1"].is_online


def test_a_client_keeps_what_it_heard_while_it_waited_for_a_snapshot(client: Client) -> None:
    client.ask("sync", ())
    client.hear(snapshot(1, complete=False))
    client.hear(message(6, online=False, second=45))
    client.hear(message(7, online=True, second=45, user_id=2))
    client.hear(snapshot(3))
    client.answered("sync", ())
    assert client.is_wide
    assert {user_id: seen.is_online for user_id, seen in client.view.items()} == {"1": False, "2": True, "3": True}


def test_a_message_older_than_the_snapshot_does_not_bring_back_a_user_whom_it_left_out(client: Client) -> None:
    client.ask("sync", ())
    client.hear(message(2, online=True, second=1))
    client.hear(snapshot())
    client.answered("sync", ())
    client.hear(message(3, online=True, second=29))
    assert client.view == {}
    client.hear(message(4, online=True, second=31))
    assert client.view["1"].is_online


def test_a_client_relies_on_no_state_after_its_watch_failed(client: Client) -> None:
    client.ask("sync", ())
    client.hear(snapshot(1))
    client.answered("sync", ())
    client.ask("watch", ["1"])
    client.answered("watch", ["1"])
    assert (client.scope, client.is_wide) == (None, False)
