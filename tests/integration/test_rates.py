from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from realtime.aws import clients
from realtime.tables.connections import Connection, Connections
from realtime.tables.rates import Bucket, Rates
from realtime.tables.transactions import Transaction
from tests.support.cloud import STORY_BEGINS, Cloud

NOW = STORY_BEGINS * 1000
COST, ROOM = 100, 1900  # ms: ten a second, twenty at once
ONE = Connection("one=", "feed", "123", NOW, STORY_BEGINS + 3600)


@pytest.fixture
def rates(cloud: Cloud) -> Rates:
    writes = Connections(cloud.dynamodb, "ConnectionsTable").registration_writes(ONE, [], STORY_BEGINS + 900)
    Transaction(cloud.dynamodb).add(*writes).commit("a test")
    return Rates(cloud.dynamodb, "ConnectionsTable", "EventsTable")


def test_a_connections_bucket_is_in_its_session(cloud: Cloud, rates: Rates) -> None:
    assert rates.take_of_connection("one=", COST, ROOM, NOW, seen_ms=0) == Bucket(0, NOW + COST, is_granted=True)
    session = Connections(cloud.dynamodb, "ConnectionsTable").session("one=")
    assert session is not None
    assert session.full_at_ms == NOW + COST
    assert session.connection == ONE


@pytest.mark.parametrize("seen_ms", [0, NOW + 50, NOW + 10_000], ids=["old", "true", "of another clock"])
def test_a_bucket_is_advanced_whatever_the_session_showed(rates: Rates, seen_ms: int) -> None:
    rates.take_of_connection("one=", COST, ROOM, NOW - 50, seen_ms=0)
    taken = rates.take_of_connection("one=", COST, ROOM, NOW, seen_ms=seen_ms)
    assert taken == Bucket(NOW + 50, NOW + 50 + COST, is_granted=True)


def test_a_bucket_that_has_filled_up_begins_anew(rates: Rates) -> None:
    rates.take_of_connection("one=", COST, ROOM, NOW, seen_ms=0)
    taken = rates.take_of_connection("one=", COST, ROOM, NOW + 5000, seen_ms=NOW + COST)
    assert taken == Bucket(NOW + COST, NOW + 5000 + COST, is_granted=True)


def test_twenty_are_granted_at_once_and_no_more(rates: Rates) -> None:
    taken = [rates.take_of_connection("one=", COST, ROOM, NOW, seen_ms=0) for _ in range(25)]
    assert [each.is_granted for each in taken if each] == [True] * 20 + [False] * 5
    assert taken[-1] == Bucket(NOW + 2000, NOW + 2000, is_granted=False)


def test_all_instances_together_are_granted_no_more(strict_cloud: Cloud) -> None:
    rates = Rates(clients.client("dynamodb"), "ConnectionsTable", "EventsTable")  # moto alone is not atomic
    with ThreadPoolExecutor(8) as threads:
        taken = list(threads.map(lambda _: rates.take_of_user("123", COST, ROOM, NOW), range(40)))
    assert sum(each.is_granted for each in taken) == 20


def test_a_charge_is_made_even_into_debt(rates: Rates) -> None:
    rates.charge_connection("one=", 30_000, NOW)
    assert rates.charge_connection("one=", 30_000, NOW) == Bucket(NOW + 30_000, NOW + 60_000, is_granted=True)
    taken = rates.take_of_connection("one=", COST, ROOM, NOW, seen_ms=0)
    assert taken == Bucket(NOW + 60_000, NOW + 60_000, is_granted=False)


def test_refusals_do_not_lengthen_the_wait(rates: Rates) -> None:
    rates.count_refusals("one=", 30_000, NOW)
    assert rates.take_of_connection("one=", COST, ROOM, NOW, seen_ms=0) == Bucket(0, NOW + COST, is_granted=True)


def test_a_forgotten_connection_does_not_come_back_as_a_ghost(cloud: Cloud, rates: Rates) -> None:
    assert rates.take_of_connection("gone=", COST, ROOM, NOW, seen_ms=0) is None
    assert rates.count_refusals("gone=", COST, NOW) is None
    assert rates.charge_connection("gone=", COST, NOW) is None
    assert {row["connection_id"] for row in cloud.rows("Connections")} == {"one="}


def test_buckets_of_users_and_addresses_are_items_of_their_own_that_are_deleted_later(
    cloud: Cloud, rates: Rates
) -> None:
    rates.take_of_user("123", COST, ROOM, NOW)
    rates.take_of_address("192.0.2.1", 2 * COST, ROOM, NOW)
    found = {row["audience"]: (row["full_at"], row["expires_at"]) for row in cloud.rows("Events")}
    expires_at = STORY_BEGINS + 3600
    assert found == {
        "rate/user/123": (NOW + COST, expires_at),
        "rate/ip/192.0.2.1": (NOW + 2 * COST, expires_at),
    }
    assert cloud.stream("Events")
    assert not any("reach" in row for row in cloud.rows("Events"))  # so `broadcast` is not shown them
