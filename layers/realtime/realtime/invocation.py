"""The time that an invocation of a function has left, parted among what it does."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Protocol


class Context(Protocol):
    """What of Lambda's context is needed."""

    def get_remaining_time_in_millis(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Deadline:
    """When a function must be done with each part of its work; on the monotonic clock."""

    post_until: float
    forget_until: float  # the connections that turned out to be gone

    @classmethod
    def of(cls, context: Context, *, answering_s: float, forgetting_s: float = 0.0) -> Deadline:
        """Keep the last seconds of an invocation for its answer, and those before them for forgetting."""
        forget_until = time.monotonic() + context.get_remaining_time_in_millis() / 1000 - answering_s
        return cls(post_until=forget_until - forgetting_s, forget_until=forget_until)
