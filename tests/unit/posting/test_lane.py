from __future__ import annotations

import random
from dataclasses import dataclass, field
from itertools import count

import pytest

from realtime.posting.delivery import Delivery
from realtime.posting.lane import (
    CHECK_S,
    HANGING_S,
    LANE_S,
    LAST_S,
    PROBE_S,
    PROBING_S,
    SILENCE_S,
    SOUND_S,
    STALL_S,
    Lane,
    Latency,
    probe_of,
)
from realtime.posting.pacing import Congestion
from tests.support.posters import delivery


@dataclass
class Post:
    """A delivery under way."""

    since: float = 0.0
    throttled: bool = False
    failures: int = 0
    delivery: Delivery = field(default_factory=lambda: delivery("c"))


class Account(Congestion):
    """An account that is throttled, or not; it explains up to so many 429s in a row."""

    def __init__(self, *, throttled: bool = False, explained: int = 0) -> None:
        super().__init__()
        self._throttled_now = throttled
        self._explained = explained

    @property
    def is_on(self) -> bool:
        return self._throttled_now

    def explains(self, failures: int) -> bool:
        return 1 <= failures <= self._explained


def lane(account: Account | None = None, latency: Latency | None = None) -> Lane:
    return Lane(account or Account(), latency or Latency(), 0.0)


def stalled(seconds: float) -> Lane:
    """Return a lane in which nothing could be sent or received for a while from its beginning."""
    found = lane()
    found.is_back(seconds)
    return found


def test_before_the_first_answer_the_longest_time_is_assumed() -> None:
    assert Latency().longest_s() == LANE_S


def test_quick_answers_are_still_waited_for_some_time() -> None:
    latency = Latency()
    for _ in range(20):
        latency.note(0.005)
    assert latency.longest_s() == LAST_S


def test_an_answer_is_waited_for_longer_the_more_they_vary() -> None:
    chance = random.Random(1)
    steady, varying = Latency(), Latency()
    for _ in range(100):
        steady.note(0.05)
        varying.note(chance.choice([0.02, 0.08]))
    assert LAST_S <= steady.longest_s() < 0.08 < varying.longest_s() < LANE_S


def test_no_answer_is_waited_for_longer_than_a_lane_may_be_held() -> None:
    latency = Latency()
    latency.note(2.0)
    assert latency.longest_s() == LANE_S


def test_the_time_of_an_answer_is_estimated_as_tcp_does() -> None:
    latency, found = Latency(), list[float]()
    for seconds in (0.04, 0.08, 0.02):
        latency.note(seconds)
        found.append(latency.longest_s())
    # RFC 6298: the mean moves by an eighth, the deviation, half the first answer at first, by a quarter
    assert found == pytest.approx([0.04 + 4 * 0.02, 0.045 + 4 * 0.025, 0.041875 + 4 * 0.025])


def test_a_delivery_is_late_after_the_time_of_a_lane() -> None:
    assert not lane().is_late(Post(), LANE_S - 0.001)
    assert lane().is_late(Post(), LANE_S)
    assert not lane().is_late(Post(since=1.0), 1.0 + LANE_S / 2)


def test_a_lane_with_nothing_else_to_do_waits_no_longer_than_an_answer_usually_takes() -> None:
    latency = Latency()
    latency.note(0.04)
    ending = lane(latency=latency)
    assert not ending.is_late(Post(), 0.2)
    ending.is_ending = True
    assert ending.is_late(Post(), 0.13)
    assert not ending.is_late(Post(), 0.11)


def test_time_in_which_nothing_could_be_received_does_not_count() -> None:
    found = stalled(1.0)
    assert found.stalled_s == 1.0
    assert not found.is_late(Post(), 1.0 + LANE_S - 0.01)
    assert found.is_late(Post(), 1.0 + LANE_S)
    found.is_away(5.0)
    found.is_back(5.5)
    assert found.stalled_s == 1.5


def test_a_little_delay_is_no_stall_nor_is_a_wait_that_was_meant() -> None:
    found = stalled(STALL_S)
    found.is_back(1.5 * STALL_S)
    found.is_away(5.0)
    found.is_back(5.0 + STALL_S / 2)
    found.is_away(7.0)
    found.is_back(6.0)  # an answer came before
    assert found.stalled_s == 0.0


def test_a_429_that_the_account_explains_makes_no_delivery_late() -> None:
    found = lane(Account(explained=1))
    for failures in (0, 1):
        post = Post(throttled=True, failures=failures)
        assert not found.is_late(post, 9.0)
        assert post.since == 9.0
    assert found.is_late(Post(throttled=True, failures=2), 9.0)
    assert found.is_late(Post(failures=1), 9.0)


def test_the_time_of_an_answer_is_learned_from_first_tries_without_stalls() -> None:
    latency = Latency()
    found = lane(latency=latency)
    found.is_back(1.0)
    for unlike, status in ((Post(failures=1), 200), (Post(), 410), (Post(), 429), (Post(), 0)):
        found.answered(unlike, status, 9.0)
    assert latency.longest_s() == LANE_S, "nothing was learned"
    found.answered(Post(since=0.5), 200, 1.54)
    assert latency.longest_s() == pytest.approx(0.04 + 4 * 0.02)


def test_a_pause_does_not_count_and_a_frame_has_its_own_time() -> None:
    found = stalled(1.0)
    for used, left in ((0.2, 0.15), (0.03, 0.0)):
        post = Post(since=1.0)
        found.pause(post, 2.0 + used)
        found.go_on(post, 8.0)
        assert 8.0 - found.stalled_s - post.since == pytest.approx(left)


def test_deliveries_are_looked_at_every_hundredth_of_a_second() -> None:
    found = lane()
    assert [found.must_check(now) for now in (0.0, CHECK_S / 2, CHECK_S, 1.5 * CHECK_S, 2 * CHECK_S)] == [
        False,
        False,
        True,
        False,
        True,
    ]


def test_deliveries_that_hang_are_counted_at_each_look() -> None:
    found = lane()
    assert found.hanging == 0
    for now in (HANGING_S, 2 * HANGING_S):
        assert found.must_check(now)
        assert [found.lets_leave(Post(since), now) for since in (now - HANGING_S, 0.0, now)] == [False] * 3
        assert found.hanging == 2
    found.answered(Post(LANE_S), 200, LANE_S)
    assert found.lets_leave(Post(), LANE_S)
    assert found.hanging == 2  # the one that leaves does not hang


def test_a_stall_makes_no_delivery_hang() -> None:
    found = stalled(1.0)
    assert not found.lets_leave(Post(), 1.0 + HANGING_S / 2)
    assert found.hanging == 0


def probes(found: Lane, *times: float, waiting: Post | None = None) -> list[bool]:
    return [bool(found.stage_to_probe(now, waiting)) for now in times]


def test_a_throttled_account_is_probed_every_tenth_of_a_second() -> None:
    found = lane(Account(throttled=True))
    assert probes(found, 0.0, PROBE_S / 2, PROBE_S, 2 * PROBE_S, waiting=Post()) == [True, False, True, True]
    assert probes(found, 9.0) == [False], "something else is left to be done"
    assert probes(lane(), 9.0, waiting=Post()) == [False]


@pytest.mark.parametrize(("status", "again"), [(410, True), (429, False), (503, False), (0, False)])
def test_an_account_that_seems_not_to_be_throttled_is_probed_again_at_once(status: int, again: bool) -> None:
    found = lane(Account(throttled=True))
    assert probes(found, 0.0, 0.01, waiting=Post()) == [True, False]
    found.probed(status, 0.01)
    assert probes(found, 0.01, waiting=Post()) == [again]


def test_while_an_account_is_throttled_it_is_probed_more_and_more_rarely_until_it_answers() -> None:
    found = lane(Account(throttled=True))
    assert probes(found, 0.0, waiting=Post()) == [True]

    def gap(asked_cs: int) -> int:
        """Let a probe get a 429; return the time until the next one, in hundredths of a second."""
        found.probed(429, asked_cs / 100)
        return next(later for later in count(1) if found.stage_to_probe((asked_cs + later + 0.1) / 100, Post()))

    gaps: list[int] = []
    for _ in range(5):
        gaps.append(gap(sum(gaps)))
    assert gaps == [20, 40, 80, 80, 80]
    found.probed(410, 3.0)
    assert probes(found, 3.0, waiting=Post()) == [True], "one try follows the other"
    assert gap(300) == 20


def test_an_api_that_may_answer_nobody_is_probed_as_often_as_ever_after_a_throttle() -> None:
    found = lane(Account(throttled=True))
    for at in (0.0, 1.0, 2.0):
        assert probes(found, at, waiting=Post()) == [True]
        found.probed(429, at + 0.01)
    assert looked(found, Post(since=2.0), 2.2) == [False]
    assert probes(found, 2.2, 2.25, 2.31) == [True, False, True]


def looked(found: Lane, post: Post, *times: float) -> list[bool]:
    """Look at a delivery that has a request under way; return whether it leaves."""
    return [found.must_check(now) and found.lets_leave(post, now) for now in times]


def test_an_api_is_probed_when_an_answer_is_unusually_late_and_nothing_shows_that_it_answers() -> None:
    found, post = lane(), Post()
    assert looked(found, post, HANGING_S - 0.001) == [False]
    assert probes(found, HANGING_S) == [False]
    assert looked(found, post, 2 * HANGING_S) == [False]
    assert found.stage_to_probe(2 * HANGING_S, None) == post.delivery.stage
    found.answered(Post(HANGING_S), 410, 2 * HANGING_S)
    assert looked(found, post, 3 * HANGING_S) == [False]
    assert probes(found, 9.0) == [False], "it answers"
    assert looked(found, post, HANGING_S + SOUND_S + 0.001) == [False]
    assert probes(found, 9.0) == [True], "it did"


def test_an_answer_that_usually_takes_long_is_waited_for_before_the_api_is_probed() -> None:
    latency = Latency()
    latency.note(0.05)
    found = lane(latency=latency)
    assert looked(found, Post(), 0.09) == [False]
    assert probes(found, 0.09) == [False]
    assert looked(found, Post(), 0.101) == [False]
    assert probes(found, 0.101) == [True]


@pytest.mark.parametrize(("status", "leaves"), [(200, True), (410, True), (429, True), (500, False), (0, False)])
def test_a_delivery_leaves_when_an_answer_shows_that_the_api_works(status: int, leaves: bool) -> None:
    found = lane()
    found.answered(Post(LANE_S - SOUND_S), status, LANE_S)
    assert looked(found, Post(), LANE_S) == [leaves]


def test_an_answer_to_what_was_asked_at_the_same_time_shows_only_that_the_api_is_at_it() -> None:
    """A window of posts that the API answers one after another: the last of them is no straggler."""
    found = lane()
    found.answered(Post(LANE_S), 200, 2 * LANE_S)
    assert looked(found, Post(LANE_S), 2 * LANE_S) == [False]


def test_an_answer_to_what_was_asked_long_ago_does_not_show_how_the_api_is_now() -> None:
    found = lane()
    found.answered(Post(LANE_S - SOUND_S - 0.001), 200, LANE_S)
    assert looked(found, Post(), LANE_S) == [False]


def test_without_any_answer_deliveries_stay_for_two_seconds_of_a_lane_and_no_more() -> None:
    found = lane()
    first = [number * CHECK_S for number in range(1, 101)]
    assert looked(found, Post(-LANE_S), *first) == [False] * 100
    found.answered(Post(1.0), 200, 1.01)
    assert looked(found, Post(1.0), 1.02) == [False]
    second = [1.5 + number * CHECK_S for number in range(150)]
    stays = looked(found, Post(1.0), *second).count(False)
    assert 1.0 + stays * CHECK_S == pytest.approx(SILENCE_S, abs=3 * CHECK_S)


def test_a_probe_is_given_up_after_half_a_second_and_is_no_reason_for_another() -> None:
    found, probe = lane(), Post(delivery=probe_of("feed"))
    assert looked(found, probe, PROBING_S - 0.001) == [False]
    assert probes(found, 9.0) == [False]
    assert looked(found, probe, PROBING_S + CHECK_S) == [True]
