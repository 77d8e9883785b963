"""How many listeners are online: what is counted, and how rarely."""

from __future__ import annotations

import json
from typing import Any

import pytest

from realtime.errors import ConfigurationError, Unavailable
from realtime.occupancy import KEPT_MS, Occupancy
from realtime.tables import TableNames, Tables
from realtime.tables.census import Census
from realtime.tables.tally import Tally
from tests.integration.test_registry import register, registry
from tests.samples import sample
from tests.support.cloud import STORY_BEGINS, Cloud
from tests.unit.fakes import Clock, Sleeps

NAMES = TableNames("ConnectionsTable", "UsersTable", "EventsTable")


@pytest.fixture
def counts(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many users were counted, each time."""
    seen: list[int] = []
    online = Census.online

    def counted(self: Census, feed_role: str) -> Any:
        found = online(self, feed_role)
        seen.append(found.users)
        return found

    monkeypatch.setattr(Census, "online", counted)
    return seen


def instance(cloud: Cloud, clock: Clock, sleeps: Sleeps) -> Occupancy:
    """A function instance of its own."""
    return Occupancy(Tables(cloud.dynamodb, NAMES), feed_role="listener", clock=clock, pause=sleeps)


def test_listeners_are_counted_and_other_users_are_not(cloud: Cloud) -> None:
    cloud.function("connect")(sample("connect.token-in-query"))
    register(registry(cloud), "a=", "5", role="visitor")
    answer = json.loads(cloud.function("default")(sample("default.count"))["body"])
    assert answer["type"] == "occupancy"
    assert answer["data"] == {
        "listeners_online": 1,
        "listeners_busy": 0,
        "counted_at": "2024-01-15T10:30:00.400Z",
        "refresh_after": 5,
    }


def test_a_connection_that_hears_no_presence_is_told_where_to_ask(cloud: Cloud) -> None:
    cloud.function("connect")(sample("connect.token-in-header"))
    event = {**sample("default.history"), "body": sample("default.count")["body"]}
    assert "connect to feed or presence" in cloud.function("default")(event)["body"]


def test_one_count_serves_all_instances_for_some_seconds(
    cloud: Cloud, clock: Clock, sleeps: Sleeps, counts: list[int]
) -> None:
    one, other = instance(cloud, clock, sleeps), instance(cloud, clock, sleeps)
    register(registry(cloud), "a=")
    assert one.read().listeners == other.read().listeners == 1
    register(registry(cloud), "b=", "5")
    clock.now += KEPT_MS / 1000 - 0.1
    assert one.read().listeners == other.read().listeners == 1
    clock.now += 0.1
    assert other.read().listeners == one.read().listeners == 2
    assert counts == [1, 2]


def test_while_one_counts_the_others_answer_with_the_last_count(
    cloud: Cloud, clock: Clock, sleeps: Sleeps, counts: list[int]
) -> None:
    tables = Tables(cloud.dynamodb, NAMES)
    now_ms = int(clock.now * 1000)
    tables.tally.publish(Tally(7, 7, 3, now_ms - 60_000))
    assert tables.tally.claim(now_ms, now_ms + 1000)
    assert instance(cloud, clock, sleeps).read().listeners == 7
    clock.now += 1.1  # whoever claimed it has died
    assert instance(cloud, clock, sleeps).read().listeners == 0
    assert counts == [0]


def test_the_more_are_online_the_more_rarely_they_are_counted(
    cloud: Cloud, clock: Clock, sleeps: Sleeps, counts: list[int]
) -> None:
    Tables(cloud.dynamodb, NAMES).tally.publish(Tally(100_000, 100_000, 0, int(clock.now * 1000)))
    clock.now += 49
    assert instance(cloud, clock, sleeps).read().listeners == 100_000
    clock.now += 2
    assert instance(cloud, clock, sleeps).read().listeners == 0
    assert counts == [0]


def test_an_older_count_never_replaces_a_younger_one(cloud: Cloud) -> None:
    tally = Tables(cloud.dynamodb, NAMES).tally
    tally.publish(Tally(2, 2, 0, STORY_BEGINS * 1000))
    tally.publish(Tally(1, 1, 0, STORY_BEGINS * 1000 - 1))
    found = tally.read()
    assert found
    assert found.users == 2


def test_a_first_count_that_never_comes_is_an_error_that_may_pass(cloud: Cloud, clock: Clock) -> None:
    tables, now_ms = Tables(cloud.dynamodb, NAMES), int(clock.now * 1000)
    assert tables.tally.claim(now_ms, now_ms + 60_000)

    def pause(seconds: float) -> None:
        clock.now += seconds

    with pytest.raises(Unavailable):
        Occupancy(tables, feed_role="listener", clock=clock, pause=pause).read()


def test_a_claim_lasts_until_its_time_or_until_its_count_is_shown(cloud: Cloud) -> None:
    tally, now_ms = Tables(cloud.dynamodb, NAMES).tally, STORY_BEGINS * 1000
    assert tally.claim(now_ms, now_ms + 1000)
    assert not tally.claim(now_ms + 1000, now_ms + 2000)
    assert tally.claim(now_ms + 1001, now_ms + 2000)
    tally.publish(Tally(5, 3, 1, now_ms + 1001))
    assert tally.claim(now_ms + 1002, now_ms + 2000)
    assert tally.read() == Tally(users=5, listeners=3, busy=1, counted_at_ms=now_ms + 1001)


def test_a_count_lapses_an_hour_after_it_was_claimed(cloud: Cloud) -> None:
    Tables(cloud.dynamodb, NAMES).tally.claim(STORY_BEGINS * 1000 + 900, STORY_BEGINS * 1000 + 1900)
    (row,) = cloud.rows("Events")
    assert row["expires_at"] == STORY_BEGINS + 3600


def test_an_error_says_that_it_was_about_counting(cloud: Cloud) -> None:
    tally = Tables(cloud.dynamodb, TableNames(events="Nowhere")).tally
    with pytest.raises(ConfigurationError, match="reading how many are online: "):
        tally.read()
    with pytest.raises(ConfigurationError, match="counting who is online: "):
        tally.claim(0, 1)
