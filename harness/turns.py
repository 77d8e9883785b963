"""Threads that take turns on a clock of their own: they overlap as they wait, however fast or busy the machine is."""

from __future__ import annotations

import heapq
import itertools
import threading
from collections.abc import Callable


class Turns:
    """One thread runs at a time, until it sleeps; the thread that wakes first runs next. `now` is in s."""

    def __init__(self) -> None:
        self.now = 1_000_000.0
        self._lock = threading.Lock()
        self._asleep: list[tuple[float, int, threading.Event]] = []  # until when, in which order, and what wakes it
        self._numbers = itertools.count()

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        """Stand for time.sleep."""
        turn = self._enqueue(seconds)
        self._wake()
        turn.wait()

    def run(self, *actions: Callable[[], None]) -> None:
        """Start all functions at the same moment, each in a thread of its own, and wait until all are done.

        Raises an error that one of them raised.
        """
        problems: list[BaseException] = []

        def work(action: Callable[[], None], turn: threading.Event) -> None:
            turn.wait()
            try:
                action()
            except BaseException as problem:  # noqa: BLE001  # raised below
                problems.append(problem)
            self._wake()

        threads = [threading.Thread(target=work, args=(action, self._enqueue(0))) for action in actions]
        for thread in threads:
            thread.start()
        self._wake()
        for thread in threads:
            thread.join()
        if problems:
            raise problems[0]

    def _enqueue(self, seconds: float) -> threading.Event:
        turn = threading.Event()
        with self._lock:
            heapq.heappush(self._asleep, (self.now + seconds, next(self._numbers), turn))
        return turn

    def _wake(self) -> None:
        with self._lock:
            if self._asleep:
                at, _, turn = heapq.heappop(self._asleep)
                self.now = max(self.now, at)
                turn.set()
