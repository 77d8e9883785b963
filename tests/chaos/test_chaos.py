"""Chaos: runs of 500 connections and 50 events with failures of all kinds, in which all promises must hold.

A small number of runs is part of the tests; `make chaos` makes 200, and `make chaos SEED=17` repeats one.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.chaos.api import Api
from tests.chaos.promises import check
from tests.chaos.runtime import Runtime
from tests.chaos.scenario import Scenario
from tests.model.tables import Tables

SEEDS = [int(os.environ["SEED"])] if os.environ.get("SEED") else range(int(os.environ.get("CHAOS_RUNS", "6")))


@pytest.fixture(scope="module")
def made_tables() -> Tables:
    return Tables()


@pytest.fixture
def tables(made_tables: Tables) -> Tables:
    made_tables.on_change = lambda change: None
    made_tables.wipe()
    return made_tables


@pytest.fixture
def api() -> Iterator[Api]:
    with Api() as api:
        yield api


def run(seed: int, runtime: Runtime) -> None:
    try:
        scenario = Scenario(runtime)
        scenario.run()
        check(scenario)
    except AssertionError as broken:
        broken.add_note(f"repeat it with: make chaos SEED={seed}")
        raise
    finally:
        runtime.close()


@pytest.mark.parametrize("seed", SEEDS)
def test_each_connection_gets_all_of_its_frames_or_is_closed_after_any_failure(
    seed: int, tables: Tables, api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(seed, Runtime(seed, tables, api, monkeypatch))


@pytest.mark.parametrize("seed", list(SEEDS)[: max(1, len(SEEDS) // 6)])
def test_beside_a_newer_version_that_writes_more_nothing_is_lost(
    seed: int, tables: Tables, api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime = Runtime(seed, tables, api, monkeypatch, beside_newer=True)
    run(seed, runtime)
    assert runtime.from_newer > 500
