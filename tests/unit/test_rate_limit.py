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


def take_all(limit: RateLimit, key: str = "one") -> int:
    """Return how many tokens can be taken at once."""
    taken = 0
    while limit.take(key) is None:
        taken += 1
    return taken


def test_a_burst_may_be_taken_at_once(limit: RateLimit) -> None:
    assert take_all(limit) == BURST


def test_a_repeated_refusal_says_how_long_to_wait(limit: RateLimit, clock: Clock) -> None:
    take_all(limit)
    clock.now += 0.2
    assert limit.take("one") == Refusal(1, is_first=False)


def test_the_first_refusal_alone_is_marked_as_first(limit: RateLimit) -> None:
    answers = [limit.take("one") for _ in range(BURST + 2)]
    assert answers == [None, None, None, Refusal(1, is_first=True), Refusal(1, is_first=False)]


def test_tokens_are_back_after_the_whole_wait(limit: RateLimit, clock: Clock) -> None:
    take_all(limit)
    clock.now += 1
    assert take_all(limit) == RATE


def test_a_shorter_wait_is_refused_though_tokens_have_come_back(limit: RateLimit, clock: Clock) -> None:
    take_all(limit)
    clock.now += 0.9
    assert limit.take("one") == Refusal(1, is_first=False)


def test_a_bucket_holds_no_more_than_a_burst(limit: RateLimit, clock: Clock) -> None:
    limit.take("one")
    clock.now += 3600
    assert take_all(limit) == BURST


def test_a_connection_within_the_rate_is_never_refused(limit: RateLimit, clock: Clock) -> None:
    for _ in range(100):
        assert limit.take("one") is None
        clock.now += 1 / RATE


def test_a_slow_rate_makes_a_long_wait(clock: Clock) -> None:
    limit = RateLimit(0.1, 1, clock)
    limit.take("one")
    assert limit.take("one") == Refusal(10, is_first=True)
    clock.now += 3.5
    assert limit.take("one") == Refusal(7, is_first=False)


def test_one_connection_does_not_spend_the_tokens_of_another(limit: RateLimit) -> None:
    take_all(limit, "one")
    assert take_all(limit, "other") == BURST


def test_the_bucket_that_was_silent_longest_is_dropped_first(limit: RateLimit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rate_limit, "_MAX_BUCKETS", 2)
    take_all(limit, "active")
    take_all(limit, "silent")
    limit.take("active")
    limit.take("new")  # the third: the silent one is forgotten
    assert limit.take("active") is not None
    assert take_all(limit, "silent") == BURST


def test_an_accepted_frame_can_be_charged_more_afterwards(limit: RateLimit, clock: Clock) -> None:
    assert limit.take("one") is None
    limit.charge("one", 4)
    assert limit.take("one") == Refusal(2, is_first=True)  # -2 tokens, and one is needed, at two a second
    clock.now += 2
    assert take_all(limit) == 2


def test_a_charge_affects_one_connection_only(limit: RateLimit) -> None:
    limit.charge("one", 100)  # a connection that has no bucket yet
    limit.take("two")
    limit.charge("two", 100)
    assert take_all(limit, "one") == BURST
