"""The quota, the bound on posts in flight, and congestion, at times that the test gives."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime.posting.pacing import Congestion, Pace, TokenBucket, Window


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
    congestion.answered(1.0, first=9, throttled=6, later=0, accepted=0)
    assert not congestion.is_on  # too few to tell
    congestion.answered(2.0, first=2, throttled=0, later=0, accepted=0)
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


def test_a_window_stays_a_whole_number() -> None:
    window = Window(start=25, limit=100)
    sizes = []
    for _ in range(3):
        window.answered(max(window.size, 10), throttled=5)
        sizes.append(window.size)
    assert sizes == [12, 6, 3]


def congested() -> Congestion:
    congestion = Congestion()
    congestion.answered(1.0, 10, 10, 0, 0)
    assert congestion.is_on
    return congestion


def test_half_of_the_first_tries_with_a_429_are_no_congestion() -> None:
    congestion = Congestion()
    congestion.answered(1.0, first=10, throttled=5, later=0, accepted=0)
    assert not congestion.is_on
    congestion.answered(2.0, first=10, throttled=6, later=0, accepted=0)
    assert congestion.is_on


def test_congestion_lasts_while_seven_of_ten_later_tries_are_accepted() -> None:
    congestion = congested()
    congestion.answered(2.0, first=0, throttled=0, later=10, accepted=7)
    assert congestion.is_on


def test_later_tries_are_counted_until_a_round_is_full_and_then_anew() -> None:
    congestion = congested()
    congestion.answered(2.0, first=0, throttled=0, later=10, accepted=0)
    congestion.answered(3.0, first=0, throttled=0, later=5, accepted=4)
    congestion.answered(4.0, first=0, throttled=0, later=4, accepted=4)
    assert congestion.is_on, "nine tries are no round"
    congestion.answered(5.0, first=0, throttled=0, later=1, accepted=0)
    assert not congestion.is_on


def test_the_lengths_of_several_congestions_add_up() -> None:
    congestion = congested()
    congestion.answered(3.0, first=10, throttled=0, later=0, accepted=0)
    congestion.answered(10.0, first=10, throttled=10, later=0, accepted=0)
    congestion.answered(15.0, first=10, throttled=0, later=0, accepted=0)
    assert congestion.seconds(99.0) == 2.0 + 5.0


def test_congestion_may_last_through_a_pause_of_five_seconds() -> None:
    congestion = congested()
    congestion.resume(6.0)
    assert congestion.is_on
    congestion.resume(6.1)
    assert not congestion.is_on


def test_four_429s_in_a_row_are_congestion_even_in_small_batches() -> None:
    congestion = Congestion()
    congestion.answered(1.0, first=2, throttled=2, later=0, accepted=0)
    assert not congestion.is_on
    congestion.answered(2.0, first=0, throttled=0, later=2, accepted=0)
    congestion.answered(2.5, first=2, throttled=2, later=0, accepted=0)
    assert congestion.is_on
    assert congestion.seconds(3.5) == 1.0


def test_429s_of_slow_clients_among_others_are_no_row() -> None:
    congestion = Congestion()
    for second in range(100):
        congestion.answered(second, first=3, throttled=3 if second % 3 == 0 else 0, later=0, accepted=0)
        assert not congestion.is_on


def test_a_row_does_not_outlast_a_pause() -> None:
    congestion = Congestion()
    congestion.answered(1.0, first=3, throttled=3, later=0, accepted=0)
    congestion.resume(60.0)
    congestion.answered(60.0, first=1, throttled=1, later=0, accepted=0)
    assert not congestion.is_on


class TestChance:
    """Whether a connection's 429s may be the account's, while few requests get one."""

    def after(self, throttled: int, accepted: int) -> Congestion:
        """Return a congestion that saw a hundred first tries, and these later ones."""
        congestion = Congestion()
        congestion.answered(1.0, 50, throttled, 0, 0)
        congestion.answered(1.1, 50, 0, 30, accepted)
        assert not congestion.is_on
        return congestion

    def test_429s_are_chance_while_so_many_in_a_row_happen_in_ten_million(self) -> None:
        congestion = self.after(throttled=10, accepted=10)  # a tenth
        assert congestion.explains(6)
        assert not congestion.explains(8)

    def test_slow_clients_explain_nothing(self) -> None:
        assert not self.after(throttled=20, accepted=1).explains(1)

    def test_all_is_explained_in_congestion(self) -> None:
        congestion = Congestion()
        congestion.answered(1.0, 10, 10, 0, 0)
        assert congestion.explains(1000)

    def test_what_was_refused_long_ago_explains_nothing(self) -> None:
        congestion = self.after(throttled=10, accepted=10)
        congestion.answered(11.0, 1, 0, 0, 0)
        assert not congestion.explains(1)

    def test_nothing_is_explained_at_first(self) -> None:
        assert not Congestion().explains(1)


class TestPace:
    def rate(self, pace: Pace, now: float) -> float:
        pace.refill(now)
        return pace.rate

    def pressed(self, throttled: int) -> Pace:
        """Return a pace after 0.5 s with 200 answers, of which so many were 429s."""
        pace = Pace(5_000, tolerated=0.1)
        pace.answered(0.0, 100, throttled // 2, 0, 0)
        pace.answered(0.5, 100, throttled - throttled // 2, 10, 10)
        return pace

    def test_there_is_no_limit_while_nobody_presses(self) -> None:
        pace = self.pressed(throttled=20)
        assert self.rate(pace, 0.5) == 5_000
        assert pace.tokens == float("inf")

    def test_it_becomes_seven_tenths_of_what_was_sent(self) -> None:
        assert self.pressed(throttled=21).rate == pytest.approx(0.7 * 420)

    def test_it_returns_to_what_it_was_and_then_takes_all_back_within_half_a_minute(self) -> None:
        pace = self.pressed(throttled=200)
        assert self.rate(pace, 2.5) == pytest.approx(420)
        assert self.rate(pace, 3.5) < 1.1 * 420
        assert self.rate(pace, 30.0) == 5_000
        assert pace.tokens == float("inf")

    def test_each_congested_round_cuts_it_again_down_to_the_least(self) -> None:
        pace = self.pressed(throttled=200)
        for tenth in range(1, 300):
            now = 0.5 + tenth / 10
            pace.refill(now)
            pace.answered(now, 10, 10, 0, 0)
        assert pace.rate == pytest.approx(Pace.LEAST, rel=0.5)

    def test_it_recovers_from_the_least(self) -> None:
        pace = self.pressed(throttled=200)
        for tenth in range(1, 300):
            pace.answered(0.5 + tenth / 10, 10, 10, 0, 0)
        assert self.rate(pace, 30.5 + 45.0) == 5_000

    def test_tokens_come_at_the_rate(self) -> None:
        pace = self.pressed(throttled=200)  # to 294 a second
        pace.tokens = 0.0
        pace.refill(0.51)
        assert pace.tokens == pytest.approx(2.94, rel=0.05)
        pace.tokens = 0.5
        assert pace.seconds_to_next() == pytest.approx(0.5 / pace.rate)

    def test_later_tries_do_not_count_beside_enough_first_ones(self) -> None:
        pace = Pace(5_000, tolerated=0.1)
        pace.answered(0.0, 20, 0, 100, 0)
        pace.answered(0.5, 20, 0, 100, 0)
        assert self.rate(pace, 0.5) == 5_000
        pace.answered(0.6, 1, 0, 100, 0)
        pace.answered(1.1, 1, 0, 100, 0)
        assert self.rate(pace, 1.1) < 5_000

    def test_what_is_tolerated_is_no_reason(self) -> None:
        pace = Pace(5_000, tolerated=0.5)
        pace.answered(0.0, 10, 5, 0, 0)
        pace.answered(0.5, 10, 5, 0, 0)
        assert self.rate(pace, 0.5) == 5_000

    def test_slow_clients_are_no_reason(self) -> None:
        """However many they are, up to half: their later tries are not accepted."""
        pace = Pace(5_000, tolerated=0.1)
        pace.answered(0.0, 100, 40, 100, 5)
        pace.answered(0.5, 100, 40, 100, 5)
        assert self.rate(pace, 0.5) == 5_000

    def test_a_round_is_ten_tries_and_a_fifth_of_a_second(self) -> None:
        for tries, at_s, is_cut in ((10, 0.2, True), (9, 0.2, False), (10, 0.19, False)):
            pace = Pace(5_000, tolerated=0.1)
            pace.answered(0.0, 0, 0, 0, 0)
            pace.answered(at_s, tries, tries, 0, 0)
            assert (self.rate(pace, at_s) < 5_000) is is_cut

    @pytest.mark.parametrize(("refused", "is_cut"), [(5, True), (6, False), (7, False), (10, False), (11, True)])
    def test_429s_hit_everyone_if_most_first_tries_or_three_in_four_tries_again_tell_so(
        self, refused: int, is_cut: bool
    ) -> None:
        """Of 20 first tries so many are refused; two later ones are accepted."""
        pace = Pace(5_000, tolerated=0.1)
        pace.answered(0.0, 0, 0, 0, 0)
        pace.answered(0.5, 20, refused, 2, 2)
        assert (self.rate(pace, 0.5) < 5_000) is is_cut

    def test_it_is_over_as_soon_as_the_rate_is_back_at_the_most(self) -> None:
        pace = Pace(100, tolerated=0.1)
        pace.answered(0.0, 0, 0, 0, 0)
        pace.answered(0.5, 100, 100, 0, 0)
        pace.refill(2.49)
        assert pace.tokens < float("inf")
        pace.refill(2.5)
        assert (pace.rate, pace.tokens) == (100, float("inf"))

    def test_the_tokens_of_a_fifth_of_a_second_are_saved_up_but_at_least_one(self) -> None:
        fast = self.pressed(throttled=200)
        fast.refill(1.5)
        assert fast.tokens == pytest.approx(fast.rate * 0.2)
        least = Pace(5_000, tolerated=0.1)
        least.answered(0.0, 0, 0, 0, 0)
        least.answered(10.0, 10, 10, 0, 0)
        least.refill(11.0)
        assert 2 < least.rate < 3
        assert least.tokens == 1

    @pytest.mark.parametrize(
        ("answers", "is_cut"),
        [
            ([(10.0, 0, 0, 0, 0), (10.1, 20, 20, 0, 0)], False),  # not yet a fifth of a second
            ([(0.0, 1, 0, 10, 10), (0.5, 1, 0, 10, 10)], False),  # all tries are accepted
            ([(0.0, 5, 0, 50, 0), (0.5, 5, 0, 50, 0)], False),  # there are enough first tries, and all are accepted
            ([(0.0, 10, 0, 3, 3), (0.5, 10, 5, 0, 0)], True),  # later tries were accepted in the round
            ([(0.0, 10, 0, 0, 0), (0.5, 10, 0, 0, 0), (1.0, 0, 0, 0, 0), (1.3, 9, 9, 0, 0)], False),  # a new round
        ],
    )
    def test_a_round_is_judged_by_all_its_answers(
        self, answers: list[tuple[float, int, int, int, int]], is_cut: bool
    ) -> None:
        pace = Pace(5_000, tolerated=0.1)
        for each in answers:
            pace.answered(*each)
        assert (self.rate(pace, answers[-1][0]) < 5_000) is is_cut

    def test_at_a_cut_one_token_is_left(self) -> None:
        assert self.pressed(throttled=200).tokens == 1


def test_a_bucket_says_how_long_it_takes_to_the_next_token() -> None:
    bucket = TokenBucket(10, burst=5)
    bucket.tokens = 0.5
    assert bucket.seconds_to_next() == pytest.approx(0.05)
    bucket.tokens = 2
    assert bucket.seconds_to_next() == 0


def test_two_429s_whose_later_tries_are_accepted_may_be_chance() -> None:
    congestion = Congestion()
    congestion.answered(0.0, 20, 1, 1, 1)
    assert not congestion.explains(1)
    twice = Congestion()
    twice.answered(0.0, 20, 2, 2, 2)
    assert twice.explains(1)
    assert twice.explains(5)
    assert not twice.explains(6)  # (2 / 30) ** 6 is less than one in ten million


@pytest.mark.parametrize(
    ("first", "throttled", "accepted", "explained", "too_many"),
    [(20, 4, 4, 6, 8), (20, 4, 100, 6, 8), (400, 100, 4, 3, 4)],
)
def test_an_answer_counts_half_after_two_seconds(
    first: int, throttled: int, accepted: int, explained: int, too_many: int
) -> None:
    congestion = Congestion()
    congestion.answered(0.0, first, throttled, accepted, accepted)
    congestion.answered(2.0, 0, 0, 0, 0)
    assert congestion.explains(1)
    assert congestion.explains(explained)
    assert not congestion.explains(too_many)
    congestion.answered(2.1, 0, 0, 0, 0)
    assert not congestion.explains(1), "that is less than two"


def test_a_row_begins_anew_after_congestion() -> None:
    congestion = Congestion()
    for _ in range(4):
        congestion.answered(0.0, 1, 1, 0, 0)
    assert congestion.is_on
    congestion.resume(6.0)
    for _ in range(3):
        congestion.answered(6.0, 1, 1, 0, 0)
    assert not congestion.is_on
    congestion.answered(6.0, 1, 1, 0, 0)
    assert congestion.is_on
