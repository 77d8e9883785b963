from __future__ import annotations

import pytest

from realtime import rate_limit
from realtime.rate_limit import RateLimit, Refusal
from tests.unit.fakes import Clock

RATE, BURST = 2, 3


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def limit(clock: Clock) -> RateLimit:
    return RateLimit(RATE, BURST, clock)


def passed(limit: RateLimit, key: str = "one") -> int:
    """Return how many tokens can be taken at once."""
    taken = 0
    while limit.take(key) is None:
        taken += 1
    return taken


def test_a_burst_may_be_taken_at_once(limit: RateLimit) -> None:
    assert passed(limit) == BURST


def test_whoever_takes_too_much_is_told_for_how_long_to_wait_and_only_once_as_news(
    limit: RateLimit, clock: Clock
) -> None:
    passed(limit)
    clock.now += 0.2
    assert limit.take("one") == Refusal(1, is_first=False)


def test_the_first_refusal_is_news(limit: RateLimit) -> None:
    answers = [limit.take("one") for _ in range(BURST + 2)]
    assert answers == [None, None, None, Refusal(1, is_first=True), Refusal(1, is_first=False)]


def test_waiting_for_as_long_as_told_helps(limit: RateLimit, clock: Clock) -> None:
    passed(limit)
    clock.now += 1
    assert passed(limit) == RATE


def test_waiting_for_less_does_not_though_tokens_have_dropped_in(limit: RateLimit, clock: Clock) -> None:
    passed(limit)
    clock.now += 0.9
    assert limit.take("one") == Refusal(1, is_first=False)


def test_no_more_than_a_burst_is_saved_up(limit: RateLimit, clock: Clock) -> None:
    limit.take("one")
    clock.now += 3600
    assert passed(limit) == BURST


def test_whoever_keeps_to_the_rate_is_never_refused(limit: RateLimit, clock: Clock) -> None:
    for _ in range(100):
        assert limit.take("one") is None
        clock.now += 1 / RATE


def test_slow_rates_make_for_long_waits(clock: Clock) -> None:
    limit = RateLimit(0.1, 1, clock)
    limit.take("one")
    assert limit.take("one") == Refusal(10, is_first=True)
    clock.now += 3.5
    assert limit.take("one") == Refusal(7, is_first=False)


def test_one_connection_does_not_spend_the_tokens_of_another(limit: RateLimit) -> None:
    passed(limit, "one")
    assert passed(limit, "other") == BURST


def test_memory_is_bounded_by_forgetting_who_was_silent_for_longest(
    limit: RateLimit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rate_limit, "_MAX_BUCKETS", 2)
    passed(limit, "active")
    passed(limit, "silent")
    limit.take("active")
    limit.take("new")  # the third: the silent one is forgotten
    assert limit.take("active") is not None
    assert passed(limit, "silent") == BURST


def test_what_was_let_through_can_cost_more_afterwards(limit: RateLimit, clock: Clock) -> None:
    assert limit.take("one") is None
    limit.charge("one", 4)
    assert limit.take("one") == Refusal(2, is_first=True)  # -2 tokens, and one is needed, at two a second
    clock.now += 2
    assert passed(limit) == 2


def test_a_charge_to_one_is_none_to_another(limit: RateLimit) -> None:
    limit.charge("one", 100)  # of whom nothing is known
    limit.take("two")
    limit.charge("two", 100)
    assert passed(limit, "one") == BURST
