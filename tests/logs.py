"""What the functions log, caught for a test."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from typing import Any

import pytest

from realtime import log


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
