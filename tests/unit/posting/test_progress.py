"""The effect of each answer on one delivery, and when it continues: all times are given in ms, without a clock."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from realtime.messages import MAX_FRAME_BYTES
from realtime.posting.delivery import Delivery, Frame, Outcome
from realtime.posting.pacing import Congestion
from realtime.posting.progress import AT_ONCE, Patience, Progress

WALL = 1_705_314_600.0  # s since the epoch
HELLO = (Frame(b"hello"),)


def progress(
    frames: Sequence[Frame] = HELLO,
    *,
    age_s: float = 3600.0,
    patience_ms: float = 2_500,
    close_unserved: bool = False,
    congestion: Congestion | None = None,
    **more: Any,
) -> Progress[Delivery]:
    delivery = Delivery("feed", "a=", frames, WALL - age_s, **more)
    started = Progress(delivery, Patience(patience_ms / 1000, close_unserved, congestion or Congestion()))
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
        if step == AT_ONCE and each.closing:
            return tries, Outcome.CLOSED
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
    @pytest.mark.parametrize("close_unserved", [False, True])
    def test_a_young_connection_is_waited_for_two_seconds_at_most_and_never_closed(
        self, patience_ms: float, tries: list[float], close_unserved: bool
    ) -> None:
        each = progress(age_s=0.0, patience_ms=patience_ms, close_unserved=close_unserved)
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

    def unserved(self, status: int = 400) -> Progress[Delivery]:
        """Return a connection that was given up at 0 ms and is to be closed."""
        each = progress((*HELLO, *HELLO), close_unserved=True, patience_ms=50)
        assert fail(each, status) == AT_ONCE
        assert each.next_request(WALL) is not None
        assert (each.closing, each.method, each.sent) == (True, "DELETE", 0)
        return each

    @pytest.mark.parametrize("status", [400, 429, 500, 0])
    def test_a_connection_that_cannot_be_served_is_closed(self, status: int) -> None:
        assert self.unserved(status).accepted() is Outcome.CLOSED

    @pytest.mark.parametrize(
        ("status", "outcome"),
        [
            (400, Outcome.STUCK),
            (413, Outcome.STUCK),
            (429, Outcome.STUCK),
            (500, Outcome.STUCK),
            (0, Outcome.STUCK),
            (410, Outcome.GONE),
            (403, Outcome.FORBIDDEN),
        ],
    )
    def test_a_connection_that_can_be_neither_served_nor_closed_is_stuck(self, status: int, outcome: Outcome) -> None:
        assert fail(self.unserved(), status) is outcome

    def test_closing_a_connection_has_a_patience_and_a_back_off_of_its_own(self) -> None:
        each = progress(close_unserved=True, patience_ms=151)
        assert [fail(each, at_ms=at_ms) for at_ms in (0, 50, 150)] == [50, 150, AT_ONCE]
        assert [fail(each, at_ms=at_ms) for at_ms in (150, 200, 300)] == [200, 300, Outcome.STUCK]

    def test_a_young_connection_that_cannot_be_closed_is_stuck(self) -> None:
        each = progress(age_s=0.0, close_unserved=True, patience_ms=51)
        assert fail(each, 400) == AT_ONCE
        assert fail(each, 410, at_ms=0) == 50
        assert fail(each, 410, at_ms=50) is Outcome.STUCK


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

    @pytest.mark.parametrize("status", [429, 500, 410])
    def test_an_unfinished_connection_that_is_being_closed_is_stuck(self, status: int) -> None:
        each = progress(age_s=0.0, close_unserved=True)
        fail(each, 400)
        assert each.unfinished is Outcome.STUCK
        fail(each, status)
        assert each.unfinished is Outcome.STUCK
