"""The world of the model: made once for each module of tests, and emptied for each test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.model.world import World


@pytest.fixture(scope="module")
def made_world() -> Iterator[World]:
    """Make the world once: its tables take longer than a history."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        yield World(monkeypatch)


@pytest.fixture
def world(made_world: World) -> World:
    """Return the world, empty."""
    made_world.clear()
    return made_world
