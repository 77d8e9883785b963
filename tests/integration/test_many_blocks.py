"""Thousands of blocks: everything works, and what each step costs does not grow with them."""

from __future__ import annotations

import pytest

from operate.cost import Cost
from tests.support.blocks import HEARERS, run

MANY = 10_000  # `python -m tests.support.blocks` measures 100,000


@pytest.fixture(scope="module")
def of_blockers() -> tuple[dict[str, Cost], dict[str, Cost]]:
    return run(0, as_blocked=False), run(MANY, as_blocked=False)


@pytest.fixture(scope="module")
def of_blocked() -> tuple[dict[str, Cost], dict[str, Cost]]:
    return run(0, as_blocked=True), run(MANY, as_blocked=True)


def more(costs: tuple[dict[str, Cost], dict[str, Cost]]) -> dict[str, tuple[float, float]]:
    """Return how many write and read units each step costs more with many blocks than without any."""
    without, many = costs
    return {name: (many[name].writes - cost.writes, many[name].reads - cost.reads) for name, cost in without.items()}


def test_a_user_with_many_blocks_pays_at_most_a_read_unit_for_each_who_hears_of_them(
    of_blockers: tuple[dict[str, Cost], dict[str, Cost]],
) -> None:
    steps = more(of_blockers)
    for step in ("connect", "busy"):
        writes, reads = steps[step]
        assert writes == 0, step
        assert 0 < reads <= HEARERS, step
    assert steps["call"] == (0, 0)


def test_others_pay_at_most_a_read_unit_for_a_user_with_many_blocks(
    of_blockers: tuple[dict[str, Cost], dict[str, Cost]],
) -> None:
    steps = more(of_blockers)
    for step in ("sync", "sync_blocked", "watch", "resume"):
        assert steps[step] in ((0, 0), (0, 1)), step


def test_another_block_costs_as_much_after_thousands_as_after_a_few(
    of_blockers: tuple[dict[str, Cost], dict[str, Cost]],
) -> None:
    few = run(30, as_blocked=False)
    for step in ("block", "unblock"):
        assert of_blockers[1][step].writes == few[step].writes, step


def test_a_user_whom_many_have_blocked_pays_for_nothing_but_their_own_resume(
    of_blocked: tuple[dict[str, Cost], dict[str, Cost]],
) -> None:
    steps = more(of_blocked)
    assert {name for name, units in steps.items() if units != (0, 0)} <= {"resume"}
    writes, reads = steps["resume"]
    assert (writes, reads <= HEARERS + 10) == (0, True)
