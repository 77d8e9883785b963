"""Registering and forgetting connections, against the tables."""

from __future__ import annotations

from typing import Any

import pytest

from realtime.audiences import direct
from realtime.aws import clients
from realtime.aws.retries import ATTEMPTS
from realtime.errors import ConnectionLimit, Unavailable
from realtime.tables import TableNames, Tables
from realtime.tables.connections import Connection, Connections, Session
from realtime.tables.registry import Gone, Registry
from realtime.tables.users import Users
from tests.support.cloud import Cloud
from tests.support.strict_dynamodb import Chances, StrictDynamoDB
from tests.unit.fakes import Sleeps

NOW = 1_705_314_600_400
LIMIT = 3
NAMES = TableNames("ConnectionsTable", "UsersTable")


def registry(cloud: Cloud) -> Registry:
    client = clients.client("dynamodb") if cloud.strict else cloud.dynamodb
    return Tables(client, NAMES).registry


def register(registry: Registry, connection_id: str, user_id: str = "123", **more: Any) -> Session | None:
    options: dict[str, Any] = {"username": "jane_smith", "role": "listener", "audiences": ["feed/*/0"], **more}
    endpoint, connected_at_ms = options.pop("endpoint", "feed"), options.pop("connected_at_ms", NOW)
    return registry.register(
        connection(connection_id, endpoint, user_id, connected_at_ms),
        options.pop("audiences"),
        now_ms=options.pop("now_ms", NOW),
        issued_at_s=options.pop("issued_at_s", NOW // 1000),
        lease_seconds=900,
        limit=options.pop("limit", LIMIT),
        dismiss=None,
        **options,
    )


def connection(
    connection_id: str, endpoint: str = "feed", user_id: str = "123", connected_at_ms: int = NOW
) -> Connection:
    return Connection(connection_id, endpoint, user_id, connected_at_ms, token_expires_at_s=NOW // 1000 + 3600)


def audiences_of(cloud: Cloud, connection_id: str) -> set[str]:
    return cloud.audiences_of(connection_id)


def test_a_connection_is_stored_once_for_its_session_and_once_for_each_audience(cloud: Cloud) -> None:
    register(registry(cloud), "one", audiences=["notifications/123", "notifications/*/2"])
    assert audiences_of(cloud, "one") == {direct("one"), "notifications/123", "notifications/*/2"}


def test_several_devices_belong_to_one_user(cloud: Cloud) -> None:
    register(registry(cloud), "phone")
    register(registry(cloud), "laptop")
    assert cloud.user()["connection_ids"] == {"phone", "laptop"}
    assert len(cloud.rows("Users")) == 1


def test_a_user_has_no_more_connections_than_allowed(cloud: Cloud) -> None:
    for n in range(LIMIT):
        register(registry(cloud), f"connection {n}")
    with pytest.raises(ConnectionLimit) as caught:
        register(registry(cloud), "one too many")
    assert caught.value.reason == "user 123 has 3 connections"
    assert "one too many" not in cloud.user()["connection_ids"]
    assert audiences_of(cloud, "one too many") == set()


def test_each_user_has_their_own_limit(cloud: Cloud) -> None:
    for n in range(LIMIT):
        register(registry(cloud), f"connection {n}")
    register(registry(cloud), "another", user_id="789")
    assert cloud.user("789")["connection_ids"] == {"another"}


def test_a_connection_that_ended_makes_room_for_another(cloud: Cloud) -> None:
    for n in range(LIMIT):
        register(registry(cloud), f"connection {n}")
    registry(cloud).forget("connection 0", NOW + 1)
    register(registry(cloud), "another")
    assert cloud.user()["connection_ids"] == {"connection 1", "connection 2", "another"}


def test_a_user_can_connect_again_after_all_connections_ended(cloud: Cloud) -> None:
    register(registry(cloud), "one")
    registry(cloud).forget("one", NOW + 1)
    register(registry(cloud), "two")
    assert cloud.user()["connection_ids"] == {"two"}


def meeting(cloud: Cloud, **chances: float) -> StrictDynamoDB:
    """Let each call fail twice before it succeeds."""
    assert cloud.strict is not None
    cloud.strict.chances = Chances(in_a_row=2, **chances)
    return cloud.strict


def test_a_registration_that_meets_conflicts_is_made(strict_cloud: Cloud, sleeps: Sleeps) -> None:
    met = meeting(strict_cloud, conflict=1.0).met
    register(registry(strict_cloud), "one")
    assert strict_cloud.user()["connection_ids"] == {"one"}
    assert strict_cloud.user()["version"] == 1
    assert (met["TransactionConflict"], len(sleeps)) == (2, 2)


@pytest.mark.parametrize(
    ("chances", "code"),
    [
        ({"conflict": 1.0}, "TransactionConflictException"),
        ({"throttle": 1.0}, "ProvisionedThroughputExceededException"),
        ({"failure": 1.0}, "InternalServerError"),
        ({"lost": 1.0}, "lost"),
    ],
)
def test_a_connection_is_forgotten_in_spite_of_failures_of_its_calls(
    strict_cloud: Cloud, chances: dict[str, float], code: str
) -> None:
    register(registry(strict_cloud), "one")
    met = meeting(strict_cloud, **chances).met
    assert registry(strict_cloud).forget("one", NOW + 1) == "123"
    assert met[code] >= 2
    assert strict_cloud.rows("Connections") == []
    assert "connection_ids" not in strict_cloud.user()
    assert strict_cloud.user()["left_at"] == NOW + 1


def test_a_registration_whose_answer_is_lost_is_made_once(strict_cloud: Cloud) -> None:
    met = meeting(strict_cloud, lost=1.0).met
    register(registry(strict_cloud), "one")
    assert met["lost"] == 2
    assert strict_cloud.user()["version"] == 1


def test_a_registration_gives_up_when_conflicts_last(strict_cloud: Cloud) -> None:
    assert strict_cloud.strict is not None
    strict_cloud.strict.chances = Chances(conflict=1.0, in_a_row=100)
    with pytest.raises(Unavailable, match="registering a connection: TransactionConflict"):
        register(registry(strict_cloud), "one")
    assert strict_cloud.strict.met["TransactionConflict"] == ATTEMPTS
    assert strict_cloud.rows("Connections") == strict_cloud.rows("Users") == []


@pytest.mark.parametrize("count", [98, 99, 100])
def test_a_connection_may_have_more_audiences_than_a_transaction_holds(cloud: Cloud, count: int) -> None:
    audiences = [f"feed/{n}" for n in range(count)]
    register(registry(cloud), "one", audiences=audiences)
    assert audiences_of(cloud, "one") == {direct("one"), *audiences, "watched"}
    assert registry(cloud).forget("one", NOW + 1) == "123"
    assert cloud.rows("Connections") == []


def test_a_missing_claim_leaves_the_stored_one(cloud: Cloud) -> None:
    register(registry(cloud), "one")
    register(registry(cloud), "two", username=None, role=None)
    assert (cloud.user()["username"], cloud.user()["role"]) == ("jane_smith", "listener")
    register(registry(cloud), "three", username="jane", role=None)
    assert (cloud.user()["username"], cloud.user()["role"]) == ("jane", "listener")


def test_each_connection_raises_the_users_version(cloud: Cloud) -> None:
    register(registry(cloud), "one")
    register(registry(cloud), "two", now_ms=NOW + 7)
    assert (cloud.user()["version"], cloud.user()["changed_at"]) == (2, NOW + 7)


def test_forgetting_returns_the_connections_user(cloud: Cloud) -> None:
    register(registry(cloud), "one")
    assert registry(cloud).forget("one", NOW + 1) == "123"
    assert registry(cloud).forget("one", NOW + 2) is None
    assert registry(cloud).forget("never there", NOW) is None


def test_a_half_forgotten_connection_is_forgotten_by_the_next_attempt(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Failing(Connections):
        def delete(self, subscriptions: Any) -> None:
            raise Unavailable("writing to Connections: 1 items stayed unprocessed")

    register(registry(cloud), "one")
    tables = Tables(cloud.dynamodb, NAMES)
    tables.connections = Failing(cloud.dynamodb, "ConnectionsTable")
    with pytest.raises(Unavailable):
        tables.registry.forget("one", NOW + 1)
    assert "connection_ids" not in cloud.user()
    assert registry(cloud).forget("one", NOW + 2) == "123"
    assert cloud.rows("Connections") == []
    assert cloud.user()["left_at"] == NOW + 1  # when it really left


def test_connections_are_forgotten_together_with_and_without_known_audiences(cloud: Cloud) -> None:
    register(registry(cloud), "one")
    register(registry(cloud), "two", audiences=["feed/7", "feed/8"])
    register(registry(cloud), "three", user_id="789")
    gone = [Gone("one", "123", [direct("one"), "feed/*/0"]), Gone("two"), Gone("never there")]
    assert registry(cloud).forget_all(gone, NOW + 1) == {}
    assert {row["connection_id"] for row in cloud.rows("Connections")} == {"three"}
    assert "connection_ids" not in cloud.user()
    assert cloud.user()["left_at"] == NOW + 1
    assert cloud.user("789")["connection_ids"] == {"three"}


@pytest.mark.parametrize("is_looked_up", [False, True])
@pytest.mark.parametrize(("stage", "audiences"), [("live", ["live/123"]), ("live", ["feed/7"]), ("feed", ["feed/*/0"])])
def test_wherever_forgetting_stops_a_connection_that_its_user_still_has_keeps_all_its_items(
    strict_cloud: Cloud, stage: str, audiences: list[str], is_looked_up: bool
) -> None:
    """They lead to it: one that hears only calls has no other item than its session."""
    left: list[int] = []

    def stops(**_: object) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise Unavailable("the function's time ran out")

    connections = [
        Connection(name, stage, "123", NOW, NOW // 1000 + 3600, chosen=frozenset({"calls"})) for name in ("one", "two")
    ]
    client = clients.client("dynamodb")
    for calls in range(6):
        for each in connections:
            registry(strict_cloud).register(
                each, audiences, issued_at_s=0, username=None, role=None, now_ms=NOW, lease_seconds=90, limit=2,
                dismiss=None,
            )  # fmt: skip
        before = {each.connection_id: audiences_of(strict_cloud, each.connection_id) for each in connections}
        gone = [Gone(name) if is_looked_up else Gone(name, "123", sorted(before[name])) for name in before]
        left[:] = [calls]
        client.meta.events.register("provide-client-params.dynamodb", stops)
        failed = registry(strict_cloud).forget_all(gone, NOW + 1)
        client.meta.events.unregister("provide-client-params.dynamodb", stops)
        still = strict_cloud.user().get("connection_ids", set())
        assert still <= failed.keys()
        assert {name: audiences_of(strict_cloud, name) for name in still} == {name: before[name] for name in still}
        assert registry(strict_cloud).forget_all([Gone(name) for name in before], NOW + 2) == {}
        assert "connection_ids" not in strict_cloud.user()
    assert calls == 5
    assert failed == {}


@pytest.mark.parametrize("count", [1, 98, 99, 120])
def test_a_connection_that_may_live_is_forgotten_in_a_transaction(strict_cloud: Cloud, count: int) -> None:
    register(registry(strict_cloud), "one", audiences=[f"feed/{number}" for number in range(count)])
    register(registry(strict_cloud), "two")
    meeting(strict_cloud, conflict=1.0)
    assert registry(strict_cloud).forget_all([Gone("one", may_live=True)], NOW + 1) == {}
    assert {row["connection_id"] for row in strict_cloud.rows("Connections")} == {"two"}
    assert strict_cloud.user()["connection_ids"] == {"two"}
    assert strict_cloud.user()["left_at"] == NOW + 1


def test_a_connection_that_may_live_and_cannot_be_forgotten_keeps_all_its_audiences(strict_cloud: Cloud) -> None:
    register(registry(strict_cloud), "one", audiences=["feed/1", "feed/2"])
    before = strict_cloud.rows("Connections"), strict_cloud.user()
    assert strict_cloud.strict is not None
    strict_cloud.strict.chances = Chances(conflict=1.0, in_a_row=100)
    failed = registry(strict_cloud).forget_all([Gone("one", may_live=True)], NOW + 1)
    assert str(failed["one"]) == "giving up a connection: TransactionConflict"
    assert (strict_cloud.rows("Connections"), strict_cloud.user()) == before


def test_a_connection_that_may_live_is_forgotten_though_its_user_does_not_have_it(cloud: Cloud) -> None:
    register(registry(cloud), "one")
    Users(cloud.dynamodb, "UsersTable").leave("123", "one", NOW + 1)
    assert registry(cloud).forget_all([Gone("one", may_live=True), Gone("never there", may_live=True)], NOW + 2) == {}
    assert cloud.rows("Connections") == []
    assert cloud.user()["left_at"] == NOW + 1


@pytest.mark.parametrize("may_live", [False, True])
def test_a_subscription_to_a_watched_user_that_is_all_that_is_left_is_deleted(cloud: Cloud, may_live: bool) -> None:
    tables = Tables(cloud.dynamodb, NAMES)
    tables.connections.subscribe(connection("one"), ["feed/7"])
    assert [row["connection_id"] for row in cloud.rows("Connections")] == ["watched/7"]
    assert tables.registry.forget_all([Gone("one", audiences=["feed/7"], may_live=may_live)], NOW) == {}
    assert cloud.rows("Connections") == []


def test_forgetting_deletes_what_led_to_a_connection_besides_what_is_known(cloud: Cloud) -> None:
    register(registry(cloud), "one", audiences=["feed/7"])
    tables = Tables(cloud.dynamodb, NAMES)
    tables.connections.subscribe(connection("one"), ["feed/8"])  # and the function ended before it noted it
    assert tables.registry.forget_all([Gone("one", audiences=["feed/7", "feed/8"])], NOW) == {}
    assert cloud.rows("Connections") == []
    assert "connection_ids" not in cloud.user()


@pytest.mark.parametrize("may_live", [False, True])
def test_what_leads_to_watched_users_is_deleted_last(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch, may_live: bool
) -> None:
    register(registry(cloud), "one", audiences=[f"feed/{number}" for number in range(100)])
    delete = Connections.delete

    def fails_in_the_middle(connections: Connections, subscriptions: Any) -> None:
        every = list(subscriptions)
        delete(connections, every[: len(every) // 2])
        raise Unavailable("writing to Connections: 1 items stayed unprocessed")

    with monkeypatch.context() as patch:
        patch.setattr(Connections, "delete", fails_in_the_middle)
        assert registry(cloud).forget_all([Gone("one", may_live=may_live)], NOW + 1).keys() == {"one"}
    assert "watched" in audiences_of(cloud, "one")
    assert registry(cloud).forget_all([Gone("one", may_live=may_live)], NOW + 2) == {}
    assert cloud.rows("Connections") == []


def test_a_connection_that_watches_users_is_stored_in_a_transaction_without_them(cloud: Cloud) -> None:
    parts: list[int] = []
    cloud.dynamodb.meta.events.register(
        "provide-client-params.dynamodb.TransactWriteItems",
        lambda params, **_: parts.append(len(params["TransactItems"])),
    )
    register(registry(cloud), "one", audiences=[f"feed/{number}" for number in range(100)])
    assert parts == [2]  # its user and its session


def test_forgetting_a_connection_again_changes_nothing(cloud: Cloud) -> None:
    register(registry(cloud), "one")
    gone = [Gone("one", "123", [direct("one"), "feed/*/0"])]
    for now in (NOW + 1, NOW + 2):
        assert registry(cloud).forget_all(gone, now) == {}
    assert cloud.user()["left_at"] == NOW + 1


def test_a_connection_that_cannot_be_forgotten_does_not_keep_others(cloud: Cloud) -> None:
    class Failing(Users):
        def leave(self, user_id: str, connection_id: str, now_ms: int, seen_ms: int | None = None) -> None:
            if user_id == "789":
                raise Unavailable("updating a user: ThrottlingException")
            super().leave(user_id, connection_id, now_ms, seen_ms)

    register(registry(cloud), "one")
    register(registry(cloud), "two", user_id="789")
    tables = Tables(cloud.dynamodb, NAMES)
    tables.users = Failing(cloud.dynamodb, "UsersTable")
    failed = tables.registry.forget_all([Gone("two"), Gone("one")], NOW + 1)
    assert {name: str(problem) for name, problem in failed.items()} == {"two": "updating a user: ThrottlingException"}
    assert {row["connection_id"] for row in cloud.rows("Connections")} == {"two"}


def test_connections_whose_items_cannot_be_deleted_are_reported(cloud: Cloud) -> None:
    class Failing(Connections):
        def delete(self, subscriptions: Any) -> None:
            raise Unavailable("writing to Connections: 1 items stayed unprocessed")

    register(registry(cloud), "one")
    tables = Tables(cloud.dynamodb, NAMES)
    tables.connections = Failing(cloud.dynamodb, "ConnectionsTable")
    assert tables.registry.forget_all([Gone("one"), Gone("never there")], NOW + 1).keys() == {"one"}


def test_a_connection_that_may_live_loses_its_session_before_what_does_not_fit(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object) -> None:
        raise Unavailable("writing to Connections: 1 items stayed unprocessed")

    register(registry(cloud), "one")
    more = [f"calls/{number}" for number in range(120)]  # sorted before a session
    registry(cloud)._connections.subscribe(connection("one"), more)
    monkeypatch.setattr(Connections, "delete", never)
    assert registry(cloud).forget_all([Gone("one", may_live=True)], NOW + 1).keys() == {"one"}
    left = audiences_of(cloud, "one")
    assert direct("one") not in left
    assert len(left) == 23  # of 122 items, of which the transaction deleted 99
    assert "connection_ids" not in cloud.user()


def test_a_connection_that_may_live_is_forgotten_with_one_read_and_one_transaction(strict_cloud: Cloud) -> None:
    register(registry(strict_cloud), "one", audiences=["feed/1", "feed/2"])
    made: list[str] = []

    def note(model: Any, **_: object) -> None:
        made.append(model.name)

    clients.client("dynamodb").meta.events.register("provide-client-params.dynamodb", note)
    assert registry(strict_cloud).forget_all([Gone("one", may_live=True)], NOW + 1) == {}
    assert made == ["Query", "TransactWriteItems"]
