"""How late presence may be: states that are older are not posted any more; each recipient is told once to ask for them.

More presence may happen than the quota carries. Then a client must not fall further and further behind.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING

from realtime import messages
from realtime.audiences import is_wide
from realtime.batch import NO_EVENTS, Batch, EventSet, events_of
from realtime.ids import event_time_ms
from realtime.posting.delivery import Frame

if TYPE_CHECKING:
    from realtime.contract.to_clients import StaleData

# How exactly the time is looked at: each moment makes other frames, which are shared by all that are served then. s
_STEP_SECONDS = 0.25


class Staleness:
    """Which states in the wide audiences of a batch are too late, as time goes on; `clock` in s since the epoch."""

    def __init__(self, batch: Batch, bound_s: float, clock: Callable[[], float]) -> None:
        self._bound_ms = int(bound_s * 1000)
        self._clock = clock
        states = [number for number in batch.states if is_wide(batch.entries[number].audience)]
        self._in_time = sorted(_times(batch, states), reverse=True)  # (ms since the epoch, number of the event)
        self._oldest_ms = self._in_time[-1][0] if self._in_time else 0
        self._late = NO_EVENTS
        self._looked_at = float("-inf")
        self._notice: Frame | None = None

    @property
    def late(self) -> EventSet:
        """The states that are too late now."""
        if not self._in_time:
            return self._late
        now = self._clock()
        if now - self._looked_at >= _STEP_SECONDS:
            self._looked_at = now
            last_ms = now * 1000 - self._bound_ms
            newly: list[int] = []
            while self._in_time and self._in_time[-1][0] < last_ms:
                newly.append(self._in_time.pop()[1])
            self._late = EventSet(self._late | events_of(newly))
        return self._late

    @property
    def notice(self) -> Frame:
        """The message in place of late states: what a client shows may be wrong since then."""
        if self._notice is None:
            data: StaleData = {"since": messages.rfc3339(self._oldest_ms)}
            self._notice = Frame(messages.encode("stale", data, int(self._clock() * 1000)).encode())
        return self._notice


def _times(batch: Batch, numbers: Iterable[int]) -> Iterator[tuple[int, int]]:
    for number in numbers:
        with suppress(ValueError):  # the id is not one of ours, so the age is unknown
            yield event_time_ms(batch.entries[number].event_id), number
