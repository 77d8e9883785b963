"""How long to wait before the next attempt to connect."""

from __future__ import annotations

from listener_realtime.world import World

FIRST_PAUSE_MS = 500
MANY = 30  # failures, after which the pause no longer grows
SUSPECT = 5  # each so many failures, the token is suspected


class BackOff:
    """Pauses at random, longer with each failure in a row, and never before the time that the service named."""

    def __init__(self, world: World, longest_pause_ms: float) -> None:
        self._world, self._longest_pause_ms = world, longest_pause_ms
        self._failures = 0
        self._not_before_ms = 0.0

    @property
    def suspects_token(self) -> bool:
        """Whether the token may be the reason: a refused handshake does not always say so."""
        return self._failures % SUSPECT == SUSPECT - 1

    def after_failure(self) -> float:
        """Count a failure; return the pause after it (ms)."""
        pause_ms = self._pause(FIRST_PAUSE_MS * 2 ** min(self._failures, MANY))
        self._failures += 1
        return pause_ms

    def soon(self) -> float:
        """Return a short pause (ms), for there is a reason to hope."""
        return self._pause(FIRST_PAUSE_MS)

    def forget(self) -> None:
        """Count from nothing again."""
        self._failures = 0

    def no_hurry(self) -> None:
        """Make the next pause as long as after many failures."""
        self._failures = MANY

    def wait(self, seconds: float) -> None:
        """Let no pause end before so many seconds from now."""
        self._not_before_ms = self._world.now_ms() + seconds * 1000

    def _pause(self, most_ms: float) -> float:
        wait_ms = max(0.0, self._not_before_ms - self._world.now_ms())
        return wait_ms + self._world.random() * min(self._longest_pause_ms, most_ms)
