"""The quota, the bound on posts in flight, and congestion, at times that the test gives."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime.posting.pacing import Congestion, TokenBucket, Window


def test_a_bucket_begins_full_and_refills_at_its_rate() -> None:
    bucket = TokenBucket(rate=100, burst=50)
    assert bucket.refill(0.0) == 50
    bucket.tokens -= 50
    assert bucket.refill(0.0) == 0
    assert bucket.seconds_to_next() == pytest.approx(0.01)
    assert bucket.refill(0.25) == 25
    assert bucket.refill(9.0) == 50


@given(
    rate=st.floats(1, 20_000),
    burst=st.floats(1, 10_000),
    steps=st.lists(st.floats(0, 2, allow_subnormal=False), max_size=50),
)
def test_tokens_taken_never_exceed_the_burst_and_the_refill(rate: float, burst: float, steps: list[float]) -> None:
    bucket = TokenBucket(rate, burst)
    now = taken = 0.0
    for step in steps:
        now += step
        tokens = bucket.refill(now)
        bucket.tokens -= tokens
        taken += tokens
        assert taken <= (burst + rate * now) * (1 + 1e-9)


@pytest.mark.parametrize(("rate", "burst"), [(0, 10), (-1, 10), (10, 0.5)])
def test_a_bucket_that_would_never_hold_a_token_is_refused(rate: float, burst: float) -> None:
    with pytest.raises(ValueError, match="rate above 0"):
        TokenBucket(rate, burst)


def grow(window: Window, rounds: int) -> list[int]:
    """Fill rounds whose requests had to wait for each other; return the sizes that they lead to."""
    sizes = []
    for _ in range(rounds):
        window.held_back()
        window.answered(max(window.size, 10), throttled=0)
        sizes.append(window.size)
    return sizes


def test_a_window_that_holds_requests_back_doubles_each_round_up_to_its_limit() -> None:
    assert grow(Window(start=20, limit=100), 4) == [40, 80, 100, 100]


def test_a_window_grows_by_one_a_round_after_congestion() -> None:
    window = Window(start=64, limit=34)
    window.answered(64, throttled=32)
    assert grow(window, 4) == [18, 19, 20, 21]


def test_a_window_that_holds_no_request_back_does_not_grow() -> None:
    window = Window(start=20, limit=100)
    window.answered(1000, throttled=0)
    assert window.size == 20


def test_a_congested_round_halves_the_window_down_to_one() -> None:
    window = Window(start=32, limit=100)
    sizes = []
    for _ in range(7):
        window.answered(max(window.size, 10), throttled=5)
        sizes.append(window.size)
    assert sizes == [16, 8, 4, 2, 1, 1, 1]


def test_few_slow_clients_do_not_slow_down_the_others() -> None:
    window = Window(start=32, limit=100)
    for _ in range(100):
        window.answered(40, throttled=4)
    assert window.size == 32


def test_a_round_is_judged_only_when_it_is_full() -> None:
    window = Window(start=32, limit=100)
    for _ in range(3):
        window.answered(10, throttled=10)
    assert window.size == 32
    window.answered(2, throttled=0)
    assert window.size == 16


def test_congestion_begins_when_most_first_tries_meet_a_429() -> None:
    congestion = Congestion()
    congestion.answered(1.0, first=9, throttled=9, later=0, accepted=0)
    assert not congestion.is_on  # too few to tell
    congestion.answered(2.0, first=3, throttled=0, later=0, accepted=0)
    assert congestion.is_on
    assert congestion.seconds(5.0) == 3.0


def test_a_few_slow_clients_are_no_congestion_even_after_many_tries() -> None:
    congestion = Congestion()
    congestion.answered(1.0, first=100, throttled=20, later=0, accepted=0)
    congestion.answered(2.0, first=0, throttled=0, later=100, accepted=0)
    assert not congestion.is_on
    assert congestion.seconds(9.0) == 0.0


@pytest.mark.parametrize("answers", [(10, 2, 0, 0), (0, 0, 10, 8)])
def test_congestion_ends_when_four_of_five_tries_are_accepted(answers: tuple[int, int, int, int]) -> None:
    congestion = Congestion()
    congestion.answered(1.0, 10, 10, 0, 0)
    congestion.answered(2.0, 10, 3, 10, 7)
    assert congestion.is_on
    congestion.answered(4.0, *answers)
    assert not congestion.is_on
    assert congestion.seconds(9.0) == 3.0


def test_congestion_is_over_after_five_seconds_without_a_try() -> None:
    congestion = Congestion()
    congestion.answered(1.0, 10, 10, 0, 0)
    congestion.resume(5.0)
    assert congestion.is_on
    congestion.resume(60.0)
    assert not congestion.is_on
    assert congestion.seconds(60.0) == 0.0
