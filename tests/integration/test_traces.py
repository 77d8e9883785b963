"""One id follows what happens through the logs of all functions, and no line says who is with whom."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from realtime import trace
from realtime.log import logger
from realtime.posting.delivery import Outcome
from tests.logs import LogLines
from tests.samples import backend_event, sample
from tests.support import cloud as cloud_module
from tests.support.cloud import Cloud, for_broadcast
from tests.unit.fakes import FakePoster

EVENT_ID = "17793124-05d4-b198-2fde-7ededc63b103"


@pytest.fixture
def connected(cloud: Cloud, jwt_clock: None, logged: LogLines) -> Cloud:
    """Return the cloud with both users of the call connected."""
    cloud.function("connect")(sample("connect.token-in-query"))
    run(cloud)
    return cloud


def run(cloud: Cloud) -> None:
    """Show the functions all records of both streams, until there are no more."""
    while True:
        users = cloud.stream("Users")
        if users:
            cloud.function("announce")({"Records": users})
        shown = for_broadcast(cloud.stream("Events"))
        for name, records in shown.items():
            cloud.function(name)({"Records": records})
        if not users and not shown:
            return


def queued(cloud: Cloud, queue: str) -> Iterator[dict[str, Any]]:
    """Yield the messages of a queue as Lambda brings them."""
    for each in cloud.messages(queue):
        attributes = {
            name: {"stringValue": value["StringValue"], "dataType": "String"}
            for name, value in each.get("MessageAttributes", {}).items()
        }
        yield {"messageId": each["MessageId"], "body": each["Body"], "messageAttributes": attributes}


def lines_of(logged: LogLines, trace_id: str) -> list[str]:
    """Return what the lines with a trace say, as the runbook's query finds them."""
    return [json.loads(line)["message"] for line in logged.text.splitlines() if trace_id in line]


def start_call(cloud: Cloud) -> None:
    cloud.function("ingest")({**backend_event("call_started"), "id": EVENT_ID})


def test_an_event_of_a_backend_is_followed_to_its_posts(connected: Cloud, logged: LogLines) -> None:
    start_call(connected)
    run(connected)
    assert lines_of(logged, EVENT_ID) == ["ingested", "announced", "broadcast", "broadcast"]
    (ingested,) = (line for line in logged.lines if line["message"] == "ingested")
    assert ingested["trace_id"] == EVENT_ID
    assert ingested["event_id"] in {entry["event_id"] for entry in connected.rows("Events")}


def test_an_event_that_is_late_is_followed_into_the_late_lane(connected: Cloud, logged: LogLines) -> None:
    start_call(connected)
    (connection_id,) = {row["connection_id"] for row in connected.rows("Connections")}
    connected.poster = FakePoster({connection_id: Outcome.LATE})
    run(connected)
    connected.poster = FakePoster()
    stragglers = list(queued(connected, "Late"))
    assert [trace.of_message(each) for each in stragglers] == [[EVENT_ID]]
    connected.function("late")({"Records": stragglers})
    assert lines_of(logged, EVENT_ID)[-1] == "served stragglers"


def test_an_event_that_is_rejected_or_cannot_be_recorded_is_found_by_its_id(connected: Cloud, logged: LogLines) -> None:
    connected.function("ingest")({**backend_event("call_started"), "detail": {}, "id": EVENT_ID})
    assert lines_of(logged, EVENT_ID) == ["rejected"]
    connected.dynamodb.delete_table(TableName="EventsTable")
    start_call(connected)
    assert lines_of(logged, EVENT_ID) == ["rejected", "failed"]


def test_a_handshake_is_followed_to_what_others_hear_of_it(cloud: Cloud, jwt_clock: None, logged: LogLines) -> None:
    event = sample("connect.token-in-query")
    cloud.function("connect")(event)
    run(cloud)
    request_id = event["requestContext"]["requestId"]
    assert lines_of(logged, request_id) == ["connected", "announced", "broadcast", "broadcast"]


def test_a_refused_handshake_is_followed_to_its_farewell(cloud: Cloud, logged: LogLines) -> None:
    event = sample("connect.token-missing")
    cloud.function("connect")(event)
    cloud.function("farewell")({"Records": list(queued(cloud, "Farewells"))})
    assert lines_of(logged, event["requestContext"]["requestId"]) == ["refused", "sent farewells"]


def test_a_user_who_left_is_followed_through_the_delay_queue(connected: Cloud, logged: LogLines) -> None:
    handshake = sample("connect.token-in-query")["requestContext"]
    event = sample("disconnect")
    event["requestContext"] |= {"connectionId": handshake["connectionId"], "requestId": "DISCONNECTEDBY00="}
    connected.function("disconnect")(event)
    run(connected)
    user_id = "123"
    check = {"check": "offline", "user_id": user_id, "left_at": connected.user(user_id)["left_at"]}
    body = json.dumps({**check, "trace_id": connected.user(user_id)["trace_id"]})
    connected.function("deadlines")({"Records": [{"messageId": "1", "body": body}]})
    run(connected)
    assert lines_of(logged, "DISCONNECTEDBY00=") == [
        *("disconnected", "announced", "checked", "announced", "broadcast", "broadcast")
    ]


def test_a_user_whose_connection_is_found_to_be_gone_is_followed_by_the_functions_own_id(
    connected: Cloud, logged: LogLines, monkeypatch: pytest.MonkeyPatch
) -> None:
    connected.function("connect")(sample("connect.token-in-header"))
    gone = next(row["connection_id"] for row in connected.rows("Connections") if row["audience"] == "calls/123")
    start_call(connected)
    monkeypatch.setattr(cloud_module.Context, "aws_request_id", "found-gone", raising=False)
    connected.poster = FakePoster({gone: Outcome.GONE})
    for name, records in for_broadcast(connected.stream("Events")).items():
        connected.function(name)({"Records": records})
    assert gone not in connected.user().get("connection_ids", ())
    assert connected.user()["trace_id"] == "found-gone"


def test_no_line_of_a_call_names_both_users(connected: Cloud, logged: LogLines) -> None:
    start_call(connected)
    run(connected)
    for line in logged.text.splitlines():
        about = json.loads(line)
        if EVENT_ID in line:
            assert not {"user_id", "user_ids", "connection_id"} & about.keys()
        assert not ("123" in line and "789" in line and about["message"] != "connected")


def test_which_connections_got_an_event_is_logged_only_in_detail(connected: Cloud, logged: LogLines) -> None:
    level = logger().log_level
    logger().setLevel("DEBUG")
    try:
        start_call(connected)
        run(connected)
    finally:
        logger().setLevel(level)
    posted = [line for line in logged.lines if line["message"] == "posted" and EVENT_ID in line["trace_ids"]]
    assert [line["outcome"] for line in posted] == ["delivered"]
    assert posted[0]["connection_id"] in connected.poster
