"""Limits over many function instances, in simulated time (tests/support/floods)."""

from __future__ import annotations

import pytest

from tests.support.floods import BURST, RATE, USER_RATE, Flood, limit

SEEDS = range(3)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("instances", [8, 1000])
@pytest.mark.parametrize(("frames", "seconds"), [(150, 1.25), (600, 3.9), (600, 2.0)])
def test_instances_together_answer_at_most_twice_the_limit(
    frames: int, seconds: float, instances: int, seed: int
) -> None:
    flood = Flood(seed, instances).send(seconds * number / frames for number in range(frames))
    assert BURST <= len(flood.answered) <= 2 * limit(seconds)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("seconds", [0.05, 0.25, 1])
def test_a_thousand_instances_hold_the_limit_exactly_if_each_frame_is_counted(seconds: float, seed: int) -> None:
    flood = Flood(seed, 1000, counted=1).send(seconds * number / 600 for number in range(600))
    assert len(flood.answered) == pytest.approx(limit(seconds), abs=1)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_flood_is_told_within_a_second_and_closed_when_it_goes_on(seed: int) -> None:
    flood = Flood(seed, 1000).send(number / 200 for number in range(1000))
    assert flood.refused[0][0] < 1
    assert all(wait_s >= 1 for _, wait_s in flood.refused)
    assert 0.3 < flood.closed[0] < 2
    assert len(flood.closed) <= 6  # nobody is closed here; each doubling of the refusals would close it again


@pytest.mark.parametrize("seed", SEEDS)
def test_a_client_within_the_limit_is_never_refused(seed: int) -> None:
    flood = Flood(seed, 1000).send([0.0] * BURST).send((1 + number / RATE) for number in range(150))
    assert not flood.refused
    steady = Flood(seed, 8).send(number / RATE for number in range(150))
    assert not steady.refused


@pytest.mark.parametrize("seed", SEEDS)
def test_a_client_that_waits_as_long_as_it_is_told_is_served(seed: int) -> None:
    flood = Flood(seed, 1000).send(number / 100 for number in range(60))
    at, wait_s = flood.refused[-1]
    before = len(flood.refused)
    flood.send([at + wait_s])
    assert len(flood.refused) == before


@pytest.mark.parametrize("seed", SEEDS)
def test_what_a_client_starts_with_fits_into_the_burst(seed: int) -> None:
    """`sync`, `watch` of 100, and `resume` with a hundred audiences, over any instances."""
    flood = Flood(seed, 1000)
    for number, tokens in enumerate((2, 11, 7)):
        flood.send([number / 20], tokens=tokens)
    assert not flood.refused


@pytest.mark.parametrize("counted", [6, 2, 1])
def test_a_ping_costs_its_share_of_a_write(counted: int) -> None:
    flood = Flood(0, 1000, counted=counted).send(30.0 * number for number in range(2000))
    assert not flood.refused
    assert flood.writes["ConnectionsTable"] == pytest.approx(2000 / counted, rel=0.1)
    assert flood.writes["EventsTable"] == 0


@pytest.mark.parametrize("seed", SEEDS)
def test_the_connections_of_a_user_are_held_to_a_limit_together(seed: int) -> None:
    flood, seconds = Flood(seed, 1000, connections=20), 3
    for number in range(20 * 9 * seconds):
        flood.send([number / (20 * 9)], f"{number % 20}=")
    of_user = BURST * USER_RATE / RATE + USER_RATE * seconds
    assert 0.9 * of_user <= len(flood.answered) <= 2 * of_user
    assert flood.writes["EventsTable"]


def test_quiet_connections_of_a_user_cost_its_bucket_nothing() -> None:
    flood = Flood(0, 1000, connections=20)
    for number in range(400):
        flood.send([number / 5], f"{number % 20}=")
    assert not flood.refused
    assert flood.writes["EventsTable"] == 0
