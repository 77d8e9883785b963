"""The item of the stragglers, and the way of a straggler through the real handlers, against the tables."""

from __future__ import annotations

import json
from typing import Any

import pytest

from realtime.aws import clients
from realtime.posting.delivery import Outcome
from realtime.tables import TableNames, Tables
from realtime.tables.events import STRAGGLERS_TTL_SECONDS
from realtime.tables.stragglers import CAPACITY, SKIPPED_TOGETHER, Behind, Stragglers, mark_of
from tests.samples import sample
from tests.support.cloud import Cloud
from tests.support.meter import size
from tests.support.strict_dynamodb import Chances
from tests.unit.fakes import FakePoster

NOW_S = 1_705_314_600


def stragglers(cloud: Cloud) -> Stragglers:
    client = clients.client("dynamodb") if cloud.strict else cloud.dynamodb
    return Tables(client, TableNames(events="EventsTable")).stragglers


def test_nobody_is_behind_at_first(cloud: Cloud) -> None:
    assert stragglers(cloud).read() == Behind()


def test_those_with_a_mark_and_those_skipped_are_behind(cloud: Cloud) -> None:
    table = stragglers(cloud)
    table.add(["one a1", "one b2", "two a2"], NOW_S)
    assert table.skip({"two": ["two a2"]})
    behind = table.read()
    assert behind == Behind({"one": ["one a1", "one b2"], "two": ["two a2"]}, frozenset({"two"}), 4)
    assert behind.connection_ids == {"one", "two"}
    (row,) = cloud.rows("Events")
    assert row["expires_at"] == NOW_S + STRAGGLERS_TTL_SECONDS
    assert "reach" not in row  # no mapping of the stream is shown it


def test_a_straggler_is_healed_when_its_last_mark_is_taken_away(cloud: Cloud) -> None:
    table = stragglers(cloud)
    table.add(["one a1", "one b2"], NOW_S)
    assert table.heal("one", "a1")
    assert table.read().connection_ids == {"one"}
    assert table.heal("one", "b2")
    assert table.heal("one", "b2")  # after a lost answer
    assert table.read() == Behind()


def test_a_straggler_that_was_skipped_is_not_healed(cloud: Cloud) -> None:
    table = stragglers(cloud)
    table.add(["one a1"], NOW_S)
    assert table.skip({"one": ["one a1"]})
    assert not table.heal("one", "a1")
    assert table.read().connection_ids == {"one"}


def test_a_connection_that_was_healed_is_not_skipped_nor_is_any_other_with_it(cloud: Cloud) -> None:
    table = stragglers(cloud)
    table.add(["one a1", "two a2", "two b2"], NOW_S)
    table.heal("one", "a1")
    assert not table.skip({"one": ["one a1"], "two": ["two a2"]})
    assert not table.read().skipped
    table.heal("two", "a2")
    assert table.skip({"two": ["two a2", "two b2"]})  # it has one of its marks


def test_a_connection_that_was_closed_leaves_no_trace(cloud: Cloud) -> None:
    table = stragglers(cloud)
    table.add(["one a1", "two a2"], NOW_S)
    table.skip({"one": ["one a1"]})
    table.remove("one", ["one a1"])
    table.remove("never there", [])
    assert table.read() == Behind({"two": ["two a2"]}, frozenset(), 1)


def test_as_many_as_are_skipped_together_fit_into_one_condition(strict_cloud: Cloud) -> None:
    table = stragglers(strict_cloud)
    marks = {f"L0SM9cOFvHcCI{number:02}=": [f"L0SM9cOFvHcCI{number:02}= 5f3a9c01{number}"] for number in range(50)}
    assert len(marks) == SKIPPED_TOGETHER
    table.add([mark for each in marks.values() for mark in each], NOW_S)
    assert table.skip(marks)


def test_a_full_item_is_at_most_100_kb(cloud: Cloud) -> None:
    ids = [f"L0SM9cOFvHc{number:04}=" for number in range(CAPACITY)]
    item: Any = {"late": {"SS": [mark_of(each, "5f3a9c01123") for each in ids]}}
    assert size(item) <= 100 * 1024


def test_no_more_fall_behind_than_the_item_takes_however_many_add_at_once(strict_cloud: Cloud) -> None:
    table = stragglers(strict_cloud)
    for begin in range(0, CAPACITY, 500):
        assert table.add([f"c{number} a" for number in range(begin, begin + 500)], NOW_S)
    assert not table.add(["one a1", "two a2"], NOW_S)
    assert table.add(["c0 a", "c1 a"], NOW_S)  # after a lost answer
    assert table.read().count == CAPACITY


@pytest.mark.parametrize("change", ["add", "skip", "heal", "remove"])
def test_a_lost_answer_changes_no_answer(strict_cloud: Cloud, change: str) -> None:
    table = stragglers(strict_cloud)
    table.add(["one a1"], NOW_S)
    strict_cloud.strict.chances = Chances(lost=0.4)  # type: ignore[union-attr]
    for _ in range(5):
        match change:
            case "add":
                assert table.add(["one b2"], NOW_S)
            case "skip":
                assert table.skip({"one": ["one a1"]})
            case "heal":
                assert table.heal("one", "a1")
            case _:
                table.remove("one", ["one a1"])


def test_a_straggler_goes_from_broadcast_through_the_queue_to_late(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The queue's message is JSON: the handlers agree about it."""
    connect, (record, *_) = cloud.function("connect"), sample("broadcast.personal")["Records"]
    event = sample("connect.token-in-query")
    event["requestContext"]["stage"] = "calls"
    assert connect(event)["statusCode"] == 200
    connection_id = event["requestContext"]["connectionId"]
    cloud.poster = FakePoster({connection_id: Outcome.LATE})
    cloud.function("broadcast")({"Records": [record]})
    (message,) = cloud.messages("Late")
    assert stragglers(cloud).read().connection_ids == {connection_id}
    (late,) = sample("late.straggler")["Records"]
    cloud.poster = FakePoster()
    assert cloud.function("late")({"Records": [{**late, "body": message["Body"]}]}) == {"batchItemFailures": []}
    (frame,) = cloud.poster.to(connection_id).frames
    message = json.loads(frame.body)
    assert message.pop("position").keys() == {"calls/123"}
    assert message == json.loads(record["dynamodb"]["NewImage"]["message"]["S"])
    assert stragglers(cloud).read() == Behind()


def test_the_sample_of_a_straggler_is_read(cloud: Cloud) -> None:
    cloud.poster = FakePoster()
    assert cloud.function("late")(sample("late.straggler")) == {"batchItemFailures": []}
    assert len(cloud.poster) == 0  # it is not behind: the message came again


def test_a_message_of_somebody_else_comes_again_until_it_is_in_the_dead_letter_queue(cloud: Cloud) -> None:
    (record,) = sample("late.straggler")["Records"]
    answer = cloud.function("late")({"Records": [{**record, "body": "[]"}]})
    assert answer == {"batchItemFailures": [{"itemIdentifier": record["messageId"]}]}
