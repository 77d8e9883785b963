"""A clock that jumps to the next wake-up, so that a simulation of many waiting functions takes almost no time."""

from __future__ import annotations

import heapq
import itertools
import threading
from collections.abc import Callable


class VirtualTime:
    """Runs functions that sleep, one at a time, in the order in which they wake; `now` in s."""

    def __init__(self) -> None:
        self.now = 0.0
        self._order = itertools.count()
        self._sleepers: list[tuple[float, int, threading.Event]] = []
        self._turn = threading.Semaphore(0)  # released by a function that sleeps or ends

    def __call__(self) -> float:
        """Return the time, as `time.monotonic` does."""
        return self.now

    def sleep(self, seconds: float) -> None:
        """Let the others go on, as `time.sleep` does."""
        mine = threading.Event()
        heapq.heappush(self._sleepers, (self.now + seconds, next(self._order), mine))
        self._turn.release()
        mine.wait()

    def start(self, at: float, work: Callable[[], None]) -> None:
        """Have a function begin at a time."""
        mine = threading.Event()
        heapq.heappush(self._sleepers, (at, next(self._order), mine))

        def run() -> None:
            mine.wait()
            try:
                work()
            finally:
                self._turn.release()

        threading.Thread(target=run, daemon=True).start()

    def run(self) -> None:
        """Run until nobody sleeps any more."""
        while self._sleepers:
            self.now, _, sleeper = heapq.heappop(self._sleepers)
            sleeper.set()
            self._turn.acquire()
