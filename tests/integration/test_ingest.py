"""ingest, from EventBridge's event to the rows."""

from __future__ import annotations

import json
from typing import Any

import pytest

from realtime.backend_events import SCHEMAS
from realtime.errors import ConfigurationError
from tests.integration.conftest import STORY_BEGINS, Cloud
from tests.logs import LogLines
from tests.samples import backend_event, names, queued, sample
from tests.unit.fakes import Clock

FEED, CALLS = "RfGx1dQAIAMCIhA=", "RfGx7cN9IAMCKtw="
GOOD = [name for name in names("ingest") if name != "ingest.breaks-schema"]


def recorded(cloud: Cloud) -> dict[str, dict[str, Any]]:
    """Return the entries that clients will hear, by audience, their frames read."""
    rows = [row for row in cloud.rows("Events") if "message" in row]
    found = {row["audience"]: {**row, "message": json.loads(row["message"])} for row in rows}
    assert len(found) == len(rows), "an audience has two entries"
    return found


def test_there_is_an_event_of_every_type() -> None:
    assert {sample(name)["detail-type"] for name in GOOD} == set(SCHEMAS)


@pytest.mark.parametrize(
    ("name", "audiences"),
    [
        ("ingest.call_started", {"calls/123", "calls/789"}),
        ("ingest.call_ended", {"calls/123", "calls/789"}),
        ("ingest.call_billing", {"calls/123", "calls/789"}),
        ("ingest.favorite_added", {"notifications/789"}),
        ("ingest.favorite_removed", {"notifications/789"}),
        ("ingest.user_blocked", {"notifications/789"}),
        ("ingest.user_unblocked", {"notifications/789"}),
        ("ingest.system_notification", {f"notifications/*/{shard}" for shard in range(4)}),
        ("ingest.status_change", set()),
        ("ingest.session_revoked", set()),
    ],
)
def test_an_event_is_recorded_for_whom_it_concerns_and_nobody_else(
    cloud: Cloud, name: str, audiences: set[str]
) -> None:
    assert cloud.function("ingest")(sample(name)) is None
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


def test_how_long_a_message_is_kept_and_worth_hearing(cloud: Cloud) -> None:
    cloud.function("ingest", HistorySeconds=7200)(backend_event("system_notification"))
    for entry in recorded(cloud).values():
        assert entry["expires_at"] == STORY_BEGINS + 7200
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
    for name in ("ingest.call_started", "ingest.call_ended", "ingest.call_started"):
        ingest(sample(name))
    assert "busy_calls" not in cloud.user("123")


def test_a_call_makes_both_participants_busy_until_it_ends(cloud: Cloud) -> None:
    ingest = cloud.function("ingest")
    ingest(backend_event("call_started"))
    assert cloud.user("123")["busy_calls"] == cloud.user("789")["busy_calls"] == {"456"}
    ingest(backend_event("call_billing"))
    assert cloud.user("123")["busy_calls"] == {"456"}
    ingest(backend_event("call_ended"))
    assert "busy_calls" not in cloud.user("123")
    assert "busy_calls" not in cloud.user("789")


def test_who_is_in_two_calls_is_busy_until_both_have_ended(cloud: Cloud) -> None:
    ingest = cloud.function("ingest")
    other = backend_event("call_started")
    other["id"] = "another event"
    other["detail"] |= {"call_id": 457, "listener_id": 790}
    for event in (backend_event("call_started"), other, backend_event("call_ended")):
        ingest(event)
    assert cloud.user("123")["busy_calls"] == {"457"}
    assert cloud.user("790")["busy_calls"] == {"457"}


def test_a_call_whose_end_came_first_is_told_but_makes_nobody_busy(cloud: Cloud) -> None:
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


def test_whom_a_user_blocks_no_more_sees_them(cloud: Cloud) -> None:
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


def test_the_samples_of_a_busy_user_are_what_ingesting_writes(cloud: Cloud, clock: Clock) -> None:
    cloud.function("connect")(sample("connect.token-in-query"))
    cloud.stream("Users")
    clock.now += 4.6
    cloud.function("ingest")(backend_event("call_started"))
    (record,) = (each for each in cloud.stream("Users") if each["dynamodb"]["Keys"] == {"user_id": {"S": "123"}})
    shown = sample("announce.became-busy")["Records"][0]["dynamodb"]
    assert record["dynamodb"]["NewImage"] == shown["NewImage"]
    assert record["dynamodb"]["OldImage"] == shown["OldImage"]


def broken(**changes: object) -> dict[str, Any]:
    event = backend_event("call_started")
    for name, value in changes.items():
        event[name.replace("_", "-")] = value
    return event


@pytest.mark.parametrize(
    ("event", "reason"),
    [
        (backend_event("breaks-schema"), "detail: Object missing required field `listener_id`"),
        (broken(detail_type="call_paused"), "detail-type: unknown 'call_paused'; known are "),
        (broken(detail=["call"]), "detail: must be a JSON object"),
        (broken(detail={**backend_event("call_started")["detail"], "note": "x" * 120_001}), "detail: larger than "),
        (broken(time="yesterday"), "time: must be RFC 3339"),
    ],
)
def test_an_event_that_breaks_its_schema_is_found_whole_with_the_reason(
    cloud: Cloud, logged: LogLines, event: dict[str, Any], reason: str
) -> None:
    assert cloud.function("ingest")(event) is None
    (message,) = cloud.messages("RejectedEvents")
    assert json.loads(message["Body"]) == event
    assert message["MessageAttributes"]["reason"]["StringValue"].startswith(reason)
    assert cloud.rows("Events") == cloud.rows("Users") == []
    (line,) = logged.lines
    assert (line["level"], line["message"], line["event_id"]) == ("WARNING", "rejected", event["id"])


def test_an_event_too_large_to_be_recorded_for_all_whom_it_names_is_refused(cloud: Cloud) -> None:
    event = backend_event("system_notification")
    event["detail"] = {"text": "x" * 100_000, "delivery": {"to": list(range(40))}}
    cloud.function("ingest")(event)
    (message,) = cloud.messages("RejectedEvents")
    assert message["MessageAttributes"]["reason"]["StringValue"].startswith("detail: too large to be recorded 40 times")
    assert cloud.rows("Events") == []


def test_a_reason_of_any_length_fits_beside_the_event(cloud: Cloud) -> None:
    cloud.function("ingest")(broken(detail_type="x" * 5000))
    (message,) = cloud.messages("RejectedEvents")
    assert len(message["MessageAttributes"]["reason"]["StringValue"]) == 1000


@pytest.mark.parametrize("name", GOOD)
def test_what_cannot_be_stored_is_tried_again_by_lambda(cloud: Cloud, name: str) -> None:
    cloud.dynamodb.delete_table(TableName="EventsTable")
    with pytest.raises(ConfigurationError, match="recording an event: ResourceNotFoundException"):
        cloud.function("ingest")(sample(name))


def test_nothing_of_an_event_takes_effect_if_it_cannot_be_recorded(cloud: Cloud) -> None:
    cloud.dynamodb.delete_table(TableName="EventsTable")
    with pytest.raises(ConfigurationError):
        cloud.function("ingest")(backend_event("call_started"))
    assert cloud.rows("Users") == []


@pytest.mark.parametrize("name", names("ingest"))
def test_no_message_is_logged(cloud: Cloud, logged: LogLines, name: str) -> None:
    event = sample(name)
    event["detail"]["username"] = "hunter2"
    cloud.function("ingest")(event)
    assert len(logged.lines) == 1
    assert "hunter2" not in logged.text


def test_what_goes_to_as_many_users_as_allowed_fits_into_one_transaction(cloud: Cloud) -> None:
    event = backend_event("user_blocked")
    event["detail"]["delivery"]["to"] = list(range(90))
    cloud.function("ingest")(event)
    assert len(recorded(cloud)) == 90
    assert len(cloud.user("123")["hidden_from"]) == 90


def test_as_many_shards_as_the_template_allows_fit_into_one_transaction(cloud: Cloud) -> None:
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
