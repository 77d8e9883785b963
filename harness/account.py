"""The account's one bucket of requests to API Gateway, from which everything takes.

docs.aws.amazon.com/apigateway/latest/developerguide/limits.html: 10,000 requests a second with a burst of 5,000, for
the HTTP, REST and WebSocket APIs of a Region together, `@connections` included.
"""

from __future__ import annotations

import threading
from collections.abc import Callable


class Account:
    """Grants requests; `clock` is in s. Other APIs may take a share of the rate for a while, and all saved tokens."""

    def __init__(self, rate: float, burst: float, clock: Callable[[], float]) -> None:
        self.granted = self.refused = 0
        self._lock = threading.Lock()  # servers have threads of their own
        self._rate, self._burst, self._clock = rate, burst, clock
        self._tokens, self._filled_at = burst, clock()
        self._share, self._busy_until = 0.0, 0.0

    def take(self) -> bool:
        """Take one request, if there is one left."""
        with self._lock:
            self._refill()
            if self._tokens < 1:
                self.refused += 1
                return False
            self._tokens -= 1
            self.granted += 1
            return True

    def others_take(self, share: float, seconds: float) -> None:
        """Let others take a share (0 to 1) of the rate for some seconds, and all saved tokens."""
        with self._lock:
            self._refill()
            self._tokens = 0.0
            self._share, self._busy_until = share, self._clock() + seconds

    def calm_down(self) -> None:
        """Let others take nothing more."""
        with self._lock:
            self._share, self._busy_until, self._tokens = 0.0, 0.0, self._burst

    def _refill(self) -> None:
        now = self._clock()
        busy = max(0.0, min(now, self._busy_until) - self._filled_at)
        left = (now - self._filled_at) - busy * self._share
        self._tokens = min(self._burst, self._tokens + left * self._rate)
        self._filled_at = now
