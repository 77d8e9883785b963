"""The effect of each answer on one delivery, and when it continues: all times are given in ms, without a clock."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from realtime.messages import MAX_FRAME_BYTES
from realtime.posting.delivery import Delivery, Frame, Outcome
from realtime.posting.lane import Lane, Latency
from realtime.posting.pacing import Congestion
from realtime.posting.progress import AT_ONCE, Patience, Progress

WALL = 1_705_314_600.0  # s since the epoch
HELLO = (Frame(b"hello"),)


def progress(
    frames: Sequence[Frame] = HELLO,
    *,
    age_s: float = 3600.0,
    patience_ms: float = 2_500,
    congestion: Congestion | None = None,
    lane: Lane | None = None,
    **more: Any,
) -> Progress[Delivery]:
    delivery = Delivery("feed", "a=", frames, WALL - age_s, **more)
    started = Progress(delivery, Patience(patience_ms / 1000, congestion or Congestion(), lane), since=0.0)
    started.next_request(WALL)
    return started


def fail(each: Progress[Delivery], status: int = 500, *, at_ms: float = 0, jitter: float = 1.0) -> Outcome | float:
    """Give it a failure; return its outcome, or the time in ms at which it goes on."""
    step = each.failed(status, "", now=at_ms / 1000, wall=WALL + at_ms / 1000, jitter=jitter)
    return round(step * 1000, 3) if isinstance(step, float) else step


def fail_until_it_ends(each: Progress[Delivery], status: int = 500) -> tuple[list[float], Outcome]:
    """Let each try fail at once; return the times of the tries in ms, and the outcome."""
    tries, at_ms = [0.0], 0.0
    while True:
        step = fail(each, status, at_ms=at_ms)
        if isinstance(step, Outcome):
            return tries, step
        at_ms = step
        each.resume(at_ms / 1000)
        tries.append(at_ms)


@pytest.mark.parametrize(
    ("status", "step"),
    [
        (410, Outcome.GONE),
        (403, Outcome.FORBIDDEN),
        (400, Outcome.FAILED),
        (404, Outcome.FAILED),
        (302, Outcome.FAILED),
        (413, AT_ONCE),
        (429, 50),
        (500, 50),
        (503, 50),
        (0, 50),
    ],
)
def test_a_first_failure_is_tried_again_only_if_that_may_help(status: int, step: Outcome | float) -> None:
    assert fail(progress(), status) == step


class TestBackOff:
    @pytest.mark.parametrize(
        ("jitter", "waits"),
        [
            (1.0, [50, 100, 200, 400, 800, 1000, 1000]),
            (0.5, [25, 50, 100, 200, 400, 500, 500]),
            (0.0, [0, 0, 0, 0, 0, 0, 0]),
        ],
    )
    def test_back_off_is_a_random_part_of_a_time_that_doubles(self, jitter: float, waits: list[float]) -> None:
        each = progress(patience_ms=60_000)
        assert [fail(each, at_ms=0, jitter=jitter) for _ in waits] == waits

    def test_back_off_begins_when_the_failure_is_known(self) -> None:
        assert fail(progress(), at_ms=7_000, jitter=0.5) == 7_025

    def test_a_success_makes_back_off_short_again(self) -> None:
        each = progress((*HELLO, *HELLO))
        assert [fail(each), fail(each)] == [50, 100]
        assert each.accepted() == AT_ONCE
        assert fail(each) == 50


class TestPatience:
    @pytest.mark.parametrize(
        ("patience_ms", "tries"),
        [(50, [0]), (51, [0, 50]), (150, [0, 50]), (151, [0, 50, 150]), (2_500, [0, 50, 150, 350, 750, 1_550])],
    )
    def test_a_connection_is_given_up_when_its_next_try_would_be_too_late(
        self, patience_ms: float, tries: list[float]
    ) -> None:
        assert fail_until_it_ends(progress(patience_ms=patience_ms)) == (tries, Outcome.FAILED)

    def test_throttling_is_distinguished_from_other_failures(self) -> None:
        each = progress(patience_ms=100)
        assert fail_until_it_ends(each, 429)[1] is Outcome.THROTTLED
        assert each.throttled
        each = progress(patience_ms=100)
        assert fail_until_it_ends(each, 0)[1] is Outcome.FAILED
        assert not each.throttled

    def test_patience_begins_anew_with_each_frame(self) -> None:
        each = progress((*HELLO, *HELLO), patience_ms=151)
        assert [fail(each, at_ms=at_ms) for at_ms in (0, 50)] == [50, 150]
        each.accepted()
        assert fail(each, at_ms=150) == 200

    def test_patience_does_not_run_while_quota_or_window_hold_the_connection_back(self) -> None:
        each = progress(patience_ms=151)
        assert fail(each, at_ms=0) == 50
        each.resume(1.050)  # a second late
        assert fail(each, at_ms=1_050) == 1_150
        each.resume(1.150)
        assert fail(each, at_ms=1_150) is Outcome.FAILED

    def test_patience_runs_on_when_quota_or_window_have_held_the_connection_back_for_long(self) -> None:
        each = progress(patience_ms=1_000)
        assert fail(each, at_ms=0) == 50
        each.resume(2.0)
        assert fail(each, at_ms=2_000) == 2_100
        each.resume(9.0)
        assert fail(each, at_ms=9_000) is Outcome.FAILED

    def test_each_frame_may_be_held_back_anew(self) -> None:
        each = progress((*HELLO, *HELLO), patience_ms=151)
        for at_ms in (0, 3_000):
            assert fail(each, at_ms=at_ms) == at_ms + 50
            each.resume(at_ms / 1000 + 2.5)
            assert fail(each, at_ms=at_ms + 2_500) == at_ms + 2_600
            each.accepted()

    def test_in_a_lane_patience_never_runs_while_quota_or_window_hold_the_connection_back(self) -> None:
        congestion = Congestion()
        each = progress(congestion=congestion, lane=Lane(congestion, Latency(), 0.0))
        assert fail(each, at_ms=0) == 50
        each.resume(9.0)
        assert fail(each, at_ms=9_000) == 9_100

    def test_a_frame_that_is_too_large_does_not_renew_patience(self) -> None:
        each = progress((*HELLO, *HELLO), patience_ms=151)
        assert fail(each, at_ms=0) == 50
        assert fail(each, 413, at_ms=50) == AT_ONCE
        assert fail(each, at_ms=50) == 150


def congested() -> Congestion:
    """Return a congestion that begins at 0 ms."""
    congestion = Congestion()
    congestion.answered(0.0, first=10, throttled=10, later=0, accepted=0)
    return congestion


class TestCongestion:
    def test_a_connection_that_is_throttled_with_all_others_is_tried_for_ten_seconds_more(self) -> None:
        tries, outcome = fail_until_it_ends(progress(congestion=congested()), 429)
        assert outcome is Outcome.THROTTLED
        assert tries[-1] == 11_550  # the last that begins within 2.5 + 10 s

    def test_a_failure_other_than_429_gets_no_longer_patience(self) -> None:
        tries, _ = fail_until_it_ends(progress(congestion=congested()), 500)
        assert tries[-1] == 1_550

    def test_congestion_before_the_first_failure_does_not_count(self) -> None:
        congestion = congested()
        congestion.answered(9.0, first=10, throttled=0, later=0, accepted=0)  # it ends
        each = progress(congestion=congestion, patience_ms=151)
        assert fail(each, 429, at_ms=9_000) == 9_050
        assert fail(each, 429, at_ms=9_050) == 9_150
        assert fail(each, 429, at_ms=9_150) is Outcome.THROTTLED


class TestOpening:
    @pytest.mark.parametrize(("age_s", "step"), [(0.0, 50), (29.9, 50), (30.0, Outcome.GONE), (60.0, Outcome.GONE)])
    def test_a_410_counts_after_the_handshake_must_be_over(self, age_s: float, step: Outcome | float) -> None:
        assert fail(progress(age_s=age_s), 410) == step

    def test_a_410_counts_after_an_accepted_frame(self) -> None:
        each = progress((*HELLO, *HELLO), age_s=0.0)
        each.accepted()
        assert fail(each, 410) is Outcome.GONE

    def test_a_connection_may_stop_being_young_in_back_off(self) -> None:
        each = progress(age_s=29.98)
        assert fail(each, 410, at_ms=0) == 50
        assert fail(each, 410, at_ms=50) is Outcome.GONE

    @pytest.mark.parametrize(("patience_ms", "tries"), [(60_000, [0, 50, 150, 350, 750, 1_550]), (151, [0, 50, 150])])
    def test_a_young_connection_is_waited_for_two_seconds_at_most(self, patience_ms: float, tries: list[float]) -> None:
        each = progress(age_s=0.0, patience_ms=patience_ms)
        assert fail_until_it_ends(each, 410) == (tries, Outcome.NOT_YET_OPEN)


class TestFrames:
    def test_frames_go_in_their_order(self) -> None:
        frames = [Frame(b"1"), Frame(b"2")]
        each = progress(frames)
        assert each.next_request(WALL) is frames[0]
        assert each.accepted() == AT_ONCE
        assert each.next_request(WALL) is frames[1]
        assert (each.method, each.accepted(), each.sent) == ("POST", Outcome.DELIVERED, 2)

    @pytest.mark.parametrize(("not_after_s", "is_sent"), [(WALL - 1, False), (WALL, True), (WALL + 1, True)])
    def test_an_expired_frame_is_left_out(self, not_after_s: float, is_sent: bool) -> None:
        frame = Frame(b"late", not_after_s)
        each = progress([frame])
        assert each.next_request(WALL) is (frame if is_sent else None)
        assert each.sent == (not is_sent)
        if not is_sent:
            assert each.ended() is Outcome.EXPIRED

    def test_a_frame_may_expire_in_back_off(self) -> None:
        each = progress([Frame(b"short-lived", WALL + 0.5), *HELLO])
        assert fail(each) == 50
        assert each.next_request(WALL + 1) is HELLO[0]
        assert each.accepted() is Outcome.DELIVERED

    @pytest.mark.parametrize(("size", "is_sent"), [(MAX_FRAME_BYTES, True), (MAX_FRAME_BYTES + 1, False)])
    def test_a_frame_that_no_api_takes_is_not_sent(self, size: int, is_sent: bool) -> None:
        each = progress([Frame(b"x" * size), *HELLO])
        each.next_request(WALL)
        assert each.sent == (not is_sent)

    def test_a_frame_that_is_refused_for_its_size_is_left_out_and_the_others_go(self) -> None:
        each = progress([Frame(b"large"), *HELLO])
        assert fail(each, 413) == AT_ONCE
        assert each.next_request(WALL) is HELLO[0]
        assert (each.accepted(), each.sent) == (Outcome.TOO_LARGE, 2)

    def test_a_delivery_of_nothing_is_delivered(self) -> None:
        each = progress(())
        assert each.next_request(WALL) is None
        assert each.ended() is Outcome.DELIVERED

    def test_a_failure_is_kept_with_its_status_and_text(self) -> None:
        each = progress()
        each.failed(500, "broken ", now=0, wall=WALL, jitter=0)
        assert each.reason == "500 broken"
        each.failed(0, "no route", now=0, wall=WALL, jitter=0)
        assert each.reason == "no route"


class TestClosing:
    def test_a_connection_may_be_closed_after_its_frames(self) -> None:
        each = progress(close=True)
        assert each.accepted() == AT_ONCE
        assert each.next_request(WALL) == each.next_request(WALL)
        assert each.method == "DELETE"
        assert each.accepted() is Outcome.DELIVERED

    def test_a_close_is_tried_again_and_does_not_count_as_a_frame(self) -> None:
        each = progress((), close=True)
        assert fail(each, 429) == 50
        assert fail(each, 413) is Outcome.FAILED

    def test_a_question_is_asked_of_a_connection_that_is_sent_nothing(self) -> None:
        each = progress((), ask=True)
        assert each.method == "GET"
        assert each.accepted() is Outcome.DELIVERED
        assert fail(progress((), ask=True), 410) is Outcome.GONE


class TestInALane:
    """It may be unserved for 250 ms."""

    def in_lane(self, frames: Sequence[Frame] = HELLO, congestion: Congestion | None = None, **more: Any) -> Any:
        congestion = congestion or Congestion()
        return progress(frames, congestion=congestion, lane=Lane(congestion, Latency(), 0.0), **more)

    @pytest.mark.parametrize("status", [429, 500, 0])
    def test_a_connection_leaves_when_its_next_try_would_be_too_late(self, status: int) -> None:
        assert fail_until_it_ends(self.in_lane(), status) == ([0.0, 50.0, 150.0], Outcome.LATE)

    def test_a_connection_that_was_slow_to_fail_leaves_at_once(self) -> None:
        assert fail(self.in_lane(), 500, at_ms=200) is Outcome.LATE

    def test_a_young_connection_leaves_as_any_other(self) -> None:
        assert fail_until_it_ends(self.in_lane(age_s=0.0), 410) == ([0.0, 50.0, 150.0], Outcome.LATE)

    def test_a_failure_that_no_other_try_would_change_is_left_to_the_late_lane(self) -> None:
        assert fail(self.in_lane(), 400) is Outcome.LATE

    @pytest.mark.parametrize(("status", "outcome"), [(410, Outcome.GONE), (403, Outcome.FORBIDDEN)])
    def test_what_is_certain_stays_certain(self, status: int, outcome: Outcome) -> None:
        assert fail(self.in_lane(), status) is outcome

    def test_a_429_that_everyone_gets_is_waited_out(self) -> None:
        each, at_ms = self.in_lane(congestion=congested()), 0.0
        for _ in range(100):
            step = fail(each, 429, at_ms=at_ms)
            assert isinstance(step, float)
            at_ms = step
            each.resume(at_ms / 1000)
        assert at_ms > 60_000

    def test_another_failure_is_not_waited_out_in_congestion(self) -> None:
        assert fail_until_it_ends(self.in_lane(congestion=congested()), 500)[1] is Outcome.LATE

    def test_after_congestion_a_connection_has_its_250_ms(self) -> None:
        congestion = congested()
        each = self.in_lane(congestion=congestion)
        assert fail(each, 429, at_ms=5_000) == 5_050
        congestion.answered(5.02, first=10, throttled=0, later=0, accepted=0)
        each.resume(5.05)
        assert fail(each, 429, at_ms=5_060) == 5_160
        each.resume(5.16)
        assert fail(each, 429, at_ms=5_170) is Outcome.LATE

    def test_the_time_that_quota_and_window_hold_it_back_does_not_count(self) -> None:
        each = self.in_lane()
        assert fail(each, 500) == 50
        each.resume(10.05)
        assert fail(each, 500, at_ms=10_050) == 10_150


class TestWhenTheTimeRunsOut:
    """The outcome of a delivery that is not done."""

    def test_an_unfinished_connection_that_never_failed_was_not_tried(self) -> None:
        assert progress().unfinished is Outcome.NOT_TRIED

    @pytest.mark.parametrize(("status", "outcome"), [(429, Outcome.THROTTLED), (500, Outcome.FAILED)])
    def test_an_unfinished_connection_in_back_off_ends_with_its_last_failure(
        self, status: int, outcome: Outcome
    ) -> None:
        each = progress((*HELLO, *HELLO))
        fail(each, status)
        assert each.unfinished is outcome
        each.accepted()
        assert each.unfinished is Outcome.NOT_TRIED

    def test_an_unfinished_young_connection_in_back_off_is_not_yet_open(self) -> None:
        each = progress(age_s=0.0)
        fail(each, 410)
        assert each.unfinished is Outcome.NOT_YET_OPEN


def test_frames_that_cannot_be_sent_are_passed_over_one_by_one() -> None:
    late, too_large = Frame(b"late", not_after_s=WALL - 1), Frame(b"x" * (MAX_FRAME_BYTES + 1))
    each = progress([late, late, too_large, too_large, *HELLO, late])
    assert (each.sent, each.reason) == (4, "")
    assert each.next_request(WALL) == HELLO[0]
    each.accepted()
    assert each.next_request(WALL) is None
    assert (each.sent, each.ended()) == (6, Outcome.TOO_LARGE)


def test_a_delivery_that_has_not_failed_is_not_throttled_and_has_no_reason() -> None:
    each = progress()
    assert each.throttled is False
    each.accepted()
    assert each.reason == ""


def test_the_answer_to_a_question_is_kept() -> None:
    each = progress((), ask=True)
    assert each.method == "GET"
    assert each.accepted("an answer") is Outcome.DELIVERED
    assert each.reason == "an answer"


def test_all_times_for_which_it_is_held_back_count_together() -> None:
    """2.5 s at most: 2 s the first time, so half a second the second time."""
    each = progress(patience_ms=2_500)
    for held_back_from_s in (0.0, 2.0):
        assert fail(each, at_ms=held_back_from_s * 1000, jitter=0.0) == held_back_from_s * 1000
        each.resume(held_back_from_s + 2.0)
    assert fail(each, at_ms=4_900, jitter=0.0) == 4_900
    each.resume(4.9)
    assert fail(each, at_ms=5_000, jitter=0.0) is Outcome.FAILED
