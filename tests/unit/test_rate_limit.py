from __future__ import annotations

import pytest

from realtime import rate_limit
from realtime.rate_limit import Rate, RateLimit, Taken
from tests.unit.fakes import Clock

RATE, BURST = 2, 3


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def limit(clock: Clock) -> RateLimit:
    return RateLimit(Rate(RATE, BURST), clock)


def take_all(limit: RateLimit, key: str = "one") -> int:
    """Return how many tokens can be taken at once."""
    taken = 0
    while not limit.take(key).wait_s:
        taken += 1
    return taken


def test_a_burst_may_be_taken_at_once(limit: RateLimit) -> None:
    assert take_all(limit) == BURST


def test_a_repeated_refusal_says_how_long_to_wait(limit: RateLimit, clock: Clock) -> None:
    take_all(limit)
    clock.now += 0.2
    assert limit.take("one") == Taken(1)


def test_a_bucket_tells_whether_it_was_full(limit: RateLimit, clock: Clock) -> None:
    assert [limit.take("one") for _ in range(2)] == [Taken(0, was_full=True), Taken(0, was_full=False)]
    clock.now += 1
    assert limit.take("one") == Taken(0, was_full=True)


def test_tokens_are_back_after_the_whole_wait(limit: RateLimit, clock: Clock) -> None:
    take_all(limit)
    clock.now += 1
    assert take_all(limit) == RATE


def test_a_shorter_wait_is_refused_though_tokens_have_come_back(limit: RateLimit, clock: Clock) -> None:
    take_all(limit)
    clock.now += 0.9
    assert limit.take("one") == Taken(1)


def test_a_bucket_holds_no_more_than_a_burst(limit: RateLimit, clock: Clock) -> None:
    limit.take("one")
    clock.now += 3600
    assert take_all(limit) == BURST


def test_a_connection_within_the_rate_is_never_refused(limit: RateLimit, clock: Clock) -> None:
    for _ in range(100):
        assert not limit.take("one").wait_s
        clock.now += 1 / RATE


def test_a_slow_rate_makes_a_long_wait(clock: Clock) -> None:
    limit = RateLimit(Rate(0.1, 1), clock)
    limit.take("one")
    assert limit.take("one") == Taken(10)
    clock.now += 3.5
    assert limit.take("one") == Taken(7)


def test_one_connection_does_not_spend_the_tokens_of_another(limit: RateLimit) -> None:
    take_all(limit, "one")
    assert take_all(limit, "other") == BURST


def test_the_bucket_that_was_silent_longest_is_dropped_first(limit: RateLimit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rate_limit, "_MAX_BUCKETS", 2)
    take_all(limit, "active")
    take_all(limit, "silent")
    limit.take("active")
    limit.take("new")  # the third: the silent one is forgotten
    assert limit.take("active").wait_s
    assert take_all(limit, "silent") == BURST


def test_a_costly_request_is_granted_while_a_token_is_left_and_then_others_wait(limit: RateLimit, clock: Clock) -> None:
    assert limit.take("one", 5) == Taken(0, was_full=True)
    assert limit.take("one") == Taken(2)  # -2 tokens, and one is needed, at two a second
    clock.now += 2
    assert take_all(limit) == 2


def test_what_was_granted_can_be_charged_more_afterwards(limit: RateLimit, clock: Clock) -> None:
    limit.take("one")
    limit.charge("one", 4)
    assert limit.take("one") == Taken(2)
    clock.now += 2
    assert take_all(limit) == 2


def test_a_charge_affects_one_connection_only(limit: RateLimit) -> None:
    limit.charge("two", 100)
    assert take_all(limit, "one") == BURST


def test_a_refusal_of_the_shared_bucket_is_remembered(limit: RateLimit, clock: Clock) -> None:
    limit.refuse("one", 4)
    assert limit.take("one") == Taken(4)
    clock.now += 4
    assert take_all(limit) == BURST


def test_a_rate_says_how_long_to_wait_for_a_token() -> None:
    rate = Rate(10, 20)
    assert [rate.wait_s(1000 + debt_ms, 1000) for debt_ms in (-5000, 1900, 1901, 2900, 2901)] == [0, 0, 1, 1, 2]
    assert Rate(10, 1).wait_s(1001, 1000) == 1
