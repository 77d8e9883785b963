from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from realtime.presence import Consequences, Rules, consequences, state
from realtime.tables.entries import Entry
from realtime.tables.users import User
from tests.unit.fakes import entries_of

AT = 1_705_314_600_000
RULES = Rules(shards=2, feed_role="listener", history_seconds=3600)
OFFLINE = User(
    user_id="123",
    username="jane_smith",
    role="listener",
    connection_ids=frozenset(),
    is_online=False,
    is_busy=False,
    last_seen_ms=AT,
    left_at_ms=AT,
    version=7,
    changed_at_ms=AT,
    hidden_from=frozenset({"666"}),
)
ONLINE = replace(OFFLINE, is_online=True, connection_ids=frozenset({"one"}), version=8, changed_at_ms=AT + 1)


def entries(follows: Consequences) -> list[Entry]:
    """Return the entries that the changes stand for."""
    return [entry for change in follows.changes for entry in entries_of(change)]


def kinds(follows: Consequences) -> dict[str, list[str]]:
    """Return the types of message that each audience gets."""
    found: dict[str, list[str]] = {}
    for entry in entries(follows):
        found.setdefault(entry.audience, []).append(entry.kind)
    return found


def data(follows: Consequences, kind: str) -> dict[str, Any]:
    """Return the data of all messages of one type: it is the same for all audiences."""
    (message,) = {entry.message for entry in entries(follows) if entry.kind == kind}
    frame: dict[str, Any] = json.loads(message)
    assert frame["type"] == kind
    data: dict[str, Any] = frame["data"]
    return data


def everyone(endpoint: str, kind: str) -> dict[str, list[str]]:
    return {f"{endpoint}/*/0": [kind], f"{endpoint}/*/1": [kind], f"{endpoint}/123": [kind]}


@pytest.mark.parametrize("old", [None, OFFLINE], ids=["the first time", "again"])
def test_a_user_who_comes_online_is_announced_to_everyone_and_to_backends(old: User | None) -> None:
    follows = consequences(old, ONLINE, RULES)
    assert kinds(follows) == everyone("feed", "listener_online") | everyone("presence", "presence_update")
    assert [event.detail_type for event in follows.bus_events] == ["user_online"]
    assert not follows.may_have_left


def test_a_user_who_goes_offline_is_announced_to_everyone_and_to_backends() -> None:
    follows = consequences(replace(ONLINE, connection_ids=frozenset()), OFFLINE, RULES)
    assert kinds(follows) == everyone("feed", "listener_offline") | everyone("presence", "presence_update")
    assert [event.detail_type for event in follows.bus_events] == ["user_offline"]
    assert not follows.may_have_left


@pytest.mark.parametrize(("is_busy", "on_feed"), [(True, "listener_busy"), (False, "listener_available")])
def test_busy_and_available_go_to_clients_only(is_busy: bool, on_feed: str) -> None:
    follows = consequences(replace(ONLINE, is_busy=not is_busy), replace(ONLINE, is_busy=is_busy), RULES)
    assert kinds(follows) == everyone("feed", on_feed) | everyone("presence", "status_change")
    assert follows.bus_events == []


def test_messages_have_exactly_the_documented_keys() -> None:
    follows = consequences(None, ONLINE, RULES)
    last_seen_ms = "2024-01-15T10:30:00.000Z"
    assert data(follows, "presence_update") == {
        "user_id": 123,
        "is_online": True,
        "is_busy": False,
        "last_seen": last_seen_ms,
    }
    assert data(follows, "listener_online") == {
        "user_id": 123,
        "username": "jane_smith",
        "is_online": True,
        "is_busy": False,
        "last_seen": last_seen_ms,
    }


@pytest.mark.parametrize("role", ["client", None])
def test_users_without_the_feeds_role_are_not_on_the_feed(role: str | None) -> None:
    follows = consequences(None, replace(ONLINE, role=role), RULES)
    assert kinds(follows) == everyone("presence", "presence_update")
    assert [event.detail_type for event in follows.bus_events] == ["user_online"]


def test_a_busy_user_who_is_no_listener_is_not_announced_on_feed() -> None:
    user = replace(ONLINE, role="client")
    assert kinds(consequences(user, replace(user, is_busy=True), RULES)) == everyone("presence", "status_change")


def test_a_user_who_is_no_listener_and_unblocks_somebody_is_not_announced_on_feed() -> None:
    user = replace(ONLINE, role="client")
    follows = consequences(user, replace(user, hidden_from=frozenset()), RULES)
    assert kinds(follows) == everyone("presence", "presence_update")


@pytest.mark.parametrize(
    ("before", "after", "kind"), [(None, "listener", "listener_online"), ("listener", "client", "listener_offline")]
)
def test_an_online_user_who_becomes_or_stops_being_a_listener_is_announced_on_feed(
    before: str | None, after: str, kind: str
) -> None:
    follows = consequences(replace(ONLINE, role=before), replace(ONLINE, role=after, version=9), RULES)
    assert kinds(follows) == everyone("feed", kind)
    assert data(follows, kind)["is_online"] == (after == "listener")
    assert follows.bus_events == []


def test_a_bus_event_names_the_user_and_the_change() -> None:
    (event,) = consequences(None, ONLINE, RULES).bus_events
    event_id = event.detail["id"]
    assert event.detail == {
        "id": event_id,
        "user_id": 123,
        "username": "jane_smith",
        "version": 8,
        "last_seen": "2024-01-15T10:30:00.000Z",
        "connections": 1,
    }
    assert event.at_ms == ONLINE.changed_at_ms
    assert event_id == consequences(None, ONLINE, RULES).bus_events[0].detail["id"]


def test_the_same_change_has_the_same_consequences_ids_included() -> None:
    assert consequences(OFFLINE, ONLINE, RULES) == consequences(OFFLINE, ONLINE, RULES)


def test_a_message_has_one_id_for_all_audiences_and_another_for_each_change() -> None:
    ids: dict[str, set[str]] = {}
    for version in (8, 9):
        for entry in entries(consequences(OFFLINE, replace(ONLINE, version=version), RULES)):
            ids.setdefault(f"{entry.kind} {version}", set()).add(entry.event_id)
    assert {len(each) for each in ids.values()} == {1}
    assert len(set.union(*ids.values())) == 4
    for entry in entries(consequences(OFFLINE, ONLINE, RULES)):
        assert json.loads(entry.message)["id"] == entry.event_id


def test_messages_carry_the_users_version_and_the_time_of_the_change() -> None:
    for entry in entries(consequences(OFFLINE, ONLINE, RULES)):
        frame = json.loads(entry.message)
        assert frame["version"] == ONLINE.version
        assert frame["timestamp"] == "2024-01-15T10:30:00.001Z"
        assert entry.expires_at_s == AT // 1000 + RULES.history_seconds


def test_messages_are_hidden_from_users_whom_the_user_has_blocked() -> None:
    assert {entry.hidden_from for entry in entries(consequences(OFFLINE, ONLINE, RULES))} == {frozenset({"666"})}


@pytest.mark.parametrize(("user", "on_feed"), [(ONLINE, "listener_online"), (OFFLINE, "listener_offline")])
def test_an_unblocked_user_alone_gets_the_current_state(user: User, on_feed: str) -> None:
    follows = consequences(user, replace(user, hidden_from=frozenset(), version=9), RULES)
    assert kinds(follows) == everyone("feed", on_feed) | everyone("presence", "presence_update")
    assert {(entry.shown_to, entry.hidden_from) for entry in entries(follows)} == {(frozenset({"666"}), frozenset())}
    assert follows.bus_events == []


def test_messages_say_how_often_the_list_of_the_users_blocks_was_changed() -> None:
    follows = consequences(OFFLINE, replace(ONLINE, listed_blocks=70), RULES)
    assert {entry.listed_blocks for entry in entries(follows)} == {70}


def test_users_who_were_taken_from_the_list_of_blocks_alone_get_the_current_state() -> None:
    listed = replace(ONLINE, listed_blocks=70, shown_to=frozenset({"5"}))
    unblocked = replace(listed, listed_blocks=72, shown_to=frozenset({"7", "666"}), hidden_from=frozenset(), version=9)
    assert {entry.shown_to for entry in entries(consequences(listed, unblocked, RULES))} == {frozenset({"7", "666"})}
    again = replace(unblocked, is_online=False, version=10)
    assert {entry.shown_to for entry in entries(consequences(unblocked, again, RULES))} == {frozenset()}


@pytest.mark.parametrize(
    "new",
    [
        replace(ONLINE, connection_ids=frozenset({"one", "two"}), version=9),
        replace(ONLINE, listed_blocks=70, hidden_from=frozenset(), version=9),
        replace(ONLINE, last_seen_ms=AT + 5),
        replace(ONLINE, username="jane", version=9),
        replace(ONLINE, hidden_from=frozenset({"666", "667"}), version=9),
    ],
    ids=["another device", "blocks listed", "seen", "another name", "blocked"],
)
def test_an_invisible_change_is_not_announced(new: User) -> None:
    assert consequences(ONLINE, new, RULES) == Consequences()


@pytest.mark.parametrize(
    ("old", "new", "may_have_left"),
    [
        (frozenset({"one"}), frozenset(), True),
        (frozenset({"one", "two"}), frozenset(), True),
        (frozenset({"one", "two"}), frozenset({"two"}), False),
        (frozenset(), frozenset({"one"}), False),
        (frozenset(), frozenset(), False),
    ],
)
def test_the_end_of_the_last_connection_alone_orders_an_offline_check(
    old: frozenset[str], new: frozenset[str], may_have_left: bool
) -> None:
    follows = consequences(replace(ONLINE, connection_ids=old), replace(ONLINE, connection_ids=new), RULES)
    assert follows == Consequences(may_have_left=may_have_left)


def test_a_user_who_is_offline_already_is_not_checked_again() -> None:
    gone = replace(OFFLINE, version=9)
    assert not consequences(replace(OFFLINE, connection_ids=frozenset({"one"})), gone, RULES).may_have_left


def test_coming_online_and_becoming_busy_at_once_makes_both_messages() -> None:
    follows = consequences(None, replace(ONLINE, is_busy=True), RULES)
    assert kinds(follows)["feed/*/0"] == ["listener_online", "listener_busy"]
    assert kinds(follows)["presence/*/0"] == ["presence_update", "status_change"]


def test_a_user_who_was_never_seen_has_no_last_seen() -> None:
    assert state(replace(OFFLINE, last_seen_ms=0))["last_seen"] is None


def test_ids_that_are_not_numbers_are_strings() -> None:
    assert state(replace(OFFLINE, user_id="a1b2"))["user_id"] == "a1b2"
