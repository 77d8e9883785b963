from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import pytest

from realtime.audiences import log_of
from realtime.errors import BadRequest
from realtime.hiding import HistoryHiding
from realtime.ids import make_event_id
from realtime.positions import LATEST_MS, SINCE, SLICE_MS, SLICES, Position, floor
from realtime.posted import Posted
from realtime.presence import Rules, consequences, current_messages
from realtime.replay import MAX_READ, MAX_REPLAYED, OVERLAP_OF_SEVERAL_MS, Replay
from realtime.tables.connections import Connection, Connections
from realtime.tables.entries import Entry, LateMark
from realtime.tables.outbox import Item, Outbox
from realtime.tables.users import User, Users
from realtime.watched_states import WatchedStates
from tests.unit.fakes import FakeBlocks, entries_of

NOW = 1_705_314_600_000
CALLS = Connection("one=", "calls", "123", NOW, NOW // 1000 + 3600)
FEED = replace(CALLS, stage="feed")
AWAY = NOW - 60_000  # when the client got its last message
LAST = make_event_id(AWAY, "last")
HISTORY = {"history_seconds": 86_400, "presence_history_seconds": 3600}


class VisibleIndex(Connections):
    """An index of audiences that shows every connection at once."""

    def __init__(self) -> None:
        self.awaited: list[str] = []

    def wait_until_indexed(self, audiences: Collection[str], connection_id: str) -> None:
        self.awaited += audiences


class RecordedOutbox(Outbox):
    """An outbox with these entries, in the order in which they were recorded; it counts the items that are read."""

    def __init__(self, *entries: Entry | LateMark) -> None:
        self._entries = entries
        self.read = 0

    def since(self, audience: str, event_id: str) -> Iterator[Item]:
        return self._counted(self._found(audience, event_id))

    def newest(self, audience: str, event_id: str, limit: int) -> Iterator[Item]:
        return self._counted(reversed(self._found(audience, event_id)))

    def _found(self, audience: str, event_id: str) -> list[Item]:
        log = log_of(audience)
        found = [each for each in self._entries if log_of(each.audience) == log and each.event_id > event_id]
        in_order = sorted(found, key=lambda each: each.event_id)
        return [
            Item(each.event_id, [], is_late_mark=True)
            if isinstance(each, LateMark)
            else Item(each.event_id, [each] if each.audience == audience else [])
            for each in in_order
        ]

    def _counted(self, items: Iterable[Item]) -> Iterator[Item]:
        for each in items:
            self.read += 1
            yield each


class KnownUsers(Users):
    """The Users table, with these users."""

    def __init__(self, *users: User) -> None:
        self._users = {user.user_id: user for user in users}

    def get_many(self, user_ids: Collection[str]) -> list[User]:
        return [self._users[each] for each in user_ids if each in self._users]


UNBLOCKED = HistoryHiding(FakeBlocks(), KnownUsers())


def _name(frame: dict[str, Any]) -> str:
    """Return the name of a message, or what it says about a watched user."""
    return str(frame.get("name") or f"{frame['data']['user_id']} {frame['type']}")


def recorded(name: str, at: int, audience: str = "calls/123", kind: str = "call_started", **more: Any) -> Entry:
    options: dict[str, Any] = {"expires_at_s": at // 1000 + 86_400, **more}
    return Entry(audience, make_event_id(at, name), kind, f'{{"name":"{name}"}}', **options)


def replayed(
    *entries: Entry | LateMark,
    connection: Connection = CALLS,
    audiences: Collection[str] = ("calls/123",),
    last_id: object = LAST,
    users: Collection[User] = (),
    blocks: Collection[tuple[str, str]] = (),
) -> tuple[list[Any], dict[str, Any]]:
    """Return the names in the frames before `resumed`, and the data of `resumed`."""
    replay = Replay(
        VisibleIndex(),
        RecordedOutbox(*entries),
        WatchedStates(KnownUsers(*users), feed_role="listener", history_seconds=3600),
        HistoryHiding(FakeBlocks(*blocks), KnownUsers(*users)),
        **HISTORY,
    )
    *frames, resumed = map(json.loads, replay.since_id(connection, list(audiences), last_id, NOW))
    assert resumed.pop("timestamp")
    assert resumed["position"].keys() == {"since"}
    assert resumed["type"] == "resumed"
    names = [[_name(each) for each in frame] if isinstance(frame, list) else _name(frame) for frame in frames]
    return names, resumed["data"]


def test_missed_messages_come_in_order_and_then_resumed() -> None:
    entries = [recorded("late", AWAY + 2), recorded("early", AWAY + 1)]
    assert replayed(*entries) == (["early", "late"], {"recovered": True, "replayed": 2})


def test_a_client_that_missed_nothing_gets_resumed_alone() -> None:
    assert replayed() == ([], {"recovered": True, "replayed": 0})


def test_messages_from_shortly_before_the_last_id_are_replayed_too() -> None:
    """Two writers may write in an order that differs from that of their ids, so a client may miss an older message."""
    entries = [
        recorded("long before", AWAY - LATEST_MS - 1),
        recorded("a little before", AWAY - 100),
        recorded("last", AWAY),
        recorded("after", AWAY + 1),
    ]
    assert entries[2].event_id == LAST
    assert replayed(*entries)[0] == ["a little before", "after"]


def test_the_overlap_is_longer_for_a_connection_with_several_audiences() -> None:
    connection = replace(CALLS, stage="notifications")
    entries = [
        recorded("long before", AWAY - OVERLAP_OF_SEVERAL_MS - 1, "notifications/*/2"),
        recorded("behind", AWAY - OVERLAP_OF_SEVERAL_MS + 1, "notifications/*/2"),
        recorded("last", AWAY, "notifications/123"),
    ]
    audiences = ("notifications/123", "notifications/*/2")
    assert replayed(*entries, connection=connection, audiences=audiences)[0] == ["behind"]


def test_all_audiences_of_a_connection_are_replayed_as_one() -> None:
    connection = replace(CALLS, stage="notifications")
    entries = [
        recorded("mine", AWAY + 1, "notifications/123"),
        recorded("everyone's", AWAY + 2, "notifications/*/2"),
        recorded("mine again", AWAY + 3, "notifications/123"),
        recorded("another's", AWAY + 4, "notifications/789"),
    ]
    audiences = ("notifications/123", "notifications/*/2")
    assert replayed(*entries, connection=connection, audiences=audiences)[0] == ["mine", "everyone's", "mine again"]


def test_an_event_of_two_audiences_is_replayed_once() -> None:
    connection = replace(CALLS, stage="notifications")
    audiences = ("notifications/123", "notifications/*/2")
    twice = [recorded("one", AWAY + 1, audience) for audience in audiences]
    assert replayed(*twice, connection=connection, audiences=audiences) == (["one"], {"recovered": True, "replayed": 1})


def watched(user_id: str, changed_at_ms: int, **more: Any) -> User:
    state: dict[str, Any] = {
        "username": None,
        "role": "listener",
        "connection_ids": frozenset(),
        "is_online": False,
        "is_busy": False,
        "last_seen_ms": changed_at_ms,
        "left_at_ms": changed_at_ms,
        "version": 7,
        "hidden_from": frozenset(),
        **more,
    }
    return User(user_id=user_id, changed_at_ms=changed_at_ms, **state)


def test_a_connection_that_watches_gets_the_states_that_changed_meanwhile() -> None:
    """Changes are recorded for everyone, not for each watched user, so the users' states say what it missed."""
    users = [
        watched("2", AWAY + 2, is_online=True, is_busy=True),
        watched("1", AWAY + 1),
        watched("3", AWAY - OVERLAP_OF_SEVERAL_MS - 1),
        watched("4", AWAY + 4, hidden_from=frozenset({"123"})),
    ]
    states, resumed = replayed(connection=FEED, audiences=[f"feed/{n}" for n in range(1, 6)], users=users)
    assert set(states[:2]) == {"1 listener_offline", "1 listener_available"}
    assert set(states[2:]) == {"2 listener_online", "2 listener_busy"}
    assert resumed == {"recovered": True, "replayed": 4}
    on_presence = replace(FEED, stage="presence", types=frozenset({"status_change"}))
    assert replayed(connection=on_presence, audiences=["presence/1"], users=users)[0] == ["1 status_change"]


def resumed_watching(*users: User, position: Mapping[str, str]) -> tuple[list[str], dict[str, Any]]:
    """Return what a connection that watches these users gets after a position, and the `resumed` message."""
    states = WatchedStates(KnownUsers(*users), feed_role="listener", history_seconds=3600)
    replay = Replay(VisibleIndex(), RecordedOutbox(), states, UNBLOCKED, **HISTORY)
    audiences = [f"feed/{user.user_id}" for user in users]
    *frames, resumed = map(json.loads, replay.since_position(FEED, audiences, position, NOW))
    sent = [each for frame in frames for each in (frame if isinstance(frame, list) else [frame])]
    return [_name(each) for each in sent], resumed


def test_a_connection_that_watches_gets_the_states_after_its_position() -> None:
    before, after = watched("1", AWAY - 1), watched("2", AWAY + 2, is_online=True, is_busy=True)
    names, resumed = resumed_watching(before, after, position={"since": Position.at(AWAY).text})
    assert sorted(names) == ["2 listener_busy", "2 listener_online"]
    assert resumed["data"] == {"recovered": True, "replayed": 2, "complete": True}


@pytest.mark.parametrize("kind", ["listener_online", "listener_busy"])
def test_a_client_that_received_a_message_about_the_last_change_of_a_watched_user_knows_it(kind: str) -> None:
    user = watched("1", AWAY + 1, is_online=True, is_busy=True)
    of_kind = {each.kind: each.event_id for each in current_messages(user, "feed", "listener")}
    position = {"since": Position.at(AWAY).text, "feed/1": Position(of_kind[kind]).text}
    assert resumed_watching(user, position=position)[0] == []


def test_a_second_change_of_a_watched_user_in_the_same_millisecond_is_not_missed() -> None:
    user = watched("1", AWAY + 1, is_online=True)
    (first, _) = current_messages(user, "feed", "listener")
    changed = replace(user, version=user.version + 1, is_online=False)
    names, _ = resumed_watching(changed, position={"feed/1": Position(first.event_id).text})
    assert sorted(names) == ["1 listener_available", "1 listener_offline"]


@pytest.mark.parametrize("behind_ms", [4, 3500])
def test_a_later_state_of_a_watched_user_with_an_earlier_time_is_not_missed(behind_ms: int) -> None:
    """The time of a change is that of its handler's begin; clocks differ, and a write may be tried again."""
    heard = watched("1", AWAY, is_online=True)
    (message, _) = current_messages(heard, "feed", "listener")
    later = replace(heard, version=heard.version + 1, is_online=False, changed_at_ms=AWAY - behind_ms)
    position = {"since": Position.at(AWAY - 60_000).text, "feed/1": Position(message.event_id).text}
    names, reached = resumed_watching(later, position=position)
    assert sorted(names) == ["1 listener_available", "1 listener_offline"]
    assert resumed_watching(later, position=position | reached["position"])[0] == []


def test_resuming_again_from_the_position_of_watched_users_brings_nothing_more() -> None:
    user = watched("1", AWAY + 1, is_online=True)
    _, resumed = resumed_watching(user, position={"since": Position.at(AWAY).text})
    assert resumed_watching(user, position=resumed["position"])[0] == []


def test_feed_shows_a_watched_user_who_is_no_listener_as_offline() -> None:
    user = watched("1", AWAY + 1, role="client", is_online=True)
    assert replayed(connection=FEED, audiences=["feed/1"], users=[user])[0] == ["1 listener_offline"]


def test_a_watched_state_has_the_id_of_the_message_that_reported_it() -> None:
    user = watched("1", AWAY + 1)
    rules = Rules(shards=1, feed_role="listener", history_seconds=3600)
    (change,) = consequences(replace(user, is_online=True), user, rules).changes
    states = WatchedStates(KnownUsers(user), feed_role="listener", history_seconds=3600)
    sent = {entry.message for entry in entries_of(change)}
    assert {entry.message for entry in states.since(["feed/1"], AWAY)} & sent
    assert {entry.message for entry in states.since(["presence/1"], AWAY)} & sent


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


def test_a_client_gets_only_the_last_state_of_each_user() -> None:
    presence = replace(CALLS, stage="presence")
    entries = [
        recorded("was online", AWAY + 1, "presence/*/0", "presence_update", subject="7"),
        recorded("other", AWAY + 2, "presence/*/0", "presence_update", subject="8"),
        recorded("is offline", AWAY + 3, "presence/*/0", "presence_update", subject="7"),
    ]
    last_states = {"recovered": True, "replayed": 2}
    assert replayed(*entries, connection=presence, audiences=["presence/*/0"]) == (["other", "is offline"], last_states)
    batched = replace(presence, batch=True)
    assert replayed(*entries, connection=batched, audiences=["presence/*/0"]) == (
        [["other", "is offline"]],
        last_states,
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
    audience = f"{endpoint}/*/0"
    entry = recorded("still there", NOW - 1, audience)
    names, resumed = replayed(entry, connection=replace(CALLS, stage=endpoint), audiences=[audience], last_id=last_id)
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
    with pytest.raises(BadRequest, match="last_id: must be the id of a message that you have received"):
        replayed(last_id=last_id)


def test_history_is_read_after_the_index_shows_the_connection() -> None:
    order: list[str] = []

    class JournalingIndex(VisibleIndex):
        def wait_until_indexed(self, audiences: Collection[str], connection_id: str) -> None:
            order.append(f"await {connection_id} on {list(audiences)}")

    class JournalingOutbox(RecordedOutbox):
        def newest(self, audience: str, event_id: str, limit: int) -> Iterator[Item]:
            order.append(f"read {audience}")
            return iter(())

    states = WatchedStates(KnownUsers(), feed_role="listener", history_seconds=60)
    replay = Replay(JournalingIndex(), JournalingOutbox(), states, UNBLOCKED, **HISTORY)
    replay.since_id(CALLS, ["calls/123"], LAST, NOW)
    assert order == ["await one= on ['calls/123']", "read calls/123"]


# ---- by position -----------------------------------------------------------------------------------------------------


def after(*entries: Entry) -> str:
    """Return the text of the position of a client that received these entries."""
    ids = [entry.event_id for entry in entries]
    return Posted.of(max(ids), ids).position().text


def replay_of(*entries: Entry | LateMark, blocks: Collection[tuple[str, str]] = ()) -> Replay:
    """Return the replay of these entries, where nobody watches."""
    states = WatchedStates(KnownUsers(), feed_role="listener", history_seconds=3600)
    hiding = HistoryHiding(FakeBlocks(*blocks), KnownUsers())
    return Replay(VisibleIndex(), RecordedOutbox(*entries), states, hiding, **HISTORY)


def resumed(
    *entries: Entry | LateMark,
    position: object,
    connection: Connection = CALLS,
    audiences: Collection[str] = ("calls/123",),
) -> tuple[list[str], dict[str, Any], dict[str, str]]:
    """Return the names in the frames before `resumed`, the data of `resumed`, and its position."""
    replay = replay_of(*entries)
    *frames, last = map(json.loads, replay.since_position(connection, list(audiences), position, NOW))
    assert last["type"] == "resumed"
    messages = [each for frame in frames for each in (frame if isinstance(frame, list) else [frame])]
    return [each["name"] for each in messages], last["data"], last["position"]


ALL = {"recovered": True, "complete": True}


def test_after_a_position_the_missed_messages_come_once_in_order_and_as_an_array() -> None:
    entries = [recorded(str(n), AWAY + n) for n in range(5)]
    replay = replay_of(*entries)
    frames = replay.since_position(CALLS, ["calls/123"], {"calls/123": after(*entries[:2])}, NOW)
    assert [each["name"] for each in json.loads(frames[0])] == ["2", "3", "4"]
    assert len(frames) == 2


def test_an_entry_that_was_written_late_is_missed_and_the_others_are_not_sent_again() -> None:
    entries = [recorded(str(n), AWAY + n * 100) for n in range(50)]
    position = {"calls/123": after(*entries[:20], *entries[21:])}
    assert resumed(*entries, position=position)[:2] == (["20"], ALL | {"replayed": 1})


def test_the_position_of_resumed_says_that_nothing_is_missing_any_more() -> None:
    entries = [recorded(str(n), AWAY + n * 100) for n in range(50)]
    given = {"calls/123": after(*entries[:20], *entries[21:30])}
    names, _, position = resumed(*entries, position=given)
    assert len(names) == 21
    assert position.keys() == {"calls/123", SINCE}
    assert position.items() >= floor(CALLS.connected_at_ms, NOW).items()
    assert resumed(*entries, position=given | position)[:2] == ([], ALL | {"replayed": 0})


@pytest.mark.parametrize("endpoint", ["presence", "feed"])
def test_a_client_that_was_away_when_changes_were_recorded_late_is_told_so_once(endpoint: str) -> None:
    """Their ids may be older than all that is read for its position; only `sync` has them all."""
    connection, audiences = replace(CALLS, stage=endpoint), [f"{endpoint}/*/0"]
    heard, next_one = (recorded(name, at, audiences[0]) for name, at in (("heard", AWAY), ("next", AWAY + 9_000)))
    late = recorded("late", AWAY - LATEST_MS - 60_000, audiences[0])
    mark = LateMark("presence/*/0", make_event_id(AWAY + 5_000, "late"), NOW)
    given = floor(AWAY - 3600_000, NOW) | {audiences[0]: after(heard)}
    for more in ([], [next_one]):
        names, data, position = resumed(
            heard, late, mark, *more, position=given, connection=connection, audiences=audiences
        )
        assert (names, data["recovered"]) == ([each["name"] for each in map(_body, more)], False)
        again = resumed(heard, late, mark, *more, position=given | position, connection=connection, audiences=audiences)
        assert again[:2] == ([], ALL | {"replayed": 0})
    after_it = {audiences[0]: after(heard, next_one)}
    assert resumed(heard, mark, next_one, position=given | after_it, connection=connection, audiences=audiences)[1] == (
        ALL | {"replayed": 0}
    )


@pytest.mark.parametrize(("marked_at", "recovered"), [(AWAY - 1, True), (AWAY + 1, False)])
def test_by_last_id_a_client_is_told_of_changes_that_were_recorded_late(marked_at: int, *, recovered: bool) -> None:
    mark = LateMark("presence/*/0", make_event_id(marked_at, "late"), NOW)
    connection = replace(CALLS, stage="presence")
    assert replayed(mark, connection=connection, audiences=["presence/*/0"])[1] == {
        "recovered": recovered,
        "replayed": 0,
    }


def _body(entry: Entry) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(entry.message)
    return body


def test_a_client_that_has_received_no_event_gets_what_came_since_its_connection_began() -> None:
    entries = [recorded("before", AWAY - LATEST_MS - 1), recorded("first", AWAY + 1)]
    assert resumed(*entries, position=floor(AWAY, NOW))[:2] == (["first"], ALL | {"replayed": 1})


def test_what_was_posted_before_the_first_connection_is_not_sent_even_if_the_sums_do_not_have_it() -> None:
    entries = [recorded("before", AWAY - LATEST_MS - 1), recorded("heard", AWAY - LATEST_MS + 1)]
    position = floor(AWAY, NOW) | {"calls/123": after(entries[1])}
    assert resumed(*entries, position=position)[0] == []


def test_a_client_that_lost_its_connection_after_its_first_event_and_before_an_answer_misses_nothing() -> None:
    heard, other = recorded("heard", AWAY), recorded("other", AWAY - 1000, "notifications/*/2")
    names, data, _ = resumed(
        heard,
        other,
        position={"calls/123": after(heard)},
        audiences=("calls/123", "notifications/*/2"),
    )
    assert (names, data) == (["other"], ALL | {"replayed": 1})


def test_each_audience_goes_on_from_a_position_of_its_own() -> None:
    mine = [recorded("mine", AWAY + 9000, "notifications/123"), recorded("my new", AWAY + 9001, "notifications/123")]
    all_ = [recorded("old", AWAY, "notifications/*/2"), recorded("everyone's", AWAY + 1, "notifications/*/2")]
    names, data, _ = resumed(
        *mine,
        *all_,
        position={"notifications/123": after(mine[0]), "notifications/*/2": after(all_[0])},
        connection=replace(CALLS, stage="notifications"),
        audiences=("notifications/123", "notifications/*/2"),
    )
    assert (names, data) == (["everyone's", "my new"], ALL | {"replayed": 2})


def test_a_client_on_another_shard_gets_what_either_history_has() -> None:
    """An event is recorded for each shard, but not for all at once."""
    here, there = ([recorded(str(n), AWAY + n, f"notifications/*/{shard}") for n in range(4)] for shard in (0, 1))
    entries = [*here[:2], here[3], *there[:3]]
    position = {"notifications/*/1": after(there[0]), "notifications/*/3": after(recorded("x", AWAY - 9000))}
    audiences, connection = ["notifications/*/0"], replace(CALLS, stage="notifications")
    names, data, reached = resumed(*entries, position=position, audiences=audiences, connection=connection)
    assert (names, data) == (["1", "2", "3"], ALL | {"replayed": 3})
    assert reached["notifications/*/0"] == reached["notifications/*/1"]
    assert resumed(*entries, position=position | reached, audiences=audiences, connection=connection)[0] == []


def test_a_client_reads_no_history_but_that_of_its_audiences() -> None:
    others = [recorded("another's", AWAY + 1, "calls/789"), recorded("no shard", AWAY + 1, "notifications/*/x")]
    position = {each.audience: after(recorded("old", AWAY)) for each in others} | floor(AWAY, NOW)
    assert resumed(*others, position=position, audiences=["notifications/*/0"])[0] == []
    assert resumed(*others, position=position)[0] == []


def test_the_oldest_messages_come_first_if_there_are_too_many_and_the_rest_when_asked_again() -> None:
    entries = [recorded(f"{n:03}", AWAY + n) for n in range(2 * MAX_REPLAYED + 1)]
    position: dict[str, str] = {"calls/123": after(recorded("heard", AWAY - 1))}
    sent = []
    for count, complete in ((MAX_REPLAYED, False), (MAX_REPLAYED, False), (1, True)):
        names, data, more = resumed(*entries, position=position)
        assert data == {"recovered": True, "replayed": count, "complete": complete}
        assert (SINCE in more) is complete
        position |= more
        sent += names
    assert sent == [f"{n:03}" for n in range(2 * MAX_REPLAYED + 1)]


def test_several_audiences_go_on_together_if_there_are_too_many_messages() -> None:
    audiences = ("notifications/123", "notifications/*/2")
    entries = [recorded(f"{n:03}", AWAY + n, audiences[n % 2]) for n in range(2 * MAX_REPLAYED)]
    late = recorded("late", AWAY - 5, audiences[0])
    had = [recorded("a", AWAY - 1, audiences[0]), recorded("b", AWAY - 2, audiences[1])]
    position: dict[str, str] = {each.audience: after(each) for each in had}
    names: list[str] = []
    for _ in range(3):
        now, _, more = resumed(
            late, *had, *entries, position=position, audiences=audiences, connection=replace(CALLS, stage="feed")
        )
        names += now
        position |= more
    assert names == ["late", *(f"{n:03}" for n in range(2 * MAX_REPLAYED))]


def test_a_slice_that_has_to_be_sent_again_does_not_keep_a_client_from_going_on() -> None:
    entries = [recorded(f"{n:04}", AWAY + n) for n in range(3 * MAX_REPLAYED)]
    position: dict[str, str] = {"calls/123": after(entries[-1])}
    names: list[str] = []
    while len(names) < len(entries) - 1:
        now, data, more = resumed(*entries, position=position)
        assert now
        names += now
        position |= more
    assert data["complete"]
    assert resumed(*entries, position=position)[0] == []


def of_customers(count: int) -> list[Entry]:
    """Return changes of users who are no listeners: the log has them, and feed shows nothing of them."""
    return [recorded(f"{n:05}", AWAY + n, "presence/*/0", "presence_update", subject=str(n)) for n in range(count)]


@pytest.mark.parametrize("given", [{}, {"feed/*/0": after(recorded("heard", AWAY - 20_000))}])
def test_a_client_of_feed_goes_on_through_a_log_that_has_nothing_for_it_and_reads_no_part_twice(
    given: dict[str, str],
) -> None:
    """A partition of presence has the changes of everybody. Each read of it costs, whatever it yields."""
    shown = recorded("listener", AWAY + 3 * MAX_READ, "feed/*/0", "listener_online", subject="x")
    outbox = RecordedOutbox(*of_customers(3 * MAX_READ), shown)
    states = WatchedStates(KnownUsers(), feed_role="listener", history_seconds=3600)
    replay = Replay(VisibleIndex(), outbox, states, UNBLOCKED, **HISTORY)
    position = {SINCE: Position.at(AWAY - 20_000).text} | given
    answers = []
    for _ in range(4):
        outbox.read = 0
        *frames, last = map(json.loads, replay.since_position(FEED, ["feed/*/0"], position, NOW))
        answers.append((len(frames), last["data"]["complete"]))
        position |= last["position"]
        slices = SLICES * SLICE_MS  # an entry a millisecond; these are read again to find what was written late
        assert outbox.read <= MAX_READ + 1 + slices
    assert answers == [(0, False), (0, False), (0, False), (1, True)]


def test_what_is_written_late_is_found_after_a_log_that_had_nothing() -> None:
    entries = of_customers(MAX_READ + 100)
    position: dict[str, str] = {SINCE: Position.at(AWAY - 20_000).text}
    names, data, reached = resumed(*entries, position=position, connection=FEED, audiences=["feed/*/0"])
    assert (names, data["complete"]) == ([], False)
    late = recorded("late", AWAY + MAX_READ - 500, "feed/*/0", "listener_online", subject="x")
    names, data, _ = resumed(*entries, late, position=position | reached, connection=FEED, audiences=["feed/*/0"])
    assert (names, data["complete"]) == (["late"], True)


def test_by_last_id_a_log_that_has_nothing_for_the_client_is_not_read_whole() -> None:
    """The client is told that something may be missing, and asks for the state."""
    entries = of_customers(2 * MAX_READ)
    outbox = RecordedOutbox(*entries)
    states = WatchedStates(KnownUsers(), feed_role="listener", history_seconds=3600)
    replay = Replay(VisibleIndex(), outbox, states, UNBLOCKED, **HISTORY)
    (last,) = map(json.loads, replay.since_id(FEED, ["feed/*/0"], LAST, NOW))
    assert last["data"] == {"recovered": False, "replayed": 0}
    assert outbox.read == MAX_READ + 1


def test_entries_that_nobody_is_to_get_are_passed_over_but_not_all_in_one_answer() -> None:
    unwanted = [recorded(f"{n:04}", AWAY + n, kind="call_billing") for n in range(MAX_READ + 10)]
    wanted = recorded("wanted", AWAY + MAX_READ + 10)
    connection = replace(CALLS, types=frozenset({"call_started"}))
    position: dict[str, str] = {"calls/123": after(recorded("heard", AWAY - 1))}
    found = []
    for complete in (False, True):
        names, data, more = resumed(*unwanted, wanted, position=position, connection=connection)
        assert data["complete"] is complete
        found += names
        position |= more
    assert found == ["wanted"]


def test_what_has_expired_is_not_sent_and_not_missed_either() -> None:
    entries = [recorded("too late", AWAY + 1, not_after_s=NOW // 1000 - 1), recorded("wanted", AWAY + 2)]
    names, _, position = resumed(*entries, position=floor(AWAY, NOW))
    assert names == ["wanted"]
    assert Position.parse(position["calls/123"]).missing(each.event_id for each in entries) == set()


@pytest.mark.parametrize(("away_seconds", "recovered"), [(86_400, True), (86_401, False)])
def test_a_client_whose_position_is_older_than_history_gets_what_there_is(away_seconds: int, recovered: bool) -> None:
    since = NOW - away_seconds * 1000
    entries = [recorded("still there", NOW - 1)]
    names, data, _ = resumed(*entries, position={SINCE: Position.at(since).text})
    assert (names, data["recovered"]) == (["still there"], recovered)


@pytest.mark.parametrize("position", [None, {}, "x", {"calls/123": 5}, {"calls/123": "yesterday"}])
def test_an_invalid_position_is_refused(position: object) -> None:
    with pytest.raises(BadRequest, match="position: must"):
        resumed(position=position)


def told_of(user_id: str, at: int = AWAY + 1, **more: Any) -> Entry:
    """Return a change of a user that was recorded for everyone."""
    return recorded(f"of {user_id}", at, "feed/*/0", "listener_online", subject=user_id, version=2, **more)


def test_history_heeds_the_blocks_as_they_are_now() -> None:
    blocked_since, unblocked_since = told_of("1"), told_of("2", AWAY + 2, hidden_from=frozenset({"123"}))
    reserved = told_of("3", AWAY + 3, shown_to=frozenset({"123"}), listed_blocks=70)  # unblocked, and blocked again
    own = recorded("own", AWAY + 4, "feed/*/0", "listener_online")
    entries, blocks = (blocked_since, unblocked_since, reserved, own), [("1", "123"), ("3", "123"), ("2", "9")]
    audiences = ["feed/*/0"]
    assert replayed(*entries, connection=FEED, audiences=audiences, blocks=blocks)[0] == ["of 2", "own"]
    position = {"since": Position.at(AWAY).text}
    replay = replay_of(*entries, blocks=blocks)
    *frames, last = map(json.loads, replay.since_position(FEED, audiences, position, NOW))
    assert [_name(each) for frame in frames for each in (frame if isinstance(frame, list) else [frame])] == [
        "of 2",
        "own",
    ]
    assert last["data"] == {"recovered": True, "replayed": 2, "complete": True}
    assert [*replay.since_position(FEED, audiences, last["position"], NOW)][:-1] == []


def test_watched_states_heed_a_list_of_blocks() -> None:
    users = [watched("1", AWAY + 1, listed_blocks=70), watched("2", AWAY + 2, listed_blocks=70)]
    states, _ = replayed(connection=FEED, audiences=["feed/1", "feed/2"], users=users, blocks=[("1", "123")])
    assert {each.partition(" ")[0] for each in states} == {"2"}


def test_blocks_of_before_there_was_a_table_of_blocks_are_heeded_in_history() -> None:
    entries = told_of("1", hidden_from=frozenset({"123"})), told_of("2", AWAY + 2, hidden_from=frozenset({"123"}))
    still, not_any_more = watched("1", AWAY, hidden_from=frozenset({"123"})), watched("2", AWAY)
    heard, _ = replayed(*entries, connection=FEED, audiences=["feed/*/0"], users=[still, not_any_more])
    assert heard == ["of 2"]
