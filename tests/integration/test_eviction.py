"""A newcomer at its user's limit: which connection makes room, and what is left of it."""

from __future__ import annotations

import time
from functools import partial
from types import SimpleNamespace
from typing import Any

import botocore.endpoint
import pytest

from harness.turns import Turns
from realtime.audiences import direct
from realtime.aws import clients, retries
from realtime.errors import AuthFailed, ConnectionLimit
from realtime.tables import TableNames, Tables
from realtime.tables.connections import Connection, Session
from realtime.tables.registry import Registry
from realtime.tables.transactions import Write
from tests.support.cloud import Cloud
from tests.support.strict_dynamodb import StrictDynamoDB

NOW = 1_705_314_600
LIMIT, LEASE = 4, 90
TRANSACTION_SECONDS = 0.025  # for which it is at its items
NAMES = TableNames("ConnectionsTable", "UsersTable")


@pytest.fixture
def tables(cloud: Cloud) -> Tables:
    return Tables(cloud.dynamodb, NAMES)


def dismiss(connection: Connection) -> Write:
    """Return a write that stands for the one that tells and closes a connection."""
    item = {"audience": {"S": direct(connection.connection_id)}, "event_id": {"S": "-"}}
    return Write("Put", {"TableName": "EventsTable", "Item": item})


def dismissed(cloud: Cloud) -> set[str]:
    return {row["audience"].partition("/")[2] for row in cloud.rows("Events")}


def register(registry: Registry, connection_id: str, at_s: int = NOW, **more: Any) -> Session | None:
    """Register a connection of the user 123."""
    endpoint = more.pop("endpoint", "feed")
    options = {"dismiss": dismiss, "limit": LIMIT, "issued_at_s": at_s, "audiences": [f"{endpoint}/*/0"], **more}
    return registry.register(
        Connection(connection_id, endpoint, "123", at_s * 1000, token_expires_at_s=at_s + 3600),
        options.pop("audiences"),
        username=None,
        role=None,
        now_ms=at_s * 1000,
        lease_seconds=LEASE,
        **options,
    )


def fill(tables: Tables, **at_s: int) -> None:
    """Let the user have connections that were made at these times, each on the endpoint that its name begins with."""
    for connection_id, when_s in at_s.items():
        register(tables.registry, connection_id, when_s, endpoint=connection_id.rstrip("0123456789"))


def replaced_by(tables: Tables, connection_id: str, at_s: int = NOW, **more: Any) -> str:
    session = register(tables.registry, connection_id, at_s, **more)
    assert session is not None
    return session.connection.connection_id


def stored(cloud: Cloud) -> set[str]:
    return {row["connection_id"] for row in cloud.rows("Connections")}


def test_below_the_limit_nobody_has_to_go(tables: Tables) -> None:
    fill(tables, feed1=NOW, feed2=NOW, feed3=NOW)
    assert register(tables.registry, "new") is None


def test_a_lease_that_has_run_out_goes_first(cloud: Cloud, tables: Tables) -> None:
    fill(tables, feed1=NOW - 300, feed2=NOW - 200, feed3=NOW - 10, feed4=NOW)
    tables.connections.renew_lease("feed1", NOW + 10, heard_at_s=NOW - 100)
    assert replaced_by(tables, "new") == "feed2"
    assert dismissed(cloud) == {"feed2"}
    assert stored(cloud) == cloud.user()["connection_ids"] == {"feed1", "feed3", "feed4", "new"}


def test_then_the_connection_that_has_been_silent_for_longest(tables: Tables) -> None:
    fill(tables, feed1=NOW - 85, feed2=NOW - 80, feed3=NOW - 10, feed4=NOW)
    tables.connections.renew_lease("feed1", NOW + 60, heard_at_s=NOW - 30)
    assert replaced_by(tables, "new") == "feed2"


def test_among_equals_one_of_the_same_endpoint_goes_and_the_oldest(tables: Tables) -> None:
    fill(tables, calls1=NOW - 30, feed1=NOW - 10, feed2=NOW - 20, presence1=NOW - 25)
    assert replaced_by(tables, "new", endpoint="feed") == "feed2"
    assert replaced_by(tables, "newer", endpoint="notifications") == "calls1"


def test_an_id_without_a_session_goes_before_all(cloud: Cloud, tables: Tables) -> None:
    fill(tables, feed1=NOW - 300, feed2=NOW, feed3=NOW, feed4=NOW)
    tables.connections.delete([("feed3", direct("feed3")), ("feed3", "feed/*/0")])
    assert register(tables.registry, "new") is None  # nobody is there to be told
    assert stored(cloud) == cloud.user()["connection_ids"] == {"feed1", "feed2", "feed4", "new"}


def test_a_limit_of_one_is_the_newest_connection(cloud: Cloud, tables: Tables) -> None:
    for number in range(3):
        register(tables.registry, f"new{number}", NOW + number, limit=1)
        assert stored(cloud) == cloud.user()["connection_ids"] == {f"new{number}"}


@pytest.mark.parametrize("watched", [96, 97, 98, 100])
def test_all_that_the_replaced_connection_heard_is_deleted(cloud: Cloud, tables: Tables, watched: int) -> None:
    audiences = [f"feed/{number}" for number in range(watched)]
    register(tables.registry, "old", limit=1, audiences=audiences)
    assert replaced_by(tables, "new", limit=1, audiences=audiences) == "old"
    assert cloud.audiences_of("old") == set()
    assert cloud.audiences_of("new") == {direct("new"), *audiences, "watched"}


def test_the_user_stays_online_and_is_seen_with_the_newcomer(cloud: Cloud, tables: Tables) -> None:
    register(tables.registry, "old", limit=1)
    register(tables.registry, "new", NOW + 5, limit=1)
    user = cloud.user()
    assert (user["is_online"], user["last_seen"], user["version"]) == (True, (NOW + 5) * 1000, 2)
    assert "left_at" not in user


def test_with_the_policy_reject_nobody_has_to_go(cloud: Cloud, tables: Tables) -> None:
    fill(tables, feed1=NOW - 300, feed2=NOW, feed3=NOW, feed4=NOW)
    with pytest.raises(ConnectionLimit):
        register(tables.registry, "new", dismiss=None)
    assert stored(cloud) == cloud.user()["connection_ids"] == {"feed1", "feed2", "feed3", "feed4"}


class Race:
    """Registers in threads, which take turns, on a DynamoDB whose transactions hold their items and meet each other."""

    def __init__(self, cloud: Cloud, strict: StrictDynamoDB, monkeypatch: pytest.MonkeyPatch) -> None:
        self._cloud = cloud
        self._turns = Turns()
        shown = SimpleNamespace(**{**vars(time), "monotonic": self._turns, "sleep": self._turns.sleep})
        for module in (retries, botocore.endpoint):
            monkeypatch.setattr(module, "time", shown)
        strict._sleep, strict._held = self._turns.sleep, TRANSACTION_SECONDS
        self.registry = Tables(clients.client("dynamodb"), NAMES).registry
        self.replaced: list[str] = []

    def run(self, names: list[str]) -> None:
        self._turns.run(*(partial(self._register, name) for name in names))

    def _register(self, name: str) -> None:
        session = register(self.registry, name)
        if session is not None:
            self.replaced.append(session.connection.connection_id)
        assert len(self._cloud.user()["connection_ids"]) <= LIMIT


@pytest.mark.parametrize("newcomers", [2, 4])
def test_newcomers_at_once_all_get_in_and_as_many_others_go(
    strict_cloud: Cloud, monkeypatch: pytest.MonkeyPatch, newcomers: int
) -> None:
    strict = strict_cloud.strict
    assert strict is not None
    race = Race(strict_cloud, strict, monkeypatch)
    old = {f"old{number}" for number in range(LIMIT)}
    for each in sorted(old):
        register(race.registry, each, NOW - 60)
    new = {f"new{number}" for number in range(newcomers)}
    race.run(sorted(new))
    assert strict.met["TransactionConflict"] > 0
    connection_ids = strict_cloud.user()["connection_ids"]
    assert new <= connection_ids == stored(strict_cloud)
    assert len(connection_ids) == LIMIT
    assert dismissed(strict_cloud) == set(race.replaced)
    assert len(race.replaced) == len(set(race.replaced)) == newcomers
    assert set(race.replaced) == old - connection_ids


def test_a_token_that_was_issued_before_the_revocation_registers_nothing(cloud: Cloud, tables: Tables) -> None:
    tables.users.revoke("123", NOW)
    with pytest.raises(AuthFailed) as caught:
        register(tables.registry, "old", issued_at_s=NOW - 1)
    assert caught.value.reason == "user 123: issued before their sessions were revoked"
    assert stored(cloud) == set()
    assert register(tables.registry, "new", issued_at_s=NOW) is None  # a token of the same second may be the new one
    assert stored(cloud) == {"new"}


def test_a_revoked_token_takes_nobodys_place(cloud: Cloud, tables: Tables) -> None:
    register(tables.registry, "good", limit=1, issued_at_s=NOW + 9)
    tables.users.revoke("123", NOW + 9)
    with pytest.raises(AuthFailed):
        register(tables.registry, "bad", limit=1, issued_at_s=NOW)
    assert stored(cloud) == {"good"}


def test_an_older_revocation_that_comes_late_changes_nothing(cloud: Cloud, tables: Tables) -> None:
    for before_s in (NOW, NOW - 60, NOW):
        tables.users.revoke("123", before_s)
        assert cloud.user() == {"user_id": "123", "revoked_before": NOW}
