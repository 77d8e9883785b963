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
        self._due: list[tuple[float, int, Callable[[], object]]] = []  # what lets a function go on or begin
        self._turn = threading.Semaphore(0)  # released by a function that sleeps or ends

    def __call__(self) -> float:
        """Return the time, as `time.monotonic` does."""
        return self.now

    def sleep(self, seconds: float) -> None:
        """Let the others go on, as `time.sleep` does."""
        mine = threading.Event()
        self._at(self.now + seconds, mine.set)
        self._turn.release()
        mine.wait()

    def start(self, at: float, work: Callable[[], None]) -> None:
        """Have a function begin at a time."""

        def run() -> None:
            try:
                work()
            finally:
                self._turn.release()

        self._at(at, lambda: threading.Thread(target=run, daemon=True).start())

    def run(self) -> None:
        """Run until nobody sleeps any more."""
        while self._due:
            self.now, _, go_on = heapq.heappop(self._due)
            go_on()
            self._turn.acquire()

    def _at(self, at: float, go_on: Callable[[], object]) -> None:
        heapq.heappush(self._due, (at, next(self._order), go_on))
