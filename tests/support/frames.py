"""A call with room for many frames, for tests in which calls are nested deeply.

CPython 3.11 keeps frames in pieces of 16 KB, and gives a piece back to the system as soon as its first frame ends.
Where a border between pieces is crossed all the time, much of the time is the system's. A frame of half a megabyte
gets a larger piece, and the frames of what it calls fit into the rest.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

_VARIABLES = 70_000  # of 8 bytes each, for which CPython takes a megabyte
_SOURCE = f"""
def call(work):
    if work is None:
        {" = ".join(f"v{number}" for number in range(_VARIABLES))} = None
    return work()
"""


def with_room(work: Callable[[], None]) -> None:
    """Call a function."""
    _compiled()(work)


@cache
def _compiled() -> Callable[[Callable[[], None]], None]:
    made: dict[str, Any] = {}
    exec(_SOURCE, made)
    call: Callable[[Callable[[], None]], None] = made["call"]
    return call
