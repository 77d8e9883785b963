"""The service of the model: created once for each module of tests, and emptied for each test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.model.service import SimulatedService


@pytest.fixture(scope="module")
def made_service() -> Iterator[SimulatedService]:
    """Make the service once: its tables take longer than a history."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        yield SimulatedService(monkeypatch)


@pytest.fixture
def service(made_service: SimulatedService) -> SimulatedService:
    """Return the service, empty."""
    made_service.clear()
    return made_service
