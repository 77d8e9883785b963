"""Unit tests: no socket is opened, no AWS is asked, nothing sleeps."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import settings

from realtime import log
from tests.unit.fakes import Sleeps

settings.register_profile("here", deadline=None)  # a slow machine is no failure
settings.load_profile("here")


@pytest.fixture(autouse=True)
def _no_sockets(socket_disabled: None) -> None:
    """Fail whatever opens one."""


@pytest.fixture(autouse=True)
def sleeps(monkeypatch: pytest.MonkeyPatch) -> Sleeps:
    """Take note of sleeps instead of sleeping."""
    sleeps = Sleeps()
    monkeypatch.setattr(time, "sleep", sleeps)
    return sleeps


class LogLines:
    """What a function logged, as text and as one dict a line."""

    def __init__(self, stream: io.StringIO) -> None:
        self._stream = stream

    @property
    def text(self) -> str:
        return self._stream.getvalue()

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.text.splitlines()]


@pytest.fixture
def logged() -> Iterator[LogLines]:
    """Catch what the functions log."""
    handler = log.logger().registered_handler
    assert hasattr(handler, "setStream")
    stream = io.StringIO()
    before = handler.setStream(stream)
    yield LogLines(stream)
    handler.setStream(before)
