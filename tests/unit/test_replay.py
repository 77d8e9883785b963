from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import replace
from typing import Any

import pytest

from realtime.errors import BadRequest
from realtime.ids import make_event_id
from realtime.replay import MAX_REPLAYED, OVERLAP_MS, OVERLAP_OF_SEVERAL_MS, Replay
from realtime.tables.connections import Connection, Connections
from realtime.tables.outbox import Entry, Outbox

NOW = 1_705_314_600_000
CALLS = Connection("one=", "calls", "123", NOW, NOW // 1000 + 3600)
FEED = replace(CALLS, endpoint="feed")
AWAY = NOW - 60_000  # when the client got its last message
LAST = make_event_id(AWAY, "last")


class VisibleIndex(Connections):
    """An index of audiences that shows every connection at once."""

    def __init__(self) -> None:
        self.awaited: list[str] = []

    def wait_until_indexed(self, audiences: Collection[str], connection_id: str) -> None:
        self.awaited += audiences


class RecordedOutbox(Outbox):
    """An outbox with these entries, in the order in which they were recorded."""

    def __init__(self, *entries: Entry) -> None:
        self._entries = entries

    def newest(self, audience: str, event_id: str, limit: int) -> list[Entry]:
        found = [entry for entry in self._entries if entry.audience == audience and entry.event_id > event_id]
        return sorted(found, key=lambda entry: entry.event_id, reverse=True)[:limit]


def recorded(name: str, at: int, audience: str = "calls/123", kind: str = "call_started", **more: Any) -> Entry:
    options: dict[str, Any] = {"expires_at_s": at // 1000 + 86_400, **more}
    return Entry(audience, make_event_id(at, name), kind, f'{{"name":"{name}"}}', **options)


def replayed(
    *entries: Entry, connection: Connection = CALLS, audiences: Collection[str] = ("calls/123",), last_id: object = LAST
) -> tuple[list[Any], dict[str, Any]]:
    """Return the names in the frames before `resumed`, and the data of `resumed`."""
    replay = Replay(VisibleIndex(), RecordedOutbox(*entries), history_seconds=86_400, presence_history_seconds=3600)
    *frames, resumed = map(json.loads, replay.since(connection, list(audiences), last_id, NOW))
    assert resumed.pop("timestamp")
    assert resumed["type"] == "resumed"
    names = [[each["name"] for each in frame] if isinstance(frame, list) else frame["name"] for frame in frames]
    return names, resumed["data"]


def test_missed_messages_come_in_order_and_then_resumed() -> None:
    entries = [recorded("late", AWAY + 2), recorded("early", AWAY + 1)]
    assert replayed(*entries) == (["early", "late"], {"recovered": True, "replayed": 2})


def test_a_client_that_missed_nothing_gets_resumed_alone() -> None:
    assert replayed() == ([], {"recovered": True, "replayed": 0})


def test_messages_from_shortly_before_the_last_id_are_replayed_too() -> None:
    """Two writers may write in an order that differs from that of their ids, so a client may miss an older message."""
    entries = [
        recorded("long before", AWAY - OVERLAP_MS - 1),
        recorded("a little before", AWAY - 100),
        recorded("last", AWAY),
        recorded("after", AWAY + 1),
    ]
    assert entries[2].event_id == LAST
    assert replayed(*entries)[0] == ["a little before", "after"]


def test_the_overlap_is_longer_for_a_connection_with_several_audiences() -> None:
    connection = replace(CALLS, endpoint="notifications")
    entries = [
        recorded("long before", AWAY - OVERLAP_OF_SEVERAL_MS - 1, "notifications/*/2"),
        recorded("behind", AWAY - OVERLAP_OF_SEVERAL_MS + 1, "notifications/*/2"),
        recorded("last", AWAY, "notifications/123"),
    ]
    audiences = ("notifications/123", "notifications/*/2")
    assert replayed(*entries, connection=connection, audiences=audiences)[0] == ["behind"]


def test_all_audiences_of_a_connection_are_replayed_as_one() -> None:
    connection = replace(CALLS, endpoint="notifications")
    entries = [
        recorded("mine", AWAY + 1, "notifications/123"),
        recorded("everyone's", AWAY + 2, "notifications/*/2"),
        recorded("mine again", AWAY + 3, "notifications/123"),
        recorded("another's", AWAY + 4, "notifications/789"),
    ]
    audiences = ("notifications/123", "notifications/*/2")
    assert replayed(*entries, connection=connection, audiences=audiences)[0] == ["mine", "everyone's", "mine again"]


def test_an_event_of_two_audiences_is_replayed_once() -> None:
    twice = [recorded("one", AWAY + 1, audience) for audience in ("feed/1", "feed/2")]
    assert replayed(*twice, connection=FEED, audiences=("feed/1", "feed/2")) == (
        ["one"],
        {"recovered": True, "replayed": 1},
    )


def test_messages_that_the_connection_would_not_have_got_are_not_replayed() -> None:
    connection = replace(FEED, types=frozenset({"listener_online"}))
    entries = [
        recorded("hidden", AWAY + 1, "feed/*/0", "listener_online", hidden_from=frozenset({"123"})),
        recorded("reserved", AWAY + 2, "feed/*/0", "listener_online", shown_to=frozenset({"789"})),
        recorded("unwanted", AWAY + 3, "feed/*/0", "listener_busy"),
        recorded("wanted", AWAY + 4, "feed/*/0", "listener_online"),
    ]
    assert replayed(*entries, connection=connection, audiences=["feed/*/0"]) == (
        ["wanted"],
        {"recovered": True, "replayed": 1},
    )


def test_expired_messages_are_not_replayed() -> None:
    """DynamoDB deletes expired items up to two days late."""
    entries = [
        recorded("too late", AWAY + 1, not_after_s=NOW // 1000 - 1),
        recorded("expired", AWAY + 2, expires_at_s=NOW // 1000),
        recorded("just in time", AWAY + 3, not_after_s=NOW // 1000),
    ]
    assert replayed(*entries)[0] == ["just in time"]


def test_a_client_that_takes_batches_gets_arrays_with_the_last_state_of_each_user() -> None:
    batched = replace(CALLS, endpoint="presence", batch=True)
    entries = [
        recorded("was online", AWAY + 1, "presence/*/0", "presence_update", subject="7"),
        recorded("other", AWAY + 2, "presence/*/0", "presence_update", subject="8"),
        recorded("is offline", AWAY + 3, "presence/*/0", "presence_update", subject="7"),
    ]
    assert replayed(*entries, connection=batched, audiences=["presence/*/0"]) == (
        [["other", "is offline"]],
        {"recovered": True, "replayed": 2},
    )


@pytest.mark.parametrize(
    ("endpoint", "away_seconds", "recovered"),
    [
        ("calls", 86_400, True),
        ("calls", 86_401, False),
        ("notifications", 86_401, False),
        ("feed", 3600, True),
        ("feed", 3601, False),
        ("presence", 3601, False),
    ],
)
def test_a_client_that_was_away_longer_than_history_is_told_so(
    endpoint: str, away_seconds: int, *, recovered: bool
) -> None:
    last_id = make_event_id(NOW - away_seconds * 1000, "last")
    entry = recorded("still there", NOW - 1, f"{endpoint}/123")
    names, resumed = replayed(
        entry, connection=replace(CALLS, endpoint=endpoint), audiences=[f"{endpoint}/123"], last_id=last_id
    )
    assert names == ["still there"]
    assert resumed == {"recovered": recovered, "replayed": 1}


def test_the_newest_messages_are_replayed_if_there_are_too_many() -> None:
    entries = [recorded(str(n), AWAY + 1 + n) for n in range(MAX_REPLAYED + 1)]
    names, resumed = replayed(*entries)
    assert names == [str(n) for n in range(1, MAX_REPLAYED + 1)]
    assert resumed == {"recovered": False, "replayed": MAX_REPLAYED}
    assert replayed(*entries[1:])[1] == {"recovered": True, "replayed": MAX_REPLAYED}


@pytest.mark.parametrize("last_id", [None, "", 5, "x" * 28, "018d0cabc5d06bba19c395fdaeb", LAST.upper() + "0", [LAST]])
def test_an_invalid_last_id_is_refused(last_id: object) -> None:
    with pytest.raises(BadRequest, match="last_id: must be the id of a message that you have heard"):
        replayed(last_id=last_id)


def test_history_is_read_after_the_index_shows_the_connection() -> None:
    order: list[str] = []

    class JournalingIndex(VisibleIndex):
        def wait_until_indexed(self, audiences: Collection[str], connection_id: str) -> None:
            order.append(f"await {connection_id} on {list(audiences)}")

    class JournalingOutbox(RecordedOutbox):
        def newest(self, audience: str, event_id: str, limit: int) -> list[Entry]:
            order.append(f"read {audience}")
            return []

    Replay(JournalingIndex(), JournalingOutbox(), history_seconds=60, presence_history_seconds=60).since(
        CALLS, ["calls/123"], LAST, NOW
    )
    assert order == ["await one= on ['calls/123']", "read calls/123"]
