from __future__ import annotations

import json
import time
from collections.abc import Collection, Iterator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime.audiences import log_of
from realtime.errors import Unavailable
from realtime.everyone import Everyone
from realtime.messages import MAX_FRAME_BYTES
from realtime.presence import Rules, consequences
from realtime.snapshots import Snapshots, encode_pages
from realtime.tables.connections import Connection, Connections, Session
from realtime.tables.entries import Entry
from realtime.tables.outbox import Outbox
from realtime.tables.users import User, Users
from realtime.tables.views import Head, Views
from realtime.text import dumps
from tests.unit.fakes import Clock, FakeBlocks, Sleeps, entries_of

NOW = 1_705_314_600_000
FEED = Connection("one=", "feed", "5", NOW, NOW // 1000 + 3600)
PRESENCE = replace(FEED, stage="presence")
JANE = User(
    user_id="123",
    username="jane_smith",
    role="listener",
    connection_ids=frozenset({"phone"}),
    is_online=True,
    is_busy=False,
    last_seen_ms=NOW - 1000,
    left_at_ms=0,
    version=3,
    changed_at_ms=NOW - 1000,
    hidden_from=frozenset(),
)
JOHN = replace(JANE, user_id="789", username="john_doe")
RULES = Rules(shards=1, feed_role="listener", history_seconds=3600)


class LaggingIndex(Connections):
    """An index of audiences that shows a connection only after `lag` queries, if it has not left by then."""

    def __init__(self, lag: int = 0, *, has_left: bool = False) -> None:
        self.lag, self._has_left = lag, has_left

    def session(self, connection_id: str) -> Session | None:
        return None if self._has_left else Session(FEED, lease_until_s=NOW // 1000 + 90)

    def is_indexed(self, audience: str, connection_id: str) -> bool:
        self.lag -= 1
        return self.lag < 0


class FakeUsers(Users):
    """The Users table, and the index of users online, which may lag behind it."""

    def __init__(self, *stored: User, online: Collection[User] = ()) -> None:
        self._known = {user.user_id: user for user in stored}
        self._online_now = online

    def get_many(self, user_ids: Collection[str]) -> list[User]:
        return [self._known[user_id] for user_id in user_ids if user_id in self._known]

    def online(self) -> Iterator[User]:
        return iter(self._online_now)


class RecentOutbox(Outbox):
    """An outbox with these recent entries."""

    def __init__(self, *entries: Entry) -> None:
        self._entries = entries

    def changed_since(self, log: str, event_id: str) -> Iterator[tuple[str, int]]:
        for each in self._entries:
            if log_of(each.audience) == log and each.event_id > event_id:
                yield str(each.subject), each.version


class NoViews(Views):
    """Views of few users: they are read for each client."""

    def __init__(self) -> None:
        pass

    def head(self, name: str) -> Head:
        return Head(users=0)


def changes(*users: User, before: User | None = None) -> list[Entry]:
    """Return the entries of users who changed."""
    return [
        entry for user in users for change in consequences(before, user, RULES).changes for entry in entries_of(change)
    ]


def snapshot(
    connection: Connection,
    audiences: list[str],
    *,
    stored: Collection[User] = (),
    online: Collection[User] = (),
    recent: Collection[Entry] = (),
    blocks: Collection[tuple[str, str]] = (),
) -> list[dict[str, Any]]:
    """Return the users that a snapshot in one frame shows."""
    everyone = _everyone(FakeUsers(*stored, online=online), RecentOutbox(*recent))
    snapshots = Snapshots(LaggingIndex(), everyone, FakeBlocks(*blocks), feed_role="listener")
    (frame,) = snapshots.of_audiences(connection, audiences, NOW)
    message = json.loads(frame)
    assert (message["type"], message["data"]["complete"]) == ("snapshot", True)
    users: list[dict[str, Any]] = message["data"]["users"]
    return users


def _everyone(users: Users, outbox: Outbox) -> Everyone:
    return Everyone(users, outbox, NoViews(), clock=lambda: NOW / 1000, pause=time.sleep)


def names(users: list[dict[str, Any]]) -> dict[object, object]:
    return {user["user_id"]: user["username"] for user in users}


def test_a_watched_user_is_shown_with_every_documented_key() -> None:
    assert snapshot(FEED, ["feed/123"], stored=[JANE]) == [
        {
            "user_id": 123,
            "username": "jane_smith",
            "is_online": True,
            "is_busy": False,
            "last_seen": "2024-01-15T10:29:59.000Z",
            "version": 3,
        }
    ]


def test_an_unknown_watched_user_is_shown_offline() -> None:
    assert snapshot(FEED, ["feed/404"]) == [
        {"user_id": 404, "username": None, "is_online": False, "is_busy": False, "last_seen": None, "version": 0}
    ]


def test_watched_users_are_shown_in_the_order_in_which_they_were_named() -> None:
    assert list(names(snapshot(FEED, ["feed/789", "feed/404", "feed/123"], stored=[JANE, JOHN]))) == [789, 404, 123]


def test_a_user_who_has_blocked_the_client_is_not_shown() -> None:
    hidden = replace(JANE, hidden_from=frozenset({"5"}))
    assert names(snapshot(FEED, ["feed/123", "feed/789"], stored=[hidden, JOHN])) == {789: "john_doe"}
    assert names(snapshot(FEED, ["feed/*/0"], online=[hidden, JOHN])) == {789: "john_doe"}


def test_a_user_who_has_the_client_on_a_list_of_blocks_is_not_shown() -> None:
    many = [replace(each, hidden_from=frozenset({"9"}), listed_blocks=70) for each in (JANE, JOHN)]
    blocks = [("123", "5"), ("789", "6")]
    shown = {789: "john_doe"}
    assert names(snapshot(FEED, ["feed/123", "feed/789"], stored=many, blocks=blocks)) == shown
    assert names(snapshot(FEED, ["feed/*/0"], online=many, blocks=blocks)) == shown


def test_blocks_are_asked_about_only_for_users_who_have_many() -> None:
    shown = names(snapshot(FEED, ["feed/*/0"], online=[JANE, JOHN], blocks=[("123", "5")]))
    assert shown == {123: "jane_smith", 789: "john_doe"}


def test_a_user_who_has_blocked_the_client_is_not_shown_as_unknown_either() -> None:
    hidden = replace(JANE, role="client", hidden_from=frozenset({"5"}))
    assert snapshot(FEED, ["feed/123"], stored=[hidden]) == []


def test_a_client_that_watches_nobody_gets_an_empty_snapshot() -> None:
    assert snapshot(FEED, []) == []


def test_everyone_online_is_shown() -> None:
    assert names(snapshot(FEED, ["feed/*/0"], online=[JANE, JOHN])) == {123: "jane_smith", 789: "john_doe"}


@pytest.mark.parametrize(("connection", "shown"), [(FEED, {123}), (PRESENCE, {123, 789})])
def test_users_who_are_no_listeners_are_not_on_the_feed(connection: Connection, shown: set[int]) -> None:
    client = replace(JOHN, role="client")
    users = snapshot(connection, [f"{connection.stage}/*/0"], online=[JANE, client])
    assert set(names(users)) == shown


def test_a_user_who_came_online_after_the_index_is_shown() -> None:
    recent = changes(JANE)
    assert names(snapshot(FEED, ["feed/*/0"], stored=[JANE], recent=recent)) == {123: "jane_smith"}
    assert set(names(snapshot(PRESENCE, ["presence/*/0"], stored=[JANE], recent=recent))) == {123}


@pytest.mark.parametrize("online", [[JANE], []], ids=["the index lags", "the index is current"])
def test_a_user_who_has_just_left_is_shown_offline_with_a_version(online: list[User]) -> None:
    gone = replace(JANE, is_online=False, version=4)
    (user,) = snapshot(FEED, ["feed/*/0"], stored=[gone], online=online, recent=changes(gone, before=JANE))
    assert (user["is_online"], user["version"]) == (False, 4)


def test_a_user_who_became_busy_after_the_index_is_shown_busy() -> None:
    busy = replace(JANE, is_busy=True, version=4)
    recent = changes(busy, before=JANE)
    (user,) = snapshot(PRESENCE, ["presence/*/0"], stored=[busy], online=[JANE], recent=recent)
    assert (user["is_busy"], user["version"], user["username"]) == (True, 4, "jane_smith")


def test_a_later_version_in_the_index_wins_over_the_outbox() -> None:
    older = replace(JANE, is_online=False, version=2)
    (user,) = snapshot(FEED, ["feed/*/0"], online=[JANE], recent=changes(older, before=JANE))
    assert (user["is_online"], user["version"]) == (True, 3)


def test_the_last_of_several_recent_changes_wins() -> None:
    gone = replace(JANE, is_online=False, version=4, changed_at_ms=NOW - 500)
    back = replace(JANE, version=5, changed_at_ms=NOW - 100)
    recent = [*changes(gone, before=JANE), *changes(back, before=gone)]
    (user,) = snapshot(FEED, ["feed/*/0"], stored=[back], online=[JANE], recent=recent)
    assert user["version"] == 5


def test_all_users_who_changed_after_the_index_are_shown() -> None:
    crowd = [replace(JANE, user_id=str(number)) for number in range(250)]
    assert len(names(snapshot(PRESENCE, ["presence/*/0"], stored=crowd, recent=changes(*crowd)))) == 250


def test_a_user_who_has_just_blocked_the_client_is_not_shown() -> None:
    hidden = replace(JANE, is_busy=True, version=4, hidden_from=frozenset({"5"}))
    recent = changes(hidden, before=JANE)
    assert snapshot(FEED, ["feed/*/0"], stored=[hidden], online=[JANE], recent=recent) == []


def test_a_user_who_blocked_the_client_after_a_change_is_not_shown() -> None:
    hidden = replace(JANE, version=4, hidden_from=frozenset({"5"}))
    assert snapshot(FEED, ["feed/*/0"], online=[hidden], recent=changes(JANE)) == []


def test_a_user_who_unblocked_the_client_after_a_change_is_shown() -> None:
    hidden = replace(JANE, hidden_from=frozenset({"5"}))
    shown = replace(JANE, version=4)
    assert names(snapshot(FEED, ["feed/*/0"], online=[shown], recent=changes(hidden))) == {123: "jane_smith"}


def test_a_watched_user_who_is_no_listener_is_shown_offline_on_feed() -> None:
    client = replace(JANE, role="client")
    (on_feed,) = snapshot(FEED, ["feed/123"], stored=[client])
    (on_presence,) = snapshot(PRESENCE, ["presence/123"], stored=[client])
    assert (on_feed["is_online"], on_presence["is_online"]) == (False, True)


def test_changes_older_than_the_lag_of_the_index_are_not_read() -> None:
    read: list[str] = []

    class JournalingOutbox(RecentOutbox):
        def changed_since(self, log: str, event_id: str) -> Iterator[tuple[str, int]]:
            read.append(event_id)
            return iter(())

    _everyone(FakeUsers(), JournalingOutbox()).read("presence/*/0")
    (since,) = read
    assert int(since[:12], 16) == NOW - 60_000


def test_a_snapshot_waits_until_the_index_shows_the_connection(sleeps: Sleeps) -> None:
    index = LaggingIndex(lag=3)
    snapshots = Snapshots(index, _everyone(FakeUsers(), RecentOutbox()), FakeBlocks(), feed_role="listener")
    snapshots.of_audiences(FEED, ["feed/*/0"], NOW)
    assert sleeps.seconds == [0.01, 0.02, 0.04]


def test_a_snapshot_of_watched_users_waits_for_no_index(sleeps: Sleeps) -> None:
    everyone = _everyone(FakeUsers(), RecentOutbox())
    Snapshots(LaggingIndex(lag=1000), everyone, FakeBlocks(), feed_role="listener").of_audiences(FEED, ["feed/7"], NOW)
    assert sleeps.seconds == []


def test_a_snapshot_fails_if_the_index_does_not_show_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(time, "monotonic", clock)
    monkeypatch.setattr(time, "sleep", lambda seconds: setattr(clock, "now", clock.now + seconds))
    everyone = _everyone(FakeUsers(), RecentOutbox())
    snapshots = Snapshots(LaggingIndex(lag=1000), everyone, FakeBlocks(), feed_role="listener")
    with pytest.raises(Unavailable, match="the index of audiences lags behind"):
        snapshots.of_audiences(FEED, ["feed/*/0"], NOW)
    assert clock.now < 1000 + 8  # the function has ten seconds


def test_nobody_waits_long_for_a_connection_that_has_left(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(time, "monotonic", clock)
    monkeypatch.setattr(time, "sleep", lambda seconds: setattr(clock, "now", clock.now + seconds))
    began, index = clock.now, LaggingIndex(lag=1000, has_left=True)
    snapshots = Snapshots(index, _everyone(FakeUsers(), RecentOutbox()), FakeBlocks(), feed_role="listener")
    assert snapshots.of_audiences(FEED, ["feed/*/0"], NOW)  # which API Gateway will throw away
    assert clock.now - began < 1


def test_a_snapshot_of_nobody_is_one_frame() -> None:
    assert [json.loads(frame)["data"] for frame in encode_pages([], NOW, {})] == [{"users": [], "complete": True}]


@given(st.lists(st.text(max_size=3000), max_size=60))
def test_pages_show_each_user_once_in_frames_within_the_limit(words: list[str]) -> None:
    users = [{"user_id": n, "username": word} for n, word in enumerate(words)]
    frames = encode_pages(map(dumps, users), NOW, {"since": "x" * 20})
    assert all(len(frame.encode()) <= MAX_FRAME_BYTES for frame in frames)
    read = [json.loads(frame)["data"] for frame in frames]
    assert [user for page in read for user in page["users"]] == users
    assert [page["complete"] for page in read] == [False] * (len(read) - 1) + [True]
