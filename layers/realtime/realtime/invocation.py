"""The time that an invocation of a function has left, divided among the parts of its work."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Protocol


class Context(Protocol):
    """The needed part of Lambda's context."""

    def get_remaining_time_in_millis(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Deadline:
    """When a function must have finished each part of its work, on the monotonic clock."""

    post_until: float
    forget_until: float  # for forgetting the connections that turned out to be gone

    @classmethod
    def of(cls, context: Context, *, answering_s: float, forgetting_s: float = 0.0) -> Deadline:
        """Reserve the last seconds of an invocation for its answer, and the seconds before them for forgetting."""
        forget_until = time.monotonic() + context.get_remaining_time_in_millis() / 1000 - answering_s
        return cls(post_until=forget_until - forgetting_s, forget_until=forget_until)
