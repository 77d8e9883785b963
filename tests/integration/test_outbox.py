"""The outbox: entries, events of the bus that are recorded once, and history."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from itertools import islice
from typing import Any

import pytest

from realtime.tables.calls import CallEnded
from realtime.tables.entries import Change, Entry, LateMark, Message, read_entry
from realtime.tables.outbox import Item, Outbox, Recorded
from realtime.tables.session_scan import Pass, Progress, SessionScan
from realtime.tables.transactions import TRANSACTION_LIMIT, Write
from tests.support.cloud import Cloud, Lagging, for_broadcast
from tests.unit.fakes import as_client

NOW = 1_705_314_600  # s
NOW_MS = NOW * 1000
NEW, AGAIN = Recorded("0001", is_new=True), Recorded("0001", is_new=False)
PLAIN = Entry("calls/123", "0001", "call_started", '{"type":"call_started"}', NOW + 60)
FULL = replace(
    PLAIN,
    audience="connection/one",
    stage="feed",
    close=True,
    not_after_s=NOW + 5,
    hidden_from=frozenset({"1", "2"}),
    subject="123",
    version=7,
)


@pytest.fixture
def outbox(cloud: Cloud) -> Outbox:
    return Outbox(cloud.dynamodb, "EventsTable")


def entries(cloud: Cloud) -> list[Entry]:
    items = cloud.dynamodb.scan(TableName="EventsTable")["Items"]
    found = [read_entry(each) for each in items if "message" in each]
    return sorted(found, key=lambda entry: (entry.audience, entry.event_id))


def entries_of(items: Iterable[Item]) -> list[Entry]:
    return [entry for each in items for entry in each.entries]


def effect(*, holds: bool = True) -> Write:
    """Return a write of another table."""
    update: dict[str, Any] = {
        "TableName": "UsersTable",
        "Key": {"user_id": {"S": "123"}},
        "UpdateExpression": "ADD version :one",
        "ExpressionAttributeValues": {":one": {"N": "1"}},
    }
    if not holds:
        update["ConditionExpression"] = "attribute_exists(user_id)"
    return Write("Update", update, lambda _: CallEnded("the call has ended"))


@pytest.fixture
def batches(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The ids of each batch that is written; DynamoDB may take any part of a batch first."""
    found: list[list[str]] = []

    def write(_client: object, _table: str, requests: list[dict[str, Any]]) -> None:
        found.append([each["PutRequest"]["Item"]["event_id"]["S"] for each in requests])

    monkeypatch.setattr("realtime.tables.outbox.write_all", write)
    return found


def test_the_states_of_a_user_are_recorded_in_their_order(outbox: Outbox, batches: list[list[str]]) -> None:
    def state(event_id: str, user: str) -> Entry:
        return replace(PLAIN, event_id=event_id, subject=user)

    outbox.put_all([state("1", "7"), state("2", "8"), state("3", "7"), PLAIN, state("4", "7")])
    assert batches == [["1", "2", PLAIN.event_id], ["3"], ["4"]]


@pytest.mark.parametrize("entry", [PLAIN, FULL], ids=["plain", "full"])
def test_an_entry_is_read_as_it_was_put(cloud: Cloud, outbox: Outbox, entry: Entry) -> None:
    outbox.put(entry)
    assert entries(cloud) == [entry]


def test_an_entry_that_is_put_again_stays_the_same(cloud: Cloud, outbox: Outbox) -> None:
    outbox.put(PLAIN)
    outbox.put_all([PLAIN, PLAIN, FULL])
    assert entries(cloud) == [PLAIN, FULL]


def test_entries_of_one_batch_may_share_a_key(cloud: Cloud, outbox: Outbox) -> None:
    outbox.put_all([PLAIN, replace(PLAIN, event_id="0002"), PLAIN])
    assert len(entries(cloud)) == 2


def test_an_event_is_recorded_with_its_effects(cloud: Cloud, outbox: Outbox) -> None:
    assert outbox.put_once("event-1", NOW_MS, [PLAIN, FULL], [effect()]) == NEW
    assert entries(cloud) == [PLAIN, FULL]
    assert cloud.user()["version"] == 1


def test_a_duplicate_is_neither_recorded_nor_has_effects(cloud: Cloud, outbox: Outbox) -> None:
    outbox.put_once("event-1", NOW_MS, [PLAIN], [effect()])
    again = outbox.put_once("event-1", NOW_MS + 60_000, [replace(PLAIN, event_id="0002")], [effect()])
    assert again == AGAIN  # under the id that was recorded first
    assert entries(cloud) == [PLAIN]
    assert cloud.user()["version"] == 1


def test_another_event_is_no_duplicate(cloud: Cloud, outbox: Outbox) -> None:
    outbox.put_once("event-1", NOW_MS, [PLAIN], [])
    assert outbox.put_once("event-2", NOW_MS, [replace(PLAIN, event_id="0002")], []).is_new
    assert len(entries(cloud)) == 2


def test_an_event_without_messages_is_remembered_too(cloud: Cloud, outbox: Outbox) -> None:
    assert outbox.put_once("event-1", NOW_MS, [], [effect()]) == Recorded(None, is_new=True)
    assert outbox.put_once("event-1", NOW_MS, [], [effect()]) == Recorded(None, is_new=False)


def test_an_event_is_remembered_for_as_long_as_eventbridge_may_send_it_again(cloud: Cloud, outbox: Outbox) -> None:
    outbox.put_once("event-1", NOW_MS, [], [])
    (mark,) = cloud.rows("Events")
    assert mark["expires_at"] > NOW + 24 * 3600
    assert "message" not in mark  # or the stream's reader would take it for one


def test_an_effect_whose_condition_fails_leaves_nothing_recorded(cloud: Cloud, outbox: Outbox) -> None:
    with pytest.raises(CallEnded):
        outbox.put_once("event-1", NOW_MS, [PLAIN], [effect(holds=False)])
    assert cloud.rows("Events") == []


def test_a_duplicate_is_recognised_even_if_conditions_of_its_effects_fail(cloud: Cloud, outbox: Outbox) -> None:
    outbox.put_once("event-1", NOW_MS, [PLAIN], [])
    assert outbox.put_once("event-1", NOW_MS, [PLAIN], [effect(holds=False)]) == AGAIN


def test_more_entries_than_a_transaction_holds_are_all_recorded(cloud: Cloud, outbox: Outbox) -> None:
    many = [replace(PLAIN, audience=f"connection/{n:03}", stage="feed") for n in range(TRANSACTION_LIMIT + 20)]
    assert outbox.put_once("event-1", NOW_MS, many, [effect()]).is_new
    assert entries(cloud) == many


def test_the_entries_since_an_id_are_read_in_order_over_all_pages(cloud: Cloud, outbox: Outbox) -> None:
    every = [replace(PLAIN, event_id=f"{n:04}", message="x" * 100_000) for n in range(30)]  # 3 MB, a page is 1 MB
    outbox.put_all(every)
    outbox.put(replace(PLAIN, audience="calls/789"))
    assert entries_of(outbox.since("calls/123", "0009")) == every[10:]
    assert list(outbox.since("calls/123", "0029")) == []


def test_the_place_where_a_sweep_stopped_is_kept(cloud: Cloud) -> None:
    scan = SessionScan(cloud.dynamodb, "ConnectionsTable", "EventsTable")
    assert scan.progress(2) == Progress()
    stopped = Pass(NOW_MS - 60_000, NOW_MS, {"connection_id": "one", "audience": "feed/*/0"})
    kept = Progress([stopped, Pass(NOW_MS, NOW_MS)], users={"online_shard": "1"}, calls={"started_at": 7})
    scan.keep(kept, NOW_MS)
    assert scan.progress(2) == kept
    assert scan.progress(3) == replace(kept, passes=())  # for another number of segments these are of no use


def test_the_place_where_a_sweep_stopped_is_kept_for_an_hour(cloud: Cloud) -> None:
    SessionScan(cloud.dynamodb, "ConnectionsTable", "EventsTable").keep(Progress(), NOW_MS)
    (row,) = cloud.rows("Events")
    assert row["expires_at"] == NOW_MS // 1000 + 3600


def test_the_place_where_a_sweep_stopped_a_moment_ago_is_read(cloud: Cloud) -> None:
    kept = Progress(asking=3)
    SessionScan(cloud.dynamodb, "ConnectionsTable", "EventsTable").keep(kept, NOW_MS)
    lagging = SessionScan(as_client(Lagging(cloud.dynamodb)), "ConnectionsTable", "EventsTable")
    assert lagging.progress(8) == replace(kept, passes=())


@pytest.mark.unpromised
def test_what_an_older_version_has_kept_is_ignored(cloud: Cloud) -> None:
    old = {"audience": {"S": "sweep"}, "event_id": {"S": "-"}, "cursors": {"S": "[null]"}}
    cloud.dynamodb.put_item(TableName="EventsTable", Item=old)
    assert SessionScan(cloud.dynamodb, "ConnectionsTable", "EventsTable").progress(1) == Progress()


def test_the_newest_entries_are_read_back_to_an_id(outbox: Outbox) -> None:
    outbox.put_all([replace(PLAIN, event_id=f"{n:04}") for n in range(1, 8)])
    outbox.put(replace(PLAIN, audience="calls/789", event_id="0009"))
    assert [each.event_id for each in islice(outbox.newest("calls/123", "0004", 10), 10)] == ["0007", "0006", "0005"]
    assert [each.event_id for each in islice(outbox.newest("calls/123", "0004", 2), 2)] == ["0007", "0006"]
    assert list(outbox.newest("calls/123", "0007", 10)) == []


def test_the_newest_entries_are_read_over_the_pages_of_a_megabyte(outbox: Outbox) -> None:
    outbox.put_all([replace(PLAIN, event_id=f"{n:04}", message="x" * 300_000) for n in range(8)])
    assert [each.event_id for each in islice(outbox.newest("calls/123", "0000", 6), 6)] == [
        f"{n:04}" for n in range(7, 1, -1)
    ]


def test_a_late_mark_is_read_with_the_log_but_is_no_entry_and_no_change(cloud: Cloud, outbox: Outbox) -> None:
    mark = LateMark("presence/*/0", "0002", NOW + 60)
    outbox.put_all([mark])
    assert list(outbox.since("feed/*/0", "0001")) == [("0002", [], True)]
    assert list(outbox.newest("presence/*/0", "0001", 10)) == [("0002", [], True)]
    assert list(outbox.changed_since("presence/*/0", "0001")) == []
    assert for_broadcast(cloud.stream("Events")) == {}


@pytest.mark.unpromised
def test_an_item_that_none_of_our_functions_wrote_is_no_part_of_the_history(cloud: Cloud, outbox: Outbox) -> None:
    outbox.put_all([PLAIN, replace(PLAIN, event_id="0003")])
    foreign = {"audience": {"S": "calls/123"}, "event_id": {"S": "0002"}, "message": {"S": "{}"}}
    cloud.dynamodb.put_item(TableName="EventsTable", Item=foreign)
    assert [each.event_id for each in entries_of(outbox.since("calls/123", "0"))] == ["0001", "0003"]
    assert [each.event_id for each in entries_of(outbox.newest("calls/123", "0", 2))] == ["0003", "0001"]


@pytest.mark.unpromised
def test_who_changed_since_an_id_is_read_over_all_pages_and_without_the_messages(cloud: Cloud) -> None:
    class SmallPages:
        def query(self, **request: Any) -> Any:
            answer = cloud.dynamodb.query(**request, Limit=2)
            fetched.update(name for each in answer["Items"] for name in each)
            return answer

    fetched: set[str] = set()
    message = {"presence": Message("0001", "presence_update", "{}")}
    changes = [
        Change("presence/*/0", str(n), {"presence": replace(message["presence"], event_id=f"{n:04}")}, NOW + 60, True)
        for n in range(5)
    ]
    Outbox(cloud.dynamodb, "EventsTable").put_all([replace(each, version=7) for each in changes])
    foreign = {"audience": {"S": "presence/*/0"}, "event_id": {"S": "0009"}, "message": {"S": "{}"}}
    cloud.dynamodb.put_item(TableName="EventsTable", Item=foreign)
    client: Any = SmallPages()
    found = Outbox(client, "EventsTable").changed_since("presence/*/0", "0001")
    assert list(found) == [("2", 7), ("3", 7), ("4", 7)]
    assert fetched == {"subject", "version"}


def test_no_more_of_the_history_is_read_than_is_wanted(cloud: Cloud) -> None:
    class Client:
        def query(self, **request: Any) -> Any:
            answer = cloud.dynamodb.query(**request)
            read.append(len(answer["Items"]))
            return answer

    read: list[int] = []
    client: Any = Client()
    outbox = Outbox(client, "EventsTable")
    Outbox(cloud.dynamodb, "EventsTable").put_all([replace(PLAIN, event_id=f"{n:04}") for n in range(8)])
    assert len(list(islice(outbox.newest("calls/123", "0000", 2), 2))) == 2
    assert read == [2]
