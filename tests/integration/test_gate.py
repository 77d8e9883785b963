"""Attacks on the gate: ids, names and events that some store refuses come in every way; no other user is affected.

/docs/decisions/0021-one-gate.md
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import pytest

from realtime import bootstrap
from realtime.errors import Unavailable
from realtime.ingest import AHEAD_MS
from realtime.tables.users import Users
from tests.logs import LogLines
from tests.samples import KEY_ID, SECRET, backend_event, code_points, queued, sample
from tests.support.cloud import STORY_BEGINS, Cloud
from tests.unit.fakes import Clock

ODD = ["\ud800", "a\udfff", "\ufffe", "a\uffff", "\ufdd0", "\U0001fffe", "\x00", "a\x1f", "\x7f", "a\x85"]
DONE: dict[str, Any] = {"batchItemFailures": []}


def arriving(**query: str) -> dict[str, Any]:
    """Return a handshake with a valid token and these query parameters, one of which may replace the token."""
    event = sample("connect.token-in-query")
    event["queryStringParameters"] |= query
    return event


def signed(**claims: Any) -> str:
    payload = {"sub": "123", "exp": STORY_BEGINS + 3600, **claims}
    return jwt.encode(payload, SECRET, algorithm="HS256", headers={"kid": KEY_ID})


@pytest.mark.usefixtures("jwt_clock")
@pytest.mark.parametrize("odd", ODD, ids=code_points)
@pytest.mark.parametrize("claim", ["sub", "username", "role"])
def test_a_token_with_unstorable_characters_is_refused(cloud: Cloud, logged: LogLines, claim: str, odd: str) -> None:
    connect = cloud.function("connect", RejectionMode="handshake")
    assert connect(arriving(token=signed(**{claim: odd})))["statusCode"] == 401
    assert cloud.rows("Users") == cloud.rows("Connections") == []
    (line,) = logged.lines
    assert (line["code"], line["reason"].split()[0]) == ("AUTH_FAILED", claim)


@pytest.mark.parametrize("odd", ODD, ids=code_points)
@pytest.mark.parametrize("parameter", ["watch", "types", "batch"])
def test_a_query_with_unstorable_characters_is_refused(cloud: Cloud, parameter: str, odd: str) -> None:
    connect = cloud.function("connect", RejectionMode="handshake")
    assert connect(arriving(**{parameter: f"1,{odd}"}))["statusCode"] == 400
    assert cloud.function("connect", RejectionMode="frame")(arriving(**{parameter: f"1,{odd}"}))["statusCode"] == 200
    assert cloud.rows("Users") == cloud.rows("Connections") == []
    (entry,) = (row for row in cloud.rows("Events") if "message" in row)
    assert json.loads(entry["message"])["data"]["code"] == "BAD_REQUEST"


@pytest.mark.parametrize("odd", ODD, ids=code_points)
@pytest.mark.parametrize(
    "frame",
    [
        {"type": "watch", "data": {"user_ids": ["?"]}},
        {"type": "unwatch", "data": {"user_ids": ["1", "?"]}},
        {"type": "resume", "data": {"last_id": "?"}},
        {"type": "ack", "data": {"id": "?"}},
        {"type": "?", "data": {}},
        {"type": "authenticate", "data": {"token": "?"}},
    ],
    ids=lambda frame: frame["type"],
)
def test_a_frame_with_unstorable_characters_is_answered_and_the_connection_stays(
    cloud: Cloud, frame: dict[str, Any], odd: str
) -> None:
    cloud.function("connect")(sample("connect.token-in-query"))
    before = cloud.rows("Connections")
    default = cloud.function("default")
    event = {**sample("default.ping"), "body": json.dumps(frame).replace("?", json.dumps(odd)[1:-1])}
    code = json.loads(default(event)["body"])["data"]["code"]
    assert code == ("AUTH_FAILED" if frame["type"] == "authenticate" else "BAD_REQUEST")
    assert cloud.rows("Connections") == before
    assert json.loads(default(sample("default.ping"))["body"])["type"] == "pong"


@pytest.mark.parametrize(
    "body", ["[" * 2000, '{"a":' * 2000, "9" * 5000, '{"type":"watch","data":{"user_ids":[' + "9" * 5000 + "]}}", "NaN"]
)
def test_a_frame_that_no_parser_accepts_is_answered(cloud: Cloud, body: str) -> None:
    cloud.function("connect")(sample("connect.token-in-query"))
    answer = cloud.function("default")({**sample("default.ping"), "body": body})
    assert json.loads(answer["body"])["data"]["code"] == "BAD_REQUEST"


EVENTS = {
    "an id": {"user_id": "?"},
    "the id of a call": {"call_id": "?"},
    "a name": {"call_type": "?"},
    "an addressee": {"delivery": {"to": ["?"]}},
    "a key of the delivery": {"delivery": {"?": 1}},
}


@pytest.mark.parametrize("odd", ODD, ids=code_points)
@pytest.mark.parametrize("change", EVENTS.values(), ids=EVENTS)
def test_a_rejected_event_is_in_its_queue_with_a_storable_reason(
    cloud: Cloud, odd: str, change: dict[str, Any]
) -> None:
    event = backend_event("call_started")
    text = json.dumps({**event, "detail": {**event["detail"], **change}}).replace("?", json.dumps(odd)[1:-1])
    assert cloud.function("ingest")(queued(text)) == DONE
    (message,) = cloud.messages("RejectedEvents")
    assert json.loads(message["Body"]) == json.loads(text), "whole"
    assert message["MessageAttributes"]["reason"]["StringValue"].startswith("detail")
    assert cloud.rows("Events") == cloud.rows("Users") == []


@pytest.mark.parametrize("odd", ODD, ids=code_points)
def test_free_text_reaches_clients_unless_it_has_half_a_character(cloud: Cloud, odd: str) -> None:
    event = backend_event("system_notification")
    event["detail"] = {"text": odd, "more": [{odd: "\n\t"}], "delivery": {"to": [789], "ack_within": 10}}
    assert cloud.function("ingest")(event) == DONE
    frames = [row["message"] for row in cloud.rows("Events") if "message" in row]
    rejected = cloud.messages("RejectedEvents")
    if "\ud800" <= odd[-1] <= "\udfff":
        assert (len(frames), len(rejected)) == (0, 1)
        assert "half of a character" in rejected[0]["MessageAttributes"]["reason"]["StringValue"]
        return
    assert [json.loads(frame)["data"] for frame in frames] == [{"text": odd, "more": [{odd: "\n\t"}]}]
    assert rejected == []
    (check,) = cloud.messages("Deadlines")
    record = {**sample("deadlines.offline")["Records"][0], "body": check["Body"]}
    assert cloud.function("deadlines")({"Records": [record]}) == DONE
    (event,) = cloud.told()
    assert event["detail"]["data"]["text"] == odd


@pytest.mark.parametrize(
    "body", ["[" * 2000, '{"detail":' * 2000, "9" * 5000, "not JSON", "[]", "{}", "\ufffe\x00", "7"]
)
def test_a_message_that_is_no_event_is_in_the_queue_of_rejected_events(cloud: Cloud, body: str) -> None:
    assert cloud.function("ingest")(queued(body)) == DONE
    (message,) = cloud.messages("RejectedEvents")
    assert message["MessageAttributes"]["reason"]["StringValue"]


def at(seconds: float) -> str:
    return (datetime.fromtimestamp(STORY_BEGINS, UTC) + timedelta(seconds=seconds)).isoformat()


@pytest.mark.parametrize(
    ("time", "reason"),
    [
        ("9999-12-31T23:59:59-14:00", "time: 251"),
        ("9999-12-31T23:59:59Z", "time: 251"),
        ("0001-01-01T00:00:00+14:00", "time: '0001-01-01T00:00:00+14:00' is before 2000"),
        ("1970-01-01T00:00:00Z", "time: '1970-01-01T00:00:00Z' is before 2000"),
        ("2024-01-15T10:30:00", "time: must be RFC 3339"),
        ("2024-01-15", "time: must be RFC 3339"),
        ("\ud800", "time: must be RFC 3339"),
        (1_705_314_600, "time: must be RFC 3339"),
        (None, "time: must be RFC 3339"),
        (at(AHEAD_MS // 1000 + 2), "time: 301 s ahead of now"),
        (at(5 * 3600), "time: 17999 s ahead of now"),
    ],
)
def test_an_impossible_time_is_rejected(cloud: Cloud, time: object, reason: str) -> None:
    event = {**backend_event("system_notification"), "time": time}
    assert cloud.function("ingest")(event) == DONE
    (message,) = cloud.messages("RejectedEvents")
    assert message["MessageAttributes"]["reason"]["StringValue"].startswith(reason)
    assert cloud.rows("Events") == []


@pytest.mark.parametrize("seconds", [-86_400, -3600, 0, AHEAD_MS / 1000 - 1])
def test_a_possible_time_is_accepted(cloud: Cloud, seconds: float) -> None:
    event = {**backend_event("call_ended"), "time": at(seconds)}
    cloud.function("ingest")(event)
    assert cloud.messages("RejectedEvents") == []
    assert len([row for row in cloud.rows("Events") if "message" in row]) == 2


def test_an_event_that_came_too_late_is_rejected_with_the_reason(cloud: Cloud) -> None:
    """This happens if the sender's clock is in a time zone that is five hours behind."""
    event = {**backend_event("call_started"), "time": at(-5 * 3600)}
    event["detail"]["delivery"] = {"expires_in": 60}
    assert cloud.function("ingest")(event) == DONE
    (message,) = cloud.messages("RejectedEvents")
    assert message["MessageAttributes"]["reason"]["StringValue"].startswith(
        "detail.delivery.expires_in: ran out 17940 s before the event came"
    )
    assert cloud.user("123")["busy_calls"] == {"456"}, "its effect on presence holds"


def test_an_event_in_time_whose_duplicate_comes_late_is_not_rejected(cloud: Cloud, clock: Clock) -> None:
    event = {**backend_event("call_started"), "time": at(0)}
    event["detail"]["delivery"] = {"expires_in": 60}
    cloud.function("ingest")(event)
    clock.now += 120
    cloud.function("ingest")(event)
    assert cloud.messages("RejectedEvents") == []


def test_an_event_too_late_whose_rejection_failed_is_rejected_when_it_comes_again(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    event = {**backend_event("call_started"), "time": at(-120)}
    event["detail"]["delivery"] = {"expires_in": 60}
    ingest = cloud.function("ingest")
    with monkeypatch.context() as broken:
        broken.setattr(bootstrap.rejected(), "send_text", _unavailable)
        assert ingest(event) != DONE
    assert ingest(event) == DONE
    assert len(cloud.messages("RejectedEvents")) == 1


def _unavailable(*_: Any, **__: Any) -> None:
    raise Unavailable("sending to a queue: ThrottlingException")


def record_of(name: str, user_id: str) -> dict[str, Any]:
    """Return the record of a sample of the Users stream for another user."""
    (record,) = sample(name)["Records"]
    text = json.dumps(record).replace('"123"', json.dumps(user_id))
    changed: dict[str, Any] = json.loads(text)
    changed["dynamodb"]["SequenceNumber"] = str(100 + len(user_id))
    return changed


@pytest.mark.unpromised
@pytest.mark.parametrize("name", ["announce.came-online", "announce.last-connection-left", "announce.became-busy"])
@pytest.mark.parametrize("odd", ["\ud800", "\ufffe", "\uffff", "\x00"], ids=code_points)
def test_a_user_whom_a_store_refuses_does_not_hold_up_others(
    cloud: Cloud, logged: LogLines, name: str, odd: str
) -> None:
    """S2: one such user, stored before the gate existed, stopped the presence of all users."""
    poison = record_of(name, f"evil{odd}")
    event = {"Records": [record_of("announce.came-online", "1"), poison, record_of("announce.went-offline", "2")]}
    assert cloud.function("announce")(event) == DONE
    bus_events = {(each["detail-type"], each["detail"]["user_id"]) for each in cloud.told()}
    assert {("user_online", 1), ("user_offline", 2)} <= bus_events
    assert {"1", "2"} <= {row.get("subject") for row in cloud.rows("Events")}
    given_up = cloud.messages("StreamFailures")
    if odd == "\ud800" and name != "announce.last-connection-left":  # the queue accepts the check of that one
        (message,) = given_up
        assert json.loads(message["Body"]) == {
            "keys": poison["dynamodb"]["Keys"],
            "sequence_number": poison["dynamodb"]["SequenceNumber"],
        }
        assert "UnicodeEncodeError" in message["MessageAttributes"]["reason"]["StringValue"]
        assert "giving up a record" in logged.text
    else:
        assert given_up == []


def test_the_users_stream_continues_at_the_first_record_that_is_not_done(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    announcer = bootstrap.announcer
    announce = cloud.function("announce")
    put_all = announcer()._outbox.put_all

    def sometimes(entries: Any) -> None:
        entries = list(entries)
        if any(entry.subject == "22" for entry in entries):
            raise Unavailable("writing to Events: ThrottlingException")
        put_all(entries)

    monkeypatch.setattr(announcer()._outbox, "put_all", sometimes)
    event = {"Records": [record_of("announce.came-online", each) for each in ("1", "22", "333")]}
    event["Records"].insert(1, record_of("announce.came-online", "\ud800"))
    answer = announce(event)
    assert answer == {"batchItemFailures": [{"itemIdentifier": event["Records"][2]["dynamodb"]["SequenceNumber"]}]}
    assert [each["detail"]["user_id"] for each in cloud.told()] == [1]
    assert len(cloud.messages("StreamFailures")) == 1, "a record that is given up does not come again"

    with pytest.raises(Unavailable):  # not even the first record is done, so Lambda halves the batch
        announce({"Records": event["Records"][2:]})


class Broken(Exception):
    """An unforeseen error, whose text must not be logged."""


def _break(*_: Any, **__: Any) -> None:
    raise Broken("hunter2")


def test_default_answers_an_unforeseen_error_with_internal(
    cloud: Cloud, logged: LogLines, monkeypatch: pytest.MonkeyPatch
) -> None:
    default = cloud.function("default")
    monkeypatch.setattr(bootstrap.frame_handler(), "answer", _break)
    answer = default(sample("default.ping"))
    assert json.loads(answer["body"])["data"]["code"] == "INTERNAL"
    (line,) = logged.lines
    assert line["reason"].startswith("Broken at test_gate.py:")
    assert "hunter2" not in logged.text + answer["body"]


def test_disconnect_raises_an_unforeseen_error_with_its_type_and_place_alone(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    disconnect = cloud.function("disconnect")
    monkeypatch.setattr(bootstrap.disconnect_registry(), "forget", _break)
    with pytest.raises(Exception, match=r"^Broken at test_gate\.py:\d+$"):
        disconnect(sample("disconnect"))


def test_a_check_with_an_unforeseen_error_comes_again_alone(
    cloud: Cloud, logged: LogLines, monkeypatch: pytest.MonkeyPatch
) -> None:
    deadlines = cloud.function("deadlines")
    set_offline = Users.set_offline

    def sometimes(users: Users, user_id: str, left_at_ms: int, now: int) -> bool:
        if user_id == "789":
            _break()
        return set_offline(users, user_id, left_at_ms, now)

    monkeypatch.setattr(Users, "set_offline", sometimes)
    (record,) = sample("deadlines.offline")["Records"]
    bodies = [record["body"].replace("123", "789"), "[" * 2000, record["body"]]
    event = {"Records": [{**record, "messageId": str(n), "body": body} for n, body in enumerate(bodies)]}
    assert deadlines(event) == {"batchItemFailures": [{"itemIdentifier": "0"}, {"itemIdentifier": "1"}]}
    assert "hunter2" not in logged.text


def test_an_unforeseen_error_of_broadcast_holds_up_its_shard_for_a_minute_at_most(
    cloud: Cloud, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    broadcast = cloud.function("broadcast")
    monkeypatch.setattr(bootstrap.broadcaster(), "broadcast", _break)
    event = sample("broadcast.personal")
    for record in event["Records"]:
        record["dynamodb"]["ApproximateCreationDateTime"] = clock.now
    alone = {"Records": event["Records"][:1]}
    for each in (event, alone):  # the error may pass, so Lambda halves the batch
        with pytest.raises(Exception, match=r"^Broken at test_gate\.py:\d+$"):
            broadcast(each)
    clock.now += 60
    with pytest.raises(Exception, match=r"^Broken at test_gate\.py:\d+$"):
        broadcast(event)
    assert broadcast(alone) == DONE
    (message,) = cloud.messages("StreamFailures")
    assert json.loads(message["Body"])["keys"] == alone["Records"][0]["dynamodb"]["Keys"]
    assert message["MessageAttributes"]["reason"]["StringValue"].startswith("Broken at test_gate.py:")
