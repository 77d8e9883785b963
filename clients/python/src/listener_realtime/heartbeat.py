"""Whether a line is alive: only what is heard shows it, for a dead one takes frames without complaint."""

from __future__ import annotations

from collections.abc import Callable

from listener_realtime.world import LATE_MS, Timers, World

PONG_WITHIN_MS = 10_000
PROBE_WITHIN_MS = 5_000  # when the line may well be dead


class Heartbeat:
    """Pings after silence; a line that does not answer in time is dead."""

    def __init__(
        self, world: World, timers: Timers, silence_ms: float, ping: Callable[[], object], dead: Callable[[], None]
    ) -> None:
        self._world, self._timers, self._silence_ms = world, timers, silence_ms
        self._ping, self._dead = ping, dead

    def heard(self) -> None:
        """Begin to count the silence anew."""
        self._timers.cancel("pong")
        due_ms = self._world.now_ms() + self._silence_ms

        def is_silent() -> None:
            has_slept = self._world.now_ms() - due_ms > LATE_MS
            self.probe(PROBE_WITHIN_MS if has_slept else PONG_WITHIN_MS)

        self._timers.set("silence", self._silence_ms, is_silent)

    def probe(self, within_ms: float = PROBE_WITHIN_MS) -> None:
        """Ping now, unless an answer is awaited already."""
        if "pong" not in self._timers:
            self._ping()
            self._timers.set("pong", within_ms, self._dead)
