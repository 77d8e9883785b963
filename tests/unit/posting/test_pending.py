"""The order in which deliveries go on: those that were begun, those whose back-off has ended, new ones."""

from __future__ import annotations

import pytest

from realtime.posting import pending as pending_module
from realtime.posting.delivery import Delivery
from realtime.posting.lane import EACH_FRAME_S, HANGING_S, PROBED_ID, Lane, Latency
from realtime.posting.pacing import Congestion
from realtime.posting.pending import Pending
from realtime.posting.progress import AT_ONCE, Patience, Progress
from tests.support.posters import delivery


def pending(*names: str, lane: Lane | None = None) -> Pending[Delivery]:
    return Pending(map(delivery, names), Patience(1.0, Congestion(), lane))


def take(found: Pending[Delivery], now: float) -> Progress[Delivery]:
    progress = found.take(now)
    assert progress is not None
    return progress


def back_off(found: Pending[Delivery], progress: Progress[Delivery], until: float) -> None:
    """Let the request of a delivery fail, so that it may go on at that time."""
    progress.failed(500, "", now=until, wall=0.0, jitter=0.0)
    found.put(progress, until, 1.0)


def name(progress: Progress[Delivery] | None) -> str | None:
    return None if progress is None else progress.delivery.connection_id


def test_deliveries_are_begun_in_their_order_and_drawn_one_ahead() -> None:
    found = pending("a", "b")
    assert [name(found.take(0.0)) for _ in range(3)] == ["a", "b", None]
    assert found.drawn is None


def test_a_delivery_that_was_begun_goes_first_then_one_whose_back_off_has_ended() -> None:
    found = pending("a", "b", "c")
    first, second = take(found, 0.0), take(found, 0.0)
    back_off(found, first, 2.0)
    found.put(second, AT_ONCE, 1.0)
    assert [name(found.take(2.0)) for _ in range(4)] == ["b", "a", "c", None]


def test_a_delivery_in_back_off_waits_until_it_ends() -> None:
    found = pending("a")
    back_off(found, take(found, 0.0), 2.0)
    assert not found.is_due(1.9)
    assert found.take(1.9) is None
    assert found.is_due(2.0)
    assert name(found.take(2.0)) == "a"
    assert not found.is_due(9.0)


def test_of_those_whose_back_off_ends_at_the_same_time_the_first_goes_first() -> None:
    names = [f"{number}" for number in range(9, 0, -1)]
    found = pending(*names)
    for progress in [take(found, 0.0) for _ in names]:
        back_off(found, progress, 2.0)
    assert [name(found.take(2.0)) for _ in names] == names


def test_no_more_are_begun_while_too_many_are_in_back_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pending_module, "_MAX_WAITING", 2)
    found = pending("a", "b", "c", "d")
    first, second = take(found, 0.0), take(found, 0.0)
    back_off(found, first, 5.0)
    assert name(found.take(1.0)) == "c"
    back_off(found, second, 6.0)
    assert found.take(1.0) is None
    assert name(found.take(5.0)) == "a"
    assert name(found.take(5.0)) == "d"


def test_time_in_which_nothing_could_be_sent_does_not_count_for_a_new_delivery() -> None:
    lane = Lane(Congestion(), Latency(), 0.0)
    lane.is_back(3.0)
    found = pending("a", lane=lane)
    assert take(found, 4.0).since == 1.0
    assert take(pending("a"), 4.0).since == 4.0


def test_a_delivery_that_waits_for_its_turn_in_a_lane_uses_up_no_time() -> None:
    found = pending("a", lane=Lane(Congestion(), Latency(), 0.0))
    progress = take(found, 1.0)
    found.put(progress, AT_ONCE, 1.25)
    assert take(found, 9.0) is progress
    assert progress.since == pytest.approx(9.0 - 0.25 + EACH_FRAME_S)


def test_a_probe_begins_now_and_waits_for_its_turn() -> None:
    lane = Lane(Congestion(), Latency(), 0.0)
    found = pending("hangs", lane=lane)
    assert not found.probe(3.0)
    assert lane.must_check(3.0)
    assert not lane.lets_leave(take(found, 3.0 - 2 * HANGING_S), 3.0)
    lane.is_back(3.0)
    assert found.probe(4.0)
    progress = take(found, 5.0)
    assert (name(progress), progress.since) == (PROBED_ID, 2.0)
    assert not found.probe(4.0)


def test_no_probe_is_begun_while_one_waits_for_its_turn() -> None:
    lane = Lane(Congestion(), Latency(), 0.0)
    found = pending("hangs", lane=lane)
    assert lane.must_check(3.0)
    assert not lane.lets_leave(take(found, 3.0 - 2 * HANGING_S), 3.0)
    assert [found.probe(now) for now in (4.0, 5.0)] == [True, False]
    take(found, 5.0)
    assert found.probe(5.0)


def test_without_a_lane_nothing_is_probed() -> None:
    assert not pending("a").probe(3.0)


def test_some_of_those_in_back_off_can_be_withdrawn() -> None:
    found = pending("a", "b", "c")
    for step in (4.0, 2.0, 3.0):
        back_off(found, take(found, 0.0), step)
    due: dict[str | None, float] = {}

    def is_b(progress: Progress[Delivery], until: float) -> bool:
        due[name(progress)] = until
        return name(progress) == "b"

    assert [name(each) for each in found.withdraw(is_b)] == ["b"]
    assert due == {"a": 4.0, "b": 2.0, "c": 3.0}
    assert [name(found.take(9.0)) for _ in range(3)] == ["c", "a", None]


def test_those_that_were_begun_are_in_back_off_or_not() -> None:
    found = pending("a", "b", "c")
    first, second = take(found, 0.0), take(found, 0.0)
    back_off(found, first, 2.0)
    found.put(second, AT_ONCE, 1.0)
    assert [name(each) for each in found.begun()] == ["b", "a"]
