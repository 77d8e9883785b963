from __future__ import annotations

import random
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime.errors import BadRequest, Unavailable
from realtime.watch_state import KEPT_MS, MAX_WATCHED, WatchState, make_revision

NOW = 1_705_314_600_000


def revision(number: int, at_ms: int = NOW) -> str:
    return make_revision(at_ms + number, "RfGy4c8koAMCIhA=")


def test_a_revision_sorts_by_time_and_within_a_millisecond_by_the_messages_id() -> None:
    ids = ["AAAAAAAAAAAAAAA=", "AAAAAAAAAAAAAAE=", "aAAAAAAAAAAAAAA=", "zAAAAAAAAAAAAAA=", "9AAAAAAAAAAAAAA="]
    revisions = [make_revision(NOW, each) for each in ids] + [make_revision(NOW + 1, ids[0])]
    assert revisions == sorted(revisions)
    assert make_revision(NOW, "no base 64!!") > make_revision(NOW - 1, "zz")


def test_users_are_watched_and_unwatched() -> None:
    state = WatchState().changed(revision(0), ["7", "8"], watch=True, now_ms=NOW)
    assert state.watched == {"7", "8"}
    assert state.changed(revision(1), ["8", "9"], watch=False, now_ms=NOW).watched == {"7"}


def test_a_slower_earlier_frame_does_not_undo_a_later_one() -> None:
    state = WatchState().changed(revision(2), ["7"], watch=False, now_ms=NOW)
    state = state.changed(revision(1), ["7", "8"], watch=True, now_ms=NOW)
    assert state.watched == {"8"}


def test_a_connection_watches_a_hundred_users_and_no_more() -> None:
    state = WatchState(settled=frozenset(str(number) for number in range(MAX_WATCHED - 1)))
    full = state.changed(revision(0), ["last", "0"], watch=True, now_ms=NOW)
    assert len(full.watched) == MAX_WATCHED
    with pytest.raises(BadRequest, match="a connection watches 100 users at most, and this one 100"):
        full.changed(revision(1), ["one too many"], watch=True, now_ms=NOW)
    assert len(full.changed(revision(1), ["none"], watch=False, now_ms=NOW).watched) == MAX_WATCHED


def test_the_audience_of_everyone_stays_known_in_case_that_leaving_it_fails() -> None:
    state = WatchState(wide=("feed/*/1",))
    for watch in (False, True):
        assert state.changed(revision(0), ["7"], watch=watch, now_ms=NOW).wide == ("feed/*/1",)


def test_revisions_are_forgotten_when_no_frame_under_way_can_contradict_them() -> None:
    state = WatchState().changed(revision(0), ["7"], watch=True, now_ms=NOW)
    state = state.changed(revision(1), ["8"], watch=False, now_ms=NOW + 1)
    later = NOW + KEPT_MS + 2
    state = state.changed(revision(0, later), ["9"], watch=True, now_ms=later)
    assert state == WatchState(frozenset({"7"}), {"9": (revision(0, later), True)}, floor=revision(1))
    with pytest.raises(Unavailable):
        state.changed(revision(0), ["8"], watch=True, now_ms=later)


def test_many_changes_do_not_make_the_state_large() -> None:
    state = WatchState()
    for number in range(50):
        users = [f"{number} {each}" for each in range(100)]
        state = state.changed(revision(number), users, watch=False, now_ms=NOW)
    assert len(state.recent) <= 200
    assert state.floor == revision(47)


CHANGES = st.lists(st.tuples(st.sets(st.sampled_from("abcdef"), min_size=1), st.booleans()), max_size=12)


@given(CHANGES, st.randoms(use_true_random=False))
def test_the_order_in_which_frames_are_handled_makes_no_difference(
    changes: Sequence[tuple[set[str], bool]], chance: random.Random
) -> None:
    expected: set[str] = set("af")
    for users, watch in changes:
        expected = expected | users if watch else expected - users
    state = WatchState(settled=frozenset("af"))
    for number in chance.sample(range(len(changes)), len(changes)):
        users, watch = changes[number]
        state = WatchState.from_text(state.as_text())
        state = state.changed(revision(number), users, watch=watch, now_ms=NOW)
    assert state.watched == expected
