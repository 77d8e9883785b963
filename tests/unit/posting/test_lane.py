from __future__ import annotations

import random

from realtime.posting.lane import LANE_S, LAST_S, Latency


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
