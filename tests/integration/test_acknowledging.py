"""From a message that must be acknowledged to the event for a backend if it is not."""

from __future__ import annotations

import json
from typing import Any

import pytest

from realtime.aws.queues import Queue
from realtime.errors import Unavailable
from realtime.tables.acknowledgements import Acknowledgements
from tests.samples import backend_event, sample
from tests.support.cloud import Cloud
from tests.unit.fakes import Clock

CALLER, CALLEE = "123", "789"


def call(ack_within: int = 15) -> dict[str, Any]:
    event: dict[str, Any] = backend_event("call_started")
    event["detail"]["delivery"] = {"ack_within": ack_within}
    return event


def frame(kind: str, **data: Any) -> dict[str, Any]:
    event: dict[str, Any] = sample(f"default.{kind}")
    return {**event, "body": json.dumps({"type": kind, "data": data})}


def orders(cloud: Cloud) -> list[dict[str, Any]]:
    """Take the checks that were ordered; one may come as soon as it is due."""
    return [json.loads(each["Body"]) for each in cloud.messages("Deadlines")]


def look(cloud: Cloud, *found: dict[str, Any]) -> None:
    """Do checks, as the queue would bring them."""
    (record,) = sample("deadlines.acknowledged")["Records"]
    records = [{**record, "messageId": str(at), "body": json.dumps(each)} for at, each in enumerate(found)]
    assert cloud.function("deadlines")({"Records": records}) == {"batchItemFailures": []}


def order(cloud: Cloud, *user_ids: str) -> dict[str, Any]:
    """Return the check that is ordered for users who are connected."""
    return {
        "check": "acknowledged",
        "event_id": message_id(cloud),
        "endpoint": "calls",
        "user_ids": list(user_ids),
        "reason": "not_acknowledged",
        "trace_id": backend_event("call_started")["id"],
    }


def message_id(cloud: Cloud) -> str:
    (found,) = {row["event_id"] for row in cloud.rows("Events") if row["audience"] == "calls/123"}
    return str(found)


def awaited(cloud: Cloud) -> set[str]:
    return {row["audience"] for row in cloud.rows("Events") if row["audience"].startswith("awaited/")}


def undelivered(cloud: Cloud) -> list[dict[str, Any]]:
    return [each["detail"] for each in cloud.told() if each["detail-type"] == "message_undelivered"]


@pytest.fixture
def cloud(cloud: Cloud) -> Cloud:
    """Connect the caller to calls; the callee is not connected at all."""
    cloud.function("connect")(sample("connect.token-in-header"))
    return cloud


@pytest.fixture
def delays(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Record the delays of checks, and deliver them at once."""
    noted: list[int] = []
    send = Queue.send

    def at_once(self: Queue, body: dict[str, Any], *, delay_seconds: int = 0, **more: Any) -> None:
        noted.append(delay_seconds)
        send(self, body, **more)

    monkeypatch.setattr(Queue, "send", at_once)
    return noted


def test_a_message_to_be_acknowledged_says_so(cloud: Cloud) -> None:
    cloud.function("ingest")(call())
    (row,) = (row for row in cloud.rows("Events") if row["audience"] == "calls/123")
    assert json.loads(row["message"])["ack"] is True
    assert awaited(cloud) == {"awaited/123", "awaited/789"}


def test_what_is_awaited_is_deleted_with_the_message(cloud: Cloud) -> None:
    cloud.function("ingest")(call())
    rows = [row for row in cloud.rows("Events") if row["audience"] in ("calls/123", "awaited/123")]
    assert len({row["expires_at"] for row in rows}) == 1, "or it would stay for ever"


def test_an_event_without_ack_within_awaits_no_acknowledgement(cloud: Cloud) -> None:
    cloud.function("ingest")(backend_event("call_started"))
    assert awaited(cloud) == set()
    assert orders(cloud) == []
    assert all("ack" not in json.loads(row["message"]) for row in cloud.rows("Events") if "message" in row)


def test_checks_are_ordered_in_time_and_at_once_for_users_without_a_connection(cloud: Cloud, delays: list[int]) -> None:
    cloud.function("ingest")(call(ack_within=15))
    assert sorted(delays) == [0, 15]
    assert sorted(orders(cloud), key=lambda each: str(each["reason"])) == [
        order(cloud, CALLER),
        {**order(cloud, CALLEE), "reason": "not_connected"},
    ]


def test_a_message_that_nobody_acknowledged_is_reported_once(cloud: Cloud) -> None:
    cloud.function("ingest")(call())
    look(cloud, order(cloud, CALLER))
    (told,) = undelivered(cloud)
    assert told == {
        "id": message_id(cloud),
        "user_id": 123,
        "type": "call_started",
        "data": backend_event("call_started")["detail"],
        "reason": "not_acknowledged",
    }
    look(cloud, order(cloud, CALLER))
    assert undelivered(cloud) == []


def test_a_message_that_a_device_acknowledged_is_not_reported(cloud: Cloud) -> None:
    cloud.function("ingest")(call())
    answer = cloud.function("default")(frame("ack", id=message_id(cloud)))
    shown = json.loads(answer["body"])
    assert (shown["type"], shown["data"]) == ("acknowledged", {"id": message_id(cloud)})
    look(cloud, order(cloud, CALLER, CALLEE))
    assert [each["user_id"] for each in undelivered(cloud)] == [789]  # each user acknowledges for themself


def test_an_acknowledgement_is_no_new_image_in_the_stream(cloud: Cloud) -> None:
    cloud.function("ingest")(call())
    cloud.stream("Events")
    cloud.function("default")(frame("ack", id=message_id(cloud)))
    assert all("NewImage" not in record["dynamodb"] for record in cloud.stream("Events"))


def test_a_client_may_acknowledge_a_message_that_does_not_ask_for_it(cloud: Cloud) -> None:
    before = cloud.rows("Events")
    answer = cloud.function("default")(sample("default.ack"))
    assert json.loads(answer["body"])["type"] == "acknowledged"
    assert cloud.rows("Events") == before


def test_an_acknowledgement_without_a_messages_id_is_refused(cloud: Cloud) -> None:
    answer = cloud.function("default")(frame("ack", id="the last one"))
    assert json.loads(answer["body"])["data"]["message"] == "id: must be the id of a message that you have received"


def test_a_retry_orders_the_checks_under_the_id_that_was_recorded_first(
    cloud: Cloud, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as failing:
        failing.setattr(Queue, "send", _fail)
        assert cloud.function("ingest")(call())["batchItemFailures"]
    recorded = message_id(cloud)
    clock.now += 60  # the retry would record it under another id
    cloud.function("ingest")(call())
    assert message_id(cloud) == recorded
    assert {each["event_id"] for each in orders(cloud)} == {recorded}


def test_a_check_comes_again_when_the_bus_fails(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    cloud.function("ingest")(call())
    with monkeypatch.context() as failing:
        failing.setattr("realtime.aws.bus.Bus.put_all", _fail)
        (record,) = sample("deadlines.acknowledged")["Records"]
        event = {"Records": [{**record, "body": json.dumps(order(cloud, CALLER))}]}
        assert cloud.function("deadlines")(event)["batchItemFailures"]
    look(cloud, order(cloud, CALLER))
    assert len(undelivered(cloud)) == 1


def test_a_message_older_than_the_history_is_not_reported(cloud: Cloud) -> None:
    cloud.function("ingest")(call())
    wanted = order(cloud, CALLER)
    for row in cloud.rows("Events"):
        if row["audience"] == "calls/123":
            key = {name: {"S": row[name]} for name in ("audience", "event_id")}
            cloud.dynamodb.delete_item(TableName="EventsTable", Key=key)
    look(cloud, wanted)
    assert undelivered(cloud) == []
    assert not Acknowledgements(cloud.dynamodb, "EventsTable").is_awaited(CALLER, wanted["event_id"])


def _fail(*_: Any, **__: Any) -> None:
    raise Unavailable("not now")
