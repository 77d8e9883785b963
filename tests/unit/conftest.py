"""Unit tests open no sockets, call no AWS and do not sleep."""

from __future__ import annotations

import time

import pytest
from hypothesis import HealthCheck, settings

from tests.logs import logged  # noqa: F401  # a fixture
from tests.unit.fakes import Sleeps

settings.register_profile("here", deadline=None, suppress_health_check=[HealthCheck.too_slow])  # no failure of ours
settings.load_profile("here")


@pytest.fixture(autouse=True)
def sleeps(monkeypatch: pytest.MonkeyPatch) -> Sleeps:
    """Record sleeps instead of sleeping."""
    sleeps = Sleeps()
    monkeypatch.setattr(time, "sleep", sleeps)
    return sleeps
