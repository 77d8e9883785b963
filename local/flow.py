"""What the functions of the stack log while the page is open: it shows how an event passes them.

A function logs one line for each invocation, with counts and ids, and never a message or a token (`realtime.log`).
"""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Final, Protocol

from operate.logs import Line

_KEPT: Final = 500
_APART_SECONDS: Final = 0.2
"""Several pages may ask; the logs are read as often as if there were one."""

# What each line has, and what says nothing to somebody who watches.
_COMMON: Final = frozenset(
    ("level", "location", "message", "timestamp", "service", "cold_start", "sampling_rate", "xray_trace_id", "trace_id")
)


class Reader(Protocol):
    """Reads each line once."""

    def read(self) -> list[Line]:
        """Return the lines since the last call."""
        ...


class Flow:
    """The last lines of all functions, numbered. It is used by one thread."""

    def __init__(self, reader: Callable[[int], Reader]) -> None:
        """Take what makes a reader of the lines from a time on, in ms since 1970."""
        self._make = reader
        self._reader: Reader | None = None
        self._lines: deque[tuple[int, Line]] = deque(maxlen=_KEPT)
        self._last = 0
        self._read_at = 0.0

    def after(self, number: int | None) -> dict[str, Any]:
        """Return `{"last": number, "lines": […]}`: the lines after one with a number, none if it is None."""
        if self._reader is None:  # the first page asks before its phones connect: all that is logged from now on is new
            self._reader = self._make(int(time.time() * 1000))
        elif time.monotonic() - self._read_at >= _APART_SECONDS:
            for line in self._reader.read():
                self._last += 1
                self._lines.append((self._last, line))
            self._read_at = time.monotonic()
        new = [line for n, line in self._lines if number is not None and n > number]
        return {"last": self._last, "lines": [shown for line in new if (shown := _shown(line))]}


def _shown(line: Line) -> dict[str, Any] | None:
    """Return a line as the page shows it; None if it is not one of a function's own."""
    try:
        logged = json.loads(line.text)
    except ValueError:
        return None
    if not isinstance(logged, dict) or "message" not in logged:
        return None
    facts = {
        name: value
        for name, value in logged.items()
        if name not in _COMMON and not name.startswith("function_") and isinstance(value, str | int | float | bool)
    }
    return {"at": line.milliseconds, "function": line.function, "message": logged["message"], "facts": facts}
