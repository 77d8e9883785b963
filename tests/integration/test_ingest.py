"""ingest, from EventBridge's event to the rows."""

from __future__ import annotations

import json
from typing import Any
from uuid import uuid4

import pytest

from realtime.aws import retries
from realtime.aws.queues import Queue
from realtime.backend_events import EVENT_TYPES, MAX_RECIPIENTS, BackendEvent
from realtime.ingest import Ingestion
from realtime.messages import rfc3339
from realtime.tables.connections import Connections
from realtime.tables.dynamodb import item
from tests.logs import LogLines
from tests.samples import backend_event, names, queued, sample
from tests.support.cloud import STORY_BEGINS, Cloud
from tests.unit.fakes import Clock, Sleeps

ALL_DONE: dict[str, list[Any]] = {"batchItemFailures": []}
FEED, CALLS = "RfGx1dQAIAMCIhA=", "RfGx7cN9IAMCKtw="
KINDS = [name.removeprefix("ingest.") for name in names("ingest")]
GOOD = [kind for kind in KINDS if kind != "breaks-schema"]


def recorded(cloud: Cloud) -> dict[str, dict[str, Any]]:
    """Return the entries that clients will hear, by audience, their frames read."""
    rows = [row for row in cloud.rows("Events") if "message" in row]
    found = {row["audience"]: {**row, "message": json.loads(row["message"])} for row in rows}
    assert len(found) == len(rows), "an audience has two entries"
    return found


def test_there_is_an_event_of_every_type() -> None:
    assert {backend_event(kind)["detail-type"] for kind in GOOD} == set(EVENT_TYPES)


@pytest.mark.parametrize(
    ("kind", "audiences"),
    [
        ("call_started", {"calls/123", "calls/789"}),
        ("call_ended", {"calls/123", "calls/789"}),
        ("call_billing", {"calls/123", "calls/789"}),
        ("favorite_added", {"notifications/789"}),
        ("favorite_removed", {"notifications/789"}),
        ("user_blocked", {"notifications/789"}),
        ("user_unblocked", {"notifications/789"}),
        ("system_notification", {f"notifications/*/{shard}" for shard in range(1)}),
        ("status_change", set()),
        ("session_revoked", set()),
    ],
)
def test_an_event_is_recorded_for_its_audiences_and_no_others(cloud: Cloud, kind: str, audiences: set[str]) -> None:
    assert cloud.function("ingest")(backend_event(kind)) == ALL_DONE
    assert set(recorded(cloud)) == audiences
    assert cloud.messages("RejectedEvents") == []


DOCUMENTED = {
    "call_started": {"call_id": 456, "user_id": 123, "listener_id": 789, "call_type": "audio", "status": "ongoing"},
    "favorite_added": {"user_id": 123, "username": "jane_smith", "action": "added_you_to_favorites"},
}


@pytest.mark.parametrize("kind", DOCUMENTED)
def test_a_message_has_exactly_the_documented_keys(cloud: Cloud, kind: str) -> None:
    cloud.function("ingest")(backend_event(kind))
    for entry in recorded(cloud).values():
        assert entry["message"] == {
            "type": kind,
            "data": DOCUMENTED[kind],
            "timestamp": "2024-01-15T10:30:00.000Z",
            "id": entry["event_id"],
        }
        assert entry["kind"] == kind


def test_the_sample_of_a_personal_event_is_what_ingesting_writes(cloud: Cloud) -> None:
    cloud.function("ingest")(backend_event("call_started"))
    written = [record["dynamodb"]["NewImage"] for record in cloud.stream("Events")]
    shown = [record["dynamodb"]["NewImage"] for record in sample("broadcast.personal")["Records"]]
    messages = [image for image in written if "message" in image]
    assert [(set(image), image["audience"], image["kind"]) for image in messages] == [
        (set(image), image["audience"], image["kind"]) for image in shown
    ]


def test_a_message_is_kept_from_its_recording_and_expires_from_its_own_time(cloud: Cloud, clock: Clock) -> None:
    clock.now = STORY_BEGINS + 900
    cloud.function("ingest", HistorySeconds=7200)(backend_event("system_notification"))
    for entry in recorded(cloud).values():
        assert entry["expires_at"] == STORY_BEGINS + 900 + 7200
        assert entry["not_after"] == STORY_BEGINS + 3600


def test_an_event_for_everyone_has_one_id_over_all_shards(cloud: Cloud) -> None:
    cloud.function("ingest", AudienceShards=7)(backend_event("system_notification"))
    entries = recorded(cloud)
    assert len(entries) == 7
    assert len({entry["event_id"] for entry in entries.values()}) == 1


def test_a_duplicate_is_recorded_once(cloud: Cloud, clock: Clock, logged: LogLines) -> None:
    ingest = cloud.function("ingest")
    ingest(backend_event("favorite_added"))
    before = cloud.rows("Events")
    clock.now += 60
    ingest(backend_event("favorite_added"))
    assert cloud.rows("Events") == before
    assert [line["duplicate"] for line in logged.lines] == [False, True]


def test_a_duplicate_has_its_effect_once(cloud: Cloud) -> None:
    ingest = cloud.function("ingest")
    for kind in ("call_started", "call_ended", "call_started"):
        ingest(backend_event(kind))
    assert "busy_calls" not in cloud.user("123")


def keyed(kind: str, key: str, **more: Any) -> dict[str, Any]:
    """Return an event of a PutEvents of its own, with an idempotency key."""
    event = backend_event(kind)
    delivery = {**event["detail"].get("delivery", {}), "idempotency_key": key}
    return {**event, "id": str(uuid4()), "detail": {**event["detail"], "delivery": delivery}, **more}


@pytest.mark.parametrize("kind", [kind for kind in GOOD if kind not in {"status_change", "session_revoked"}])
def test_two_events_with_one_key_are_told_once(cloud: Cloud, clock: Clock, kind: str, logged: LogLines) -> None:
    ingest = cloud.function("ingest")
    assert ingest(keyed(kind, "k 1")) == ALL_DONE
    before = cloud.rows("Events")
    clock.now += 60
    assert ingest(keyed(kind, "k 1")) == ALL_DONE
    assert cloud.rows("Events") == before
    assert [line["duplicate"] for line in logged.lines] == [False, True]
    assert "k 1" not in json.dumps([json.loads(row["message"]) for row in before if "message" in row])


@pytest.mark.parametrize("more", [{"source": "another"}, {"detail-type": "favorite_removed"}])
def test_a_key_counts_for_its_source_and_type_alone(cloud: Cloud, more: dict[str, str], logged: LogLines) -> None:
    ingest = cloud.function("ingest")
    ingest(keyed("favorite_added", "k"))
    ingest(keyed("favorite_added", "k", **more))
    ingest(keyed("favorite_added", "k2"))
    assert [line["duplicate"] for line in logged.lines] == [False, False, False]


def test_a_busy_state_that_is_repeated_late_by_its_key_changes_nothing(cloud: Cloud) -> None:
    ingest = cloud.function("ingest")
    ingest(keyed("status_change", "busy"))
    free = keyed("status_change", "free")
    free["detail"]["is_busy"] = False
    ingest(free)
    ingest(keyed("status_change", "busy"))
    assert not cloud.user().get("is_busy_manual")


def test_a_revocation_that_is_repeated_by_its_key_spares_tokens_issued_since(cloud: Cloud, clock: Clock) -> None:
    ingest = cloud.function("ingest")
    ingest(keyed("session_revoked", "k"))
    clock.now += 3600
    later = rfc3339(int(clock.now) * 1000)
    ingest(keyed("session_revoked", "k", time=later))
    assert cloud.user()["revoked_before"] == STORY_BEGINS
    ingest(keyed("session_revoked", "another", time=later))
    assert cloud.user()["revoked_before"] == int(clock.now)


def test_a_call_makes_both_participants_busy_until_it_ends(cloud: Cloud) -> None:
    ingest = cloud.function("ingest")
    ingest(backend_event("call_started"))
    assert cloud.user("123")["busy_calls"] == cloud.user("789")["busy_calls"] == {"456"}
    ingest(backend_event("call_billing"))
    assert cloud.user("123")["busy_calls"] == {"456"}
    ingest(backend_event("call_ended"))
    assert "busy_calls" not in cloud.user("123")
    assert "busy_calls" not in cloud.user("789")


def test_a_user_in_two_calls_is_busy_until_both_have_ended(cloud: Cloud) -> None:
    ingest = cloud.function("ingest")
    other = backend_event("call_started")
    other["id"] = "another event"
    other["detail"] |= {"call_id": 457, "listener_id": 790}
    for event in (backend_event("call_started"), other, backend_event("call_ended")):
        ingest(event)
    assert cloud.user("123")["busy_calls"] == {"457"}
    assert cloud.user("790")["busy_calls"] == {"457"}


def test_a_call_whose_end_came_first_is_recorded_but_makes_nobody_busy(cloud: Cloud) -> None:
    ingest = cloud.function("ingest")
    ingest(backend_event("call_ended"))
    ingest(backend_event("call_started"))
    assert "busy_calls" not in cloud.user("123")
    assert "busy_calls" not in cloud.user("789")
    kinds = [row["kind"] for row in cloud.rows("Events") if row["audience"] == "calls/123"]
    assert sorted(kinds) == ["call_ended", "call_started"]


def test_a_user_sets_themself_busy_and_available_by_hand(cloud: Cloud) -> None:
    ingest = cloud.function("ingest")
    event = backend_event("status_change")
    ingest(event)
    assert cloud.user()["is_busy_manual"] is True
    ingest({**event, "id": "another", "detail": {"user_id": 123, "is_busy": False}})
    assert cloud.user()["is_busy_manual"] is False
    assert cloud.user()["version"] == 2


def test_an_unblocked_user_sees_the_blocker_again(cloud: Cloud) -> None:
    ingest = cloud.function("ingest")
    ingest(backend_event("user_blocked"))
    assert cloud.user("123")["hidden_from"] == {"789"}
    assert cloud.user("789") == {}
    ingest(backend_event("user_unblocked"))
    assert "hidden_from" not in cloud.user("123")


def test_a_revoked_session_ends_all_connections_of_its_user_and_no_other(cloud: Cloud) -> None:
    connect = cloud.function("connect")
    for name in ("connect.token-in-query", "connect.token-in-header"):
        connect(sample(name))
    cloud.function("ingest")(backend_event("session_revoked"))
    entries = recorded(cloud)
    assert set(entries) == {f"connection/{FEED}", f"connection/{CALLS}"}
    assert {audience: entry["endpoint"] for audience, entry in entries.items()} == {
        f"connection/{FEED}": "feed",
        f"connection/{CALLS}": "calls",
    }
    for entry in entries.values():
        assert entry["close"] is True
        assert entry["message"]["type"] == "error"
        assert entry["message"]["data"] == {"code": "AUTH_FAILED", "message": "Session revoked"}


def test_a_connection_whose_session_is_shown_a_moment_after_its_user_is_revoked_too(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch, sleeps: Sleeps
) -> None:
    cloud.function("connect")(sample("connect.token-in-query"))
    sessions = Connections.sessions
    monkeypatch.setattr(Connections, "sessions", lambda *given: sessions(*given) if len(sleeps) else [])
    cloud.function("ingest")(backend_event("session_revoked"))
    assert set(recorded(cloud)) == {f"connection/{FEED}"}


def test_a_revocation_is_remembered_for_a_user_who_has_never_connected(cloud: Cloud) -> None:
    cloud.function("ingest")(backend_event("session_revoked"))
    assert cloud.user() == {"user_id": "123", "revoked_before": STORY_BEGINS}
    assert [each["dynamodb"]["NewImage"].keys() for each in cloud.stream("Users")] == [{"user_id", "revoked_before"}]


def test_a_revocation_counts_from_the_events_own_time_but_never_from_the_future(cloud: Cloud, clock: Clock) -> None:
    event = backend_event("session_revoked")
    clock.now += 3600  # it waited in the queue, and the user may have a new token since
    cloud.function("ingest")(event)
    assert cloud.user()["revoked_before"] == STORY_BEGINS
    event |= {"id": "another", "time": rfc3339(int(clock.now + 200) * 1000)}
    cloud.function("ingest")(event)
    assert cloud.user()["revoked_before"] == int(clock.now)


def test_the_samples_of_a_busy_user_are_what_ingesting_writes(cloud: Cloud, clock: Clock) -> None:
    cloud.function("connect")(sample("connect.token-in-query"))
    cloud.stream("Users")
    clock.now += 4.6
    cloud.function("ingest")(backend_event("call_started"))
    (record,) = (each for each in cloud.stream("Users") if each["dynamodb"]["Keys"] == {"user_id": {"S": "123"}})
    shown = sample("announce.became-busy")["Records"][0]["dynamodb"]
    assert record["dynamodb"]["NewImage"] == shown["NewImage"]
    assert record["dynamodb"]["OldImage"] == shown["OldImage"]


CALL = backend_event("call_started")["detail"]


def broken(**changes: object) -> dict[str, Any]:
    event = backend_event("call_started")
    for name, value in changes.items():
        event[name.replace("_", "-")] = value
    return event


@pytest.mark.parametrize(
    ("event", "reason"),
    [
        (backend_event("breaks-schema"), "detail: Object missing required field `listener_id`"),
        (broken(detail_type="call_paused"), "detail-type: unknown 'call_paused'; known types are "),
        (broken(detail=["call"]), "detail: must be a JSON object"),
        (broken(detail={**CALL, "note": "x" * 32_768}), "detail: the message would have "),
        (broken(time="yesterday"), "time: must be RFC 3339"),
    ],
)
def test_an_event_that_breaks_its_schema_is_rejected_whole_with_the_reason(
    cloud: Cloud, logged: LogLines, event: dict[str, Any], reason: str
) -> None:
    assert cloud.function("ingest")(event) == ALL_DONE
    (message,) = cloud.messages("RejectedEvents")
    assert json.loads(message["Body"]) == event
    assert message["MessageAttributes"]["reason"]["StringValue"].startswith(reason)
    assert cloud.rows("Events") == cloud.rows("Users") == []
    (line,) = logged.lines
    assert (line["level"], line["message"], line["trace_id"]) == ("WARNING", "rejected", event["id"])


def test_the_largest_event_for_the_most_recipients_fits_into_one_transaction(cloud: Cloud) -> None:
    event = backend_event("system_notification")
    event["detail"] = {"text": "x" * 32_500, "delivery": {"to": list(range(MAX_RECIPIENTS))}}
    assert cloud.function("ingest")(event) == ALL_DONE
    assert len(recorded(cloud)) == MAX_RECIPIENTS


def test_a_reason_of_any_length_fits_beside_the_event(cloud: Cloud) -> None:
    detail: object = "\ud800"
    for _ in range(50):  # a reason names the whole path
        detail = {"x" * 50: detail}
    cloud.function("ingest")(broken(detail=detail))
    (message,) = cloud.messages("RejectedEvents")
    assert len(message["MessageAttributes"]["reason"]["StringValue"]) == 1000


@pytest.mark.parametrize("kind", GOOD)
def test_an_event_that_cannot_be_stored_comes_again(cloud: Cloud, kind: str, logged: LogLines) -> None:
    cloud.dynamodb.delete_table(TableName="EventsTable")
    event = queued(backend_event(kind))
    assert cloud.function("ingest")(event) == {"batchItemFailures": [{"itemIdentifier": "message-0"}]}
    assert cloud.messages("RejectedEvents") == []
    (line,) = logged.lines
    assert (line["level"], line["times"]) == ("ERROR", 1)
    assert line["reason"].startswith("recording an event: ResourceNotFoundException")


def test_a_failing_event_does_not_affect_the_others_of_its_batch(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    ingest = Ingestion.ingest

    def failing(self: Ingestion, event: BackendEvent, now: int) -> Any:
        if event.kind == "call_billing":
            raise ZeroDivisionError
        return ingest(self, event, now)

    monkeypatch.setattr(Ingestion, "ingest", failing)
    batch = queued(
        *(backend_event(kind) for kind in ("favorite_added", "call_billing", "breaks-schema", "call_started"))
    )
    assert cloud.function("ingest")(batch) == {"batchItemFailures": [{"itemIdentifier": "message-1"}]}
    assert set(recorded(cloud)) == {"notifications/789", "calls/123", "calls/789"}
    assert len(cloud.messages("RejectedEvents")) == 1


@pytest.mark.parametrize(("receives", "longest"), [(1, 2), (3, 8), (8, 256), (9, 300), (90, 300)])
def test_a_failing_event_is_hidden_for_a_random_time_that_grows(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch, receives: int, longest: int
) -> None:
    hidden: list[tuple[str, int]] = []
    monkeypatch.setattr(Queue, "put_off", lambda _queue, receipt, seconds: hidden.append((receipt, seconds)))
    monkeypatch.setattr("random.randint", lambda least, most: least * 1000 + most)
    cloud.dynamodb.delete_table(TableName="EventsTable")
    cloud.function("ingest")(queued(backend_event("call_started"), receives=receives))
    assert hidden == [("receipt-0", 1000 + longest)]


def test_a_failing_event_stays_in_its_queue(cloud: Cloud) -> None:
    ingest = cloud.function("ingest")
    url = cloud.stack.physical["BackendEventsQueue"]
    cloud.sqs.send_message(QueueUrl=url, MessageBody=json.dumps(backend_event("call_started")))
    (message,) = cloud.sqs.receive_message(QueueUrl=url)["Messages"]
    event = queued(message["Body"])
    event["Records"][0]["receiptHandle"] = message["ReceiptHandle"]
    cloud.dynamodb.delete_table(TableName="EventsTable")
    ingest(event)
    attributes = cloud.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
    assert attributes["ApproximateNumberOfMessagesNotVisible"] == "1"


@pytest.mark.parametrize("body", ["not JSON", "[" * 2000, "[]", '{"id": "1"}'])
def test_a_body_that_is_no_event_is_rejected_as_it_came(cloud: Cloud, body: str) -> None:
    assert cloud.function("ingest")(queued(body)) == ALL_DONE
    (message,) = cloud.messages("RejectedEvents")
    assert message["Body"] == body
    assert message["MessageAttributes"]["reason"]["StringValue"].startswith("not ")


@pytest.mark.unpromised
def test_an_event_that_no_table_takes_is_rejected_with_the_reason(strict_cloud: Cloud) -> None:
    ingest = strict_cloud.function("ingest")
    almost_full = item({"user_id": "123", "filling": "x" * 400_000})
    strict_cloud.dynamodb.put_item(TableName="UsersTable", Item=almost_full)
    event = backend_event("user_blocked")
    event["detail"]["delivery"]["to"] = ["𝄞" * 120 + f"{number}" for number in range(20)]  # 10 KB
    assert ingest(event) == ALL_DONE
    (message,) = strict_cloud.messages("RejectedEvents")
    assert message["MessageAttributes"]["reason"]["StringValue"] == "recording an event: ValidationException"
    assert recorded(strict_cloud) == {}


def test_an_event_that_cannot_be_recorded_has_no_effect(cloud: Cloud) -> None:
    cloud.dynamodb.delete_table(TableName="EventsTable")
    assert cloud.function("ingest")(backend_event("call_started"))["batchItemFailures"]
    assert cloud.rows("Users") == []


@pytest.mark.parametrize("kind", KINDS)
def test_no_message_is_logged(cloud: Cloud, logged: LogLines, kind: str) -> None:
    event = backend_event(kind)
    event["detail"]["username"] = "hunter2"
    cloud.function("ingest")(event)
    assert len(logged.lines) == 1
    assert "hunter2" not in logged.text


def test_an_event_for_the_most_users_fits_into_one_transaction(cloud: Cloud) -> None:
    event = backend_event("favorite_added")
    event["detail"]["delivery"]["to"] = list(range(90))
    cloud.function("ingest")(event)
    assert len(recorded(cloud)) == 90


def test_the_most_shards_fit_into_one_transaction(cloud: Cloud) -> None:
    cloud.function("ingest", AudienceShards=64)(backend_event("system_notification"))
    assert len(recorded(cloud)) == 64


def test_a_user_with_more_connections_than_a_transaction_holds_can_be_revoked(cloud: Cloud) -> None:
    cloud.function("connect")(sample("connect.token-in-query"))
    (session,) = (row for row in cloud.dynamodb.scan(TableName="ConnectionsTable")["Items"] if "lease_until" in row)
    others = [f"connection-{n}" for n in range(105)]
    for each in others:
        own = {"connection_id": {"S": each}, "audience": {"S": f"connection/{each}"}}
        cloud.dynamodb.put_item(TableName="ConnectionsTable", Item={**session, **own})
    cloud.dynamodb.update_item(
        TableName="UsersTable",
        Key={"user_id": {"S": "123"}},
        UpdateExpression="ADD connection_ids :others",
        ExpressionAttributeValues={":others": {"SS": others}},
    )
    cloud.function("ingest")(backend_event("session_revoked"))
    assert set(recorded(cloud)) == {f"connection/{each}" for each in (FEED, *others)}


def test_events_without_time_left_come_again(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retries, "latest", lambda: 0.0)
    batch = queued(backend_event("call_started"), backend_event("call_billing"))
    failures = [{"itemIdentifier": "message-0"}, {"itemIdentifier": "message-1"}]
    assert cloud.function("ingest")(batch) == {"batchItemFailures": failures}
    assert recorded(cloud) == {}
