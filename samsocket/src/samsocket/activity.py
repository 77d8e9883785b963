"""The last things that happened in a gateway, which its page shows.

They are kept in memory alone, the youngest thousand, and end with the gateway: frames are private.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

ENTRIES: Final = 1_000
AT_ONCE: Final = 500
TEXT_CHARACTERS: Final = 4_096
"""What is kept of a frame or a line; the rest is cut off."""


class Activity:
    """Entries, the oldest first. Each has a number `n` that only grows, its time `at` in milliseconds, and a `kind`."""

    def __init__(self, entries: int = ENTRIES) -> None:
        """Begin; only the last `entries` are kept."""
        self._entries: deque[dict[str, Any]] = deque(maxlen=entries)
        self._run, self._last = secrets.token_hex(4), 0
        self._waiting: tuple[asyncio.AbstractEventLoop, asyncio.Event] | None = None
        self._has_ended = False

    def add(self, kind: str, **facts: Any) -> int:
        """Add an entry, and return its number. Facts that are None are left out."""
        self._last = number = self._last + 1
        known = {name: value for name, value in facts.items() if value is not None}
        self._entries.append({"n": number, "at": int(time.time() * 1000), "kind": kind, **known})
        self._wake()
        return number

    async def after(self, cursor: str, *, seconds: float) -> dict[str, Any]:
        """Return what was added after an answer whose `last` is the cursor, once there is anything; or after `seconds`.

        Any other cursor, such as that of another run, begins anew. `missed` counts the entries that are not kept any
        more, or that would be too many for one answer.
        """
        run, _, digits = cursor.partition(".")
        number = int(digits) if run == self._run and digits.isdecimal() else 0
        if number >= self._last and not self._has_ended:
            if self._waiting is None:
                self._waiting = asyncio.get_running_loop(), asyncio.Event()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._waiting[1].wait(), seconds)
        found = [entry for entry in list(self._entries)[-AT_ONCE:] if entry["n"] > number]
        missed = max(0, self._last - number - len(found))
        return {"run": self._run, "last": f"{self._run}.{self._last}", "missed": missed, "entries": found}

    def end(self) -> None:
        """Let nobody wait any more."""
        self._has_ended = True
        self._wake()

    def _wake(self) -> None:
        if self._waiting is not None:
            loop, event = self._waiting
            self._waiting = None
            loop.call_soon_threadsafe(event.set)  # what is logged may come from another thread


def shortened(text: str) -> str:
    """Return as much of a text as an entry keeps."""
    return text if len(text) <= TEXT_CHARACTERS else f"{text[:TEXT_CHARACTERS]}…"


class _Problems(logging.Handler):
    """Takes warnings and errors of the gateway's log."""

    def __init__(self, activity: Activity) -> None:
        super().__init__(logging.WARNING)
        self._activity = activity

    def emit(self, record: logging.LogRecord) -> None:
        self._activity.add("problem", text=shortened(record.getMessage()))


@contextmanager
def problems_shown(activity: Activity) -> Iterator[None]:
    """Add what the gateway logs as a warning or an error, such as a function's failure, while the context is open."""
    logger, handler = logging.getLogger("samsocket"), _Problems(activity)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
