from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import replace

import pytest

from realtime.audiences import is_watching, watched_user
from realtime.errors import BadRequest, Unavailable
from realtime.messages import ENDPOINTS
from realtime.tables.connections import Connection, Connections
from realtime.tables.subscriptions import Subscriptions
from realtime.tables.watched import Watched
from realtime.watch_state import KEPT_MS, MAX_WATCHED, WatchState, make_revision
from realtime.watching import Watching, check_watchable, parse_user_ids, read_watch_parameter
from tests.unit.fakes import Clock


@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_users_can_be_watched_on_endpoints_with_presence_only(endpoint: str) -> None:
    if endpoint in {"feed", "presence"}:
        check_watchable([endpoint])
        return
    with pytest.raises(BadRequest, match=f"{endpoint} tells no presence; connect to feed or presence"):
        check_watchable([endpoint])


def test_a_connection_with_several_endpoints_can_watch_if_one_of_them_tells_presence() -> None:
    check_watchable({"calls", "feed"})
    with pytest.raises(BadRequest, match="calls and notifications tell no presence; connect to feed or presence"):
        check_watchable({"notifications", "calls"})


def test_user_ids_are_numbers_or_words_and_each_counts_once() -> None:
    assert parse_user_ids([1, "1", "a", 2, "a"]) == ["1", "a", "2"]


@pytest.mark.parametrize("values", [None, [], {}, "1,2", 7, list(range(MAX_WATCHED + 1))])
def test_an_empty_or_too_long_list_of_users_is_refused(values: object) -> None:
    with pytest.raises(BadRequest, match="user_ids: must be a list of 1 to 100 user ids"):
        parse_user_ids(values)


@pytest.mark.parametrize("value", [None, True, 1.5, "", "a/b", "*/0", [1], {}])
def test_an_invalid_user_id_is_refused(value: object) -> None:
    with pytest.raises(BadRequest, match="user_ids: each must be a whole number, or 1 to 128 characters"):
        parse_user_ids([1, value])


@pytest.mark.parametrize(
    ("parameters", "users"),
    [
        ({}, []),
        ({"watch": ""}, []),
        ({"watch": "1"}, ["1"]),
        ({"watch": " 1, a ,1,"}, ["1", "a"]),
        ({"other": "1"}, []),
    ],
)
def test_the_watch_parameter_names_users(parameters: dict[str, str], users: list[str]) -> None:
    assert read_watch_parameter(parameters, ["feed"]) == users


@pytest.mark.parametrize("watch", [",", " , ", "a/b", ",".join(map(str, range(MAX_WATCHED + 1)))])
def test_a_watch_parameter_with_no_users_or_too_many_is_refused(watch: str) -> None:
    with pytest.raises(BadRequest, match="user_ids: "):
        read_watch_parameter({"watch": watch}, ["feed"])


def test_a_watch_parameter_on_an_endpoint_without_presence_is_refused() -> None:
    assert read_watch_parameter({}, ["calls"]) == []
    with pytest.raises(BadRequest, match="calls tells no presence"):
        read_watch_parameter({"watch": "1"}, ["calls"])


PRESENCE = Connection("one=", "presence", "5", 1_705_314_600_000, 1_705_318_200)
NOW = 1_705_314_600_000


class FakeConnections(Connections):
    """The subscriptions of one connection, and the journal of their changes."""

    def __init__(self, *audiences: str) -> None:
        self.audiences = list(audiences)
        self.journal: list[str] = []
        self.is_registered = True
        self.failing: str | None = None  # the first change that would write this into the journal fails

    def _write(self, change: str) -> None:
        if change == self.failing:
            self.failing = None
            raise Unavailable("writing: items stayed unprocessed")
        self.journal.append(change)

    def subscriptions(self, connection_id: str) -> Subscriptions:
        found = [f"connection/{connection_id}", *self.audiences]
        return Subscriptions("5", found, found) if self.is_registered else Subscriptions()

    def subscribe(self, connection: Connection, audiences: Collection[str]) -> None:
        for audience in audiences:
            self._write(f"add {audience}")
            if audience not in self.audiences:
                self.audiences.append(audience)

    def delete(self, heard: Iterable[tuple[str, str]]) -> None:
        for connection_id, audience in heard:
            assert connection_id == "one="
            self._write(f"remove {audience}")
            if audience in self.audiences:
                self.audiences.remove(audience)

    def note_left(self, connection: Connection, audiences: Collection[str]) -> None:
        self._write(f"note that it hears {audiences}")


class FakeWatched(Watched):
    """The state of one connection; other frames may come between a read and a write."""

    def __init__(self, user_ids: Collection[str]) -> None:
        self.state = WatchState(settled=frozenset(user_ids)) if user_ids else None
        self.version = int(bool(user_ids))
        self.before_write: list[Callable[[], object]] = []
        self.after_write: list[Callable[[], object]] = []

    def read(self, connection_id: str) -> tuple[WatchState | None, int]:
        return self.state, self.version

    def write(self, connection: Connection, state: WatchState, version: int) -> bool:
        if self.before_write:
            self.before_write.pop()()
        if version != self.version:
            return False
        self.state, self.version = WatchState.from_text(state.as_text()), version + 1
        if self.after_write:
            self.after_write.pop()()
        return True


def make(*audiences: str) -> tuple[Watching, FakeConnections, FakeWatched]:
    """Return Watching, and the tables of a connection that has connected with these audiences."""
    connections = FakeConnections(*audiences)
    watched = FakeWatched([watched_user(each) for each in audiences if is_watching(each)])
    return Watching(connections, watched), connections, watched


def revision(number: int) -> str:
    return make_revision(NOW + number, "AAAA")


def test_the_audiences_of_watched_users_are_added_before_everyone_is_removed() -> None:
    watching, connections, _ = make("presence/*/3")
    assert watching.watch(PRESENCE, ["7", "8"], revision(0), NOW) == ["7", "8"]
    assert connections.journal == ["add presence/7", "add presence/8", "remove presence/*/3", "note that it hears []"]


@pytest.mark.parametrize("step", ["add presence/7", "remove presence/*/3", "note that it hears []"])
@pytest.mark.parametrize("later_ms", [1, KEPT_MS + 1])
@pytest.mark.parametrize("user_id", ["7", "8"])
def test_the_first_watch_that_succeeds_leaves_everyone_wherever_one_before_failed(
    step: str, later_ms: int, user_id: str
) -> None:
    watching, connections, _ = make("presence/*/3")
    connections.failing = step
    with pytest.raises(Unavailable):
        watching.watch(PRESENCE, ["7"], revision(0), NOW)
    watching.watch(PRESENCE, [user_id], revision(later_ms), NOW + later_ms)
    assert "presence/*/3" not in connections.audiences
    assert connections.journal[-1] == "note that it hears []"


def test_on_live_what_is_beside_watched_users_takes_the_place_of_everyone() -> None:
    live = replace(PRESENCE, stage="live", chosen=frozenset({"feed", "notifications"}))
    watching, connections, _ = make("live/*/3")
    connections.failing = "add live-notifications/*/3"
    with pytest.raises(Unavailable):
        watching.watch(live, ["7"], revision(0), NOW)
    watching.watch(live, ["7"], revision(1), NOW)
    assert connections.audiences == ["watched/7", "live-notifications/*/3"]
    assert connections.journal[-1] == "note that it hears ['live-notifications/*/3']"


def test_everyone_is_left_once() -> None:
    watching, connections, _ = make("presence/*/3")
    watching.watch(PRESENCE, ["7"], revision(0), NOW)
    del connections.journal[:]
    watching.watch(replace(PRESENCE, has_left_everyone=True), ["8"], revision(1), NOW)
    assert connections.journal == ["add presence/8"]


def test_unwatch_does_not_leave_everyone() -> None:
    watching, connections, _ = make("presence/*/3")
    watching.unwatch(PRESENCE, ["7"], revision(0), NOW)
    assert connections.audiences == ["presence/*/3"]
    watching.watch(PRESENCE, ["7"], revision(1), NOW)
    assert connections.audiences == ["presence/7"]


def test_a_user_who_is_watched_already_is_not_added_again() -> None:
    watching, connections, _ = make("presence/7")
    assert watching.watch(PRESENCE, ["7", "8"], revision(0), NOW) == ["7", "8"]
    assert connections.journal == ["add presence/8"]


def test_a_user_who_is_not_watched_is_not_removed() -> None:
    watching, connections, _ = make("presence/7")
    watching.unwatch(PRESENCE, [str(number) for number in range(100)], revision(0), NOW)
    assert connections.journal == ["remove presence/7"]


def test_a_connection_watches_a_hundred_users_and_no_more() -> None:
    watched = [str(number) for number in range(MAX_WATCHED - 1)]
    watching, connections, _ = make(*(f"presence/{user_id}" for user_id in watched))
    watching.watch(PRESENCE, ["last", *watched], revision(0), NOW)
    assert connections.journal == ["add presence/last"]
    with pytest.raises(BadRequest, match="a connection watches 100 users at most, and this one 100"):
        watching.watch(PRESENCE, ["last", "one too many"], revision(1), NOW)


def test_the_limit_holds_for_frames_that_are_handled_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "sleep", lambda _: None)
    watching, connections, watched = make("presence/*/3")
    first, second = ([f"{frame} {number}" for number in range(60)] for frame in "ab")
    watched.before_write.append(lambda: watching.watch(PRESENCE, first, revision(0), NOW))
    with pytest.raises(BadRequest, match="a connection watches 100 users at most, and this one 60"):
        watching.watch(PRESENCE, second, revision(1), NOW)
    assert connections.audiences == [f"presence/{each}" for each in first]


@pytest.mark.parametrize("moment", ["before_write", "after_write"])
@pytest.mark.parametrize("last", ["watch", "unwatch"])
def test_the_frame_sent_last_wins_although_another_is_slower(
    monkeypatch: pytest.MonkeyPatch, moment: str, last: str
) -> None:
    monkeypatch.setattr(time, "sleep", lambda _: None)
    watching, connections, watched = make("presence/7")
    first = "unwatch" if last == "watch" else "watch"
    getattr(watched, moment).append(lambda: getattr(watching, last)(PRESENCE, ["7"], revision(1), NOW))
    getattr(watching, first)(PRESENCE, ["7"], revision(0), NOW)
    assert ("presence/7" in connections.audiences) is (last == "watch")


def test_a_user_who_is_unwatched_meanwhile_is_left_out_of_the_answer() -> None:
    watching, _, watched = make("presence/*/3")
    watched.after_write.append(lambda: watching.unwatch(PRESENCE, ["7"], revision(1), NOW))
    assert watching.watch(PRESENCE, ["7", "8"], revision(0), NOW) == ["8"]


def test_frames_that_are_always_in_the_way_are_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(time, "monotonic", clock)
    monkeypatch.setattr(time, "sleep", lambda seconds: setattr(clock, "now", clock.now + seconds))
    watching, _, watched = make()
    monkeypatch.setattr(watched, "write", lambda *_: False)
    with pytest.raises(Unavailable, match="other frames of the connection are in the way"):
        watching.watch(PRESENCE, ["7"], revision(0), NOW)


def test_a_connection_that_is_forgotten_meanwhile_keeps_no_subscription() -> None:
    watching, connections, watched = make("presence/7")
    watched.after_write.append(lambda: setattr(watched, "state", None))
    with pytest.raises(Unavailable, match="the connection was forgotten"):
        watching.watch(PRESENCE, ["8", "9"], revision(0), NOW)
    assert connections.audiences == ["presence/7"]


def test_a_connection_that_was_forgotten_before_watches_nobody() -> None:
    watching, connections, watched = make()
    connections.is_registered = False
    with pytest.raises(Unavailable, match="the connection was forgotten"):
        watching.watch(PRESENCE, ["7"], revision(0), NOW)
    assert (connections.journal, watched.version) == ([], 0)


def test_audiences_of_other_endpoints_do_not_count_as_subscriptions() -> None:
    assert make("presence/7", "feed/8")[0].subscriptions(PRESENCE) == ["presence/7"]
