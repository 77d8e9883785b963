"""How many listeners are online: counted for whoever asks, once for all who ask within some seconds."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from realtime import messages, positions
from realtime.errors import Unavailable
from realtime.tables import Tables
from realtime.tables.connections import Connection
from realtime.tables.tally import Tally
from realtime.watching import check_watchable

if TYPE_CHECKING:
    from realtime.contract.to_clients import OccupancyData

KEPT_MS = 5000
COUNTED_PER_SECOND = 2000  # users online, at most, by all instances: 50 read units a second
_CLAIM_MS = 5000
_PAUSE_S = 0.2
_WAIT_MS = 4000


class Occupancy:
    """Answer `count`."""

    def __init__(
        self, tables: Tables, *, feed_role: str, clock: Callable[[], float], pause: Callable[[float], None]
    ) -> None:
        self._tables = tables
        self._feed_role = feed_role
        self._clock = clock
        self._pause = pause
        self._kept: Tally | None = None

    def answer(self, _data: Mapping[str, Any], connection: Connection, now_ms: int) -> list[str]:
        """Answer the frame with the newest count.

        Raises BadRequest unless the connection hears presence, and Unavailable.
        """
        check_watchable(connection.endpoints)
        tally = self.read()
        answer: OccupancyData = {
            "listeners_online": tally.listeners,
            "listeners_busy": tally.busy,
            "counted_at": messages.rfc3339(tally.counted_at_ms),
            "refresh_after": max(1, -(-(tally.counted_at_ms + _kept_ms(tally) - now_ms) // 1000)),
        }
        position = positions.floor(connection.connected_at_ms, now_ms)
        return [messages.encode("occupancy", answer, now_ms, position=position)]

    def read(self) -> Tally:
        """Return a count that is young enough, or of which somebody is making a younger one.

        Raises Unavailable.
        """
        asked_ms = self._now_ms()
        while True:
            if self._kept is None or not self._is_young(self._kept):
                self._kept = self._tables.tally.read() or self._kept
            if self._kept and self._is_young(self._kept):
                return self._kept
            now_ms = self._now_ms()
            if self._tables.tally.claim(now_ms, now_ms + _CLAIM_MS):
                found = self._tables.census.online(self._feed_role)
                self._kept = Tally(found.users, found.listeners, found.busy, now_ms)
                self._tables.tally.publish(self._kept)
                return self._kept
            if self._kept:
                return self._kept
            if now_ms >= asked_ms + _WAIT_MS:
                raise Unavailable("nobody has counted who is online")
            self._pause(_PAUSE_S)

    def _is_young(self, tally: Tally) -> bool:
        return self._now_ms() - tally.counted_at_ms < _kept_ms(tally)

    def _now_ms(self) -> int:
        return int(self._clock() * 1000)


def make_occupancy(tables: Tables, feed_role: str) -> Occupancy:
    """Return it with the real clock."""
    return Occupancy(tables, feed_role=feed_role, clock=time.time, pause=time.sleep)


def _kept_ms(tally: Tally) -> int:
    """Return how long a count is used: the more it has to read, the longer."""
    return max(KEPT_MS, tally.users * 1000 // COUNTED_PER_SECOND)
