"""broadcast, from the Events stream to the management API."""

from __future__ import annotations

import json
from typing import Any

import pytest

from realtime.errors import ConfigurationError, Unavailable
from realtime.posting.delivery import Outcome
from realtime.tables.dynamodb import item
from tests.logs import LogLines
from tests.samples import names, sample
from tests.support.cloud import Cloud
from tests.unit.fakes import Clock, FakePoster

FEED, PRESENCE, CALLS = "RfGx1dQAIAMCIhA=", "RfGx9eWboAMCLrQ=", "RfGx7cN9IAMCKtw="
DONE: dict[str, Any] = {"batchItemFailures": []}


@pytest.fixture
def cloud(cloud: Cloud) -> Cloud:
    """Return the cloud with jane_smith connected to feed, calls and presence, where she watches herself."""
    connect = cloud.function("connect")
    for name in ("connect.token-in-query", "connect.token-in-header", "connect.watching"):
        connect(sample(name))
    return cloud


def posted(cloud: Cloud) -> dict[str, list[str]]:
    """Return the types of the messages that were posted to each connection."""
    return {
        each.connection_id: [json.loads(frame.body)["type"] for frame in each.frames]
        for each in cloud.poster.deliveries
    }


@pytest.mark.parametrize(
    ("function", "name", "expected"),
    [
        ("broadcast", "broadcast.personal", {CALLS: ["call_started"]}),
        ("broadcast-wide", "broadcast.presence", {FEED: ["listener_online"]}),
        ("broadcast", "broadcast.presence", {PRESENCE: ["presence_update"]}),  # she watches
        ("broadcast", "broadcast.direct-with-close", {FEED: ["error"]}),
    ],
)
def test_a_record_goes_to_the_subscribers_of_its_audience_and_to_no_other(
    cloud: Cloud, function: str, name: str, expected: dict[str, list[str]]
) -> None:
    assert cloud.function(function)(sample(name)) == DONE
    assert posted(cloud) == expected


def test_a_frame_is_posted_exactly_as_it_was_recorded_and_brings_a_position(cloud: Cloud) -> None:
    cloud.function("broadcast")(sample("broadcast.personal"))
    (frame,) = cloud.poster.to(CALLS).frames
    message = sample("broadcast.personal")["Records"][0]["dynamodb"]["NewImage"]["message"]["S"]
    assert frame.body.decode().startswith(message.removesuffix("}") + ',"position":{"calls/123":"')


def test_a_connection_older_than_it_can_be_is_not_posted_to(cloud: Cloud, clock: Clock) -> None:
    clock.now += 3 * 3600
    cloud.function("broadcast")(sample("broadcast.personal"))
    assert posted(cloud) == {}


def test_a_connection_that_is_gone_is_forgotten_with_its_subscriptions(cloud: Cloud) -> None:
    cloud.poster = FakePoster({PRESENCE: Outcome.GONE})
    assert cloud.function("broadcast")(sample("broadcast.presence")) == DONE
    assert {row["connection_id"] for row in cloud.rows("Connections")} == {FEED, CALLS}
    assert cloud.user()["connection_ids"] == {FEED, CALLS}
    assert cloud.user()["is_online"] is True


def test_a_subscription_to_a_watched_user_that_a_forgotten_connection_left_is_deleted(cloud: Cloud) -> None:
    row = cloud.row("Connections", connection_id="watched/123", audience=PRESENCE)
    assert row is not None
    gone = sample("disconnect")
    gone["requestContext"] |= {"connectionId": PRESENCE, "stage": "presence"}
    cloud.function("disconnect")(gone)
    cloud.dynamodb.put_item(TableName="ConnectionsTable", Item=item(row))
    cloud.poster = FakePoster({PRESENCE: Outcome.GONE})
    assert cloud.function("broadcast")(sample("broadcast.presence")) == DONE
    assert cloud.audiences_of(PRESENCE) == set()


def numbers(event: dict[str, Any]) -> list[str]:
    """Return the sequence numbers of an event's records."""
    return [record["dynamodb"]["SequenceNumber"] for record in event["Records"]]


def test_records_that_there_was_no_time_for_are_handed_back(cloud: Cloud) -> None:
    cloud.poster = FakePoster(room=1)
    event = sample("broadcast.personal")
    event["Records"] += sample("broadcast.presence")["Records"]
    answer = cloud.function("broadcast-wide")(event)
    assert answer == {"batchItemFailures": [{"itemIdentifier": numbers(event)[2]}]}


def test_without_time_for_a_single_record_the_batch_is_to_be_halved(cloud: Cloud) -> None:
    cloud.poster = FakePoster(room=0)
    with pytest.raises(Unavailable, match="time ran out"):
        cloud.function("broadcast")(sample("broadcast.personal"))


def poison(event: dict[str, Any], place: int) -> dict[str, Any]:
    """Make a record unreadable; return the message that the dead-letter queue must get about it."""
    change = event["Records"][place]["dynamodb"]
    del change["NewImage"]["kind" if "kind" in change["NewImage"] else "feed_kind"]
    return {"keys": change["Keys"], "sequence_number": change["SequenceNumber"]}


def given_up(cloud: Cloud) -> list[dict[str, Any]]:
    found = cloud.messages("StreamFailures")
    assert all("kind'" in each["MessageAttributes"]["reason"]["StringValue"] for each in found)
    return [json.loads(each["Body"]) for each in found]


def test_a_record_that_cannot_be_read_is_given_up_and_holds_up_no_other(cloud: Cloud, logged: LogLines) -> None:
    event = sample("broadcast.personal")
    event["Records"] += sample("broadcast.presence")["Records"]
    expected = poison(event, 1)
    assert cloud.function("broadcast-wide")(event) == DONE
    assert posted(cloud) == {CALLS: ["call_started"], FEED: ["listener_online"]}
    assert given_up(cloud) == [expected]
    assert "giving up a record" in logged.text


def test_a_batch_of_unreadable_records_is_done(cloud: Cloud) -> None:
    event = sample("broadcast.presence")
    expected = poison(event, 0)
    assert cloud.function("broadcast")(event) == DONE
    assert given_up(cloud) == [expected]


def test_an_unreadable_record_is_given_up_once_all_before_it_are_done(cloud: Cloud) -> None:
    cloud.poster = FakePoster(room=1)
    event = sample("broadcast.personal")
    event["Records"] += sample("broadcast.presence")["Records"] * 2
    first, event["Records"][3] = poison(event, 1), {**event["Records"][3], "dynamodb": {"SequenceNumber": "9"}}
    answer = cloud.function("broadcast-wide")(event)
    assert answer == {"batchItemFailures": [{"itemIdentifier": numbers(event)[2]}]}
    assert given_up(cloud) == [first]


def test_a_missing_right_fails_the_invocation(cloud: Cloud) -> None:
    cloud.poster = FakePoster({CALLS: Outcome.FORBIDDEN})
    with pytest.raises(ConfigurationError, match="execute-api:ManageConnections"):
        cloud.function("broadcast")(sample("broadcast.personal"))


def test_outcomes_are_counted_in_one_line_of_the_log(cloud: Cloud, logged: LogLines) -> None:
    cloud.function("broadcast")(sample("broadcast.personal"))
    (line,) = logged.lines
    assert (line["records"], line["delivered"]) == (2, 1)


@pytest.mark.parametrize("name", names("broadcast"))
def test_no_message_is_logged(cloud: Cloud, logged: LogLines, name: str) -> None:
    cloud.function("broadcast")(sample(name))
    assert logged.lines
    assert "data" not in logged.text
    assert "jane_smith" not in logged.text
