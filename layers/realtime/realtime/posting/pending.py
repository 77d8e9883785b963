"""The deliveries that wait for their next request: in order, in back-off, or not begun yet."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Iterable
from typing import Generic

from realtime.posting.delivery import D
from realtime.posting.lane import PROBED_ID, probe_of
from realtime.posting.progress import AT_ONCE, Patience, Progress

_MAX_WAITING = 10_000  # connections in back-off; at this limit no new delivery is begun, so that memory stays bounded


class Pending(Generic[D]):
    """The deliveries of one call of `deliver` that have no request under way."""

    def __init__(self, deliveries: Iterable[D], patience: Patience) -> None:
        self.lane = patience.lane
        self.failed = patience.failed
        self._deliveries = iter(deliveries)
        self._patience = patience
        self.drawn = next(self._deliveries, None)  # the one that is drawn ahead
        self.ready: deque[Progress[D]] = deque()  # not in back-off
        self.waiting: list[tuple[float, int, Progress[D]]] = []  # a heap: when to go on, and a number for equal times
        self._waits = 0

    def put(self, progress: Progress[D], step: float, now: float) -> None:
        """Take back a delivery that can go on at `step`, a time on the monotonic clock."""
        if step == AT_ONCE:
            if self.lane is not None:
                self.lane.pause(progress, now)
            self.ready.append(progress)
        else:
            self._waits += 1
            heapq.heappush(self.waiting, (step, self._waits, progress))

    def take(self, now: float) -> Progress[D] | None:
        """Return the next delivery to go on with: preferably one that was begun, otherwise a new one."""
        if self.ready:
            progress = self.ready.popleft()
            if self.lane is not None:
                self.lane.go_on(progress, now)
            return progress
        if self.is_due(now):
            progress = heapq.heappop(self.waiting)[2]
            progress.resume(now)
            return progress
        drawn = self.drawn
        if drawn is None or len(self.waiting) >= _MAX_WAITING:
            return None
        self.drawn = next(self._deliveries, None)
        return self._begin(drawn, now)

    def is_due(self, now: float) -> bool:
        """Return whether the back-off of a delivery has ended."""
        return bool(self.waiting) and self.waiting[0][0] <= now

    def probe(self, now: float) -> bool:
        """Begin to find out how the account or the API is, if the lane has to know; return whether that is so."""
        if self.lane is None or any(each.delivery.connection_id is PROBED_ID for each in self.ready):
            return False  # one that waits for the quota is enough: it goes before all deliveries
        waits = bool(self.waiting) and self.drawn is None and not self.is_due(now)  # what is due shows as much itself
        stage = self.lane.stage_to_probe(now, self.waiting[0][2] if waits else None)
        if stage:
            self.put(self._begin(probe_of(stage), now), AT_ONCE, now)
        return bool(stage)

    def ask(self, rights: Iterable[tuple[str, str]], now: float) -> bool:
        """Begin to find out whether the role has rights, each a stage and a method; return whether there are any."""
        asked = [self._begin(probe_of(*right), now) for right in rights]
        for each in asked:
            self.put(each, AT_ONCE, now)
        return bool(asked)

    def _begin(self, delivery: D, now: float) -> Progress[D]:
        return Progress(delivery, self._patience, now if self.lane is None else now - self.lane.stalled_s)

    def withdraw(self, which: Callable[[Progress[D], float], bool]) -> list[Progress[D]]:
        """Take out some of the deliveries in back-off; `which` gets each, and the time at which its back-off ends."""
        kept: list[tuple[float, int, Progress[D]]] = []
        withdrawn: list[Progress[D]] = []
        for each in self.waiting:
            due, _, progress = each
            if which(progress, due):
                withdrawn.append(progress)
            else:
                kept.append(each)
        if withdrawn:
            heapq.heapify(kept)
            self.waiting = kept
        return withdrawn

    def is_any(self) -> bool:
        """Return whether a delivery waits for its next request."""
        return bool(self.drawn is not None or self.ready or self.waiting)

    def begun(self) -> list[Progress[D]]:
        """Return the deliveries that were begun and have no request under way."""
        return [*self.ready, *(progress for _, _, progress in self.waiting)]
