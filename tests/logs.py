"""The logs of the functions, captured for a test."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest

from realtime import log


class LogLines:
    """The log of a function, as text and as one dict for each line."""

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
    """Capture the logs of the functions."""
    handler = log.logger().registered_handler
    assert isinstance(handler, logging.StreamHandler)
    stream = io.StringIO()
    # Not setStream: it flushes the old stream, which an earlier run of pytest in this process may have closed.
    before, handler.stream = handler.stream, stream
    yield LogLines(stream)
    handler.stream = before
