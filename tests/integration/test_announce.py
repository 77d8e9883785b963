"""announce, from the Users stream to clients, backends and the delay queue."""

from __future__ import annotations

import json
from typing import Any

import pytest

from realtime.errors import ConfigurationError
from realtime.tables.entries import Entry, read_entries
from tests.logs import LogLines
from tests.samples import names, sample
from tests.support.cloud import Cloud

DONE: dict[str, Any] = {"batchItemFailures": []}
SHARDS = range(2)


def recorded(cloud: Cloud, kind: str) -> dict[str, dict[str, Any]]:
    """Return the frames of one type, by audience."""
    return {entry.audience: json.loads(entry.message) for entry in entries(cloud) if entry.kind == kind}


def entries(cloud: Cloud) -> list[Entry]:
    """Return the entries that the items stand for, as the two functions that post read them."""
    items = cloud.dynamodb.scan(TableName="EventsTable")["Items"]
    return [entry for each in items for reach in ("wide", "narrow") for entry in read_entries(each, reach)]


def everyone(endpoint: str) -> set[str]:
    return {f"{endpoint}/*/{shard}" for shard in SHARDS} | {f"{endpoint}/123"}


@pytest.mark.parametrize(
    ("name", "on_feed", "on_presence", "bus_events"),
    [
        ("announce.came-online", "listener_online", "presence_update", ["user_online"]),
        ("announce.went-offline", "listener_offline", "presence_update", ["user_offline"]),
        ("announce.became-busy", "listener_busy", "status_change", []),
    ],
)
def test_a_change_is_announced_to_all_its_audiences_and_to_backends(
    cloud: Cloud, name: str, on_feed: str, on_presence: str, bus_events: list[str]
) -> None:
    assert cloud.function("announce", AudienceShards=2)(sample(name)) == DONE
    assert set(recorded(cloud, on_feed)) == everyone("feed")
    assert set(recorded(cloud, on_presence)) == everyone("presence")
    assert len(entries(cloud)) == 6
    assert len(cloud.rows("Events")) == 2  # one for each shard, whatever the number of audiences
    assert [event["detail-type"] for event in cloud.told()] == bus_events


def test_a_listeners_message_has_exactly_the_documented_keys(cloud: Cloud) -> None:
    cloud.function("announce")(sample("announce.came-online"))
    for message in recorded(cloud, "listener_online").values():
        assert message.pop("id")
        assert message == {
            "type": "listener_online",
            "data": {
                "user_id": 123,
                "username": "jane_smith",
                "is_online": True,
                "is_busy": False,
                "last_seen": "2024-01-15T10:30:00.400Z",
            },
            "timestamp": "2024-01-15T10:30:00.400Z",
            "version": 1,
        }


def test_the_sample_of_presence_is_what_announce_writes(cloud: Cloud) -> None:
    event = sample("announce.came-online")
    event["Records"][0]["dynamodb"]["NewImage"]["hidden_from"] = {"SS": ["666"]}
    cloud.function("announce")(event)
    written = {
        record["dynamodb"]["NewImage"]["audience"]["S"]: record["dynamodb"]["NewImage"]
        for record in cloud.stream("Events")
    }
    (record,) = sample("broadcast.presence")["Records"]
    assert written == {"presence/*/0": record["dynamodb"]["NewImage"]}


def test_backends_get_an_event_with_our_source(cloud: Cloud) -> None:
    cloud.function("announce")(sample("announce.came-online"))
    (event,) = cloud.told()
    assert event["source"] == "realtime"
    assert event["detail"].pop("id")
    assert event["detail"] == {
        "user_id": 123,
        "username": "jane_smith",
        "version": 1,
        "last_seen": "2024-01-15T10:30:00.400Z",
        "connections": 1,
    }


def test_the_end_of_the_last_connection_orders_a_check_after_the_grace_period(cloud: Cloud) -> None:
    assert cloud.function("announce", GracePeriodSeconds=10)(sample("announce.last-connection-left")) == DONE
    attributes = cloud.sqs.get_queue_attributes(
        QueueUrl=cloud.stack.physical["DeadlinesQueue"], AttributeNames=["ApproximateNumberOfMessagesDelayed"]
    )["Attributes"]
    assert attributes["ApproximateNumberOfMessagesDelayed"] == "1"
    assert cloud.rows("Events") == []
    assert cloud.told() == []


def test_the_sample_of_a_check_is_what_announce_orders(cloud: Cloud) -> None:
    cloud.function("announce", GracePeriodSeconds=0)(sample("announce.last-connection-left"))
    (message,) = cloud.messages("Deadlines")
    assert message["Body"] == sample("deadlines.offline")["Records"][0]["body"]


def test_a_repeated_batch_changes_nothing(cloud: Cloud) -> None:
    announce = cloud.function("announce")
    announce(sample("announce.came-online"))
    before = cloud.rows("Events")
    cloud.stream("Events")
    announce(sample("announce.came-online"))
    assert cloud.rows("Events") == before
    ids = [event["detail"]["id"] for event in cloud.told()]
    assert len(ids) == 2
    assert len(set(ids)) == 1


def test_many_changes_at_once_are_all_announced(cloud: Cloud) -> None:
    event = sample("announce.came-online")
    (record,) = event["Records"]
    event["Records"] = []
    for n in range(30):
        text = json.dumps(record).replace('"123"', f'"{n + 1000}"')
        event["Records"].append(json.loads(text))
    cloud.function("announce")(event)
    assert len(cloud.rows("Events")) == 30


@pytest.mark.parametrize("name", names("announce"))
def test_announce_raises_a_failure_so_that_the_batch_is_tried_again(cloud: Cloud, name: str) -> None:
    if name == "announce.last-connection-left":
        cloud.sqs.delete_queue(QueueUrl=cloud.stack.physical["DeadlinesQueue"])
    else:
        cloud.dynamodb.delete_table(TableName="EventsTable")
    with pytest.raises(ConfigurationError):
        cloud.function("announce")(sample(name))
    assert cloud.told() == []


def test_one_line_is_logged_for_a_batch(cloud: Cloud, logged: LogLines) -> None:
    cloud.function("announce")(sample("announce.came-online"))
    (line,) = logged.lines
    assert (line["message"], line["changes"], line["messages"]) == ("announced", 1, 1)
