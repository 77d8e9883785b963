"""Work that waits for quotas: token buckets, and how late what waits is."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field


@dataclass
class Bucket:
    """A rate with a burst, as API Gateway throttles. Amounts are not whole: this is a fluid."""

    rate: float
    burst: float
    level: float = field(init=False)

    def __post_init__(self) -> None:
        self.level = self.burst

    def refill(self, seconds: float) -> None:
        """Let time pass. A step's own rate is there at once, so that a burst of 0 means the rate alone."""
        self.level = min(max(self.burst, self.rate * seconds), self.level + self.rate * seconds)

    def take(self, amount: float) -> None:
        """Take what `room` allows."""
        self.level -= amount


@dataclass
class Lateness:
    """How late what was done was: amounts by seconds."""

    parts: list[tuple[float, float]] = field(default_factory=list)

    def note(self, seconds: float, amount: float) -> None:
        """Note that an amount was late by some seconds."""
        if amount > 0:
            self.parts.append((seconds, amount))

    def quantile(self, share: float) -> float:
        """Return how late all but the latest `1 - share` were; 0 if nothing was done."""
        wanted = share * sum(amount for _, amount in self.parts)
        passed = 0.0
        seconds = 0.0
        for seconds, amount in sorted(self.parts):
            passed += amount
            if passed >= wanted * (1 - 1e-9):
                return seconds
        return seconds


class Waiting:
    """A queue, first in first out."""

    def __init__(self) -> None:
        self.amount = 0.0
        self._parts: deque[tuple[float, float]] = deque()

    def put(self, now: float, amount: float) -> None:
        """Add an amount that came now."""
        if amount > 0:
            self._parts.append((now, amount))
            self.amount += amount

    def take(self, amount: float, done_at: float, lateness: Lateness) -> float:
        """Take up to an amount, the oldest first; returns how much there was."""
        taken = 0.0
        while self._parts and taken < amount * (1 - 1e-12):
            came, part = self._parts.popleft()
            some = min(part, amount - taken)
            if some < part:
                self._parts.appendleft((came, part - some))
            lateness.note(done_at - came, some)
            taken += some
        self.amount = max(0.0, self.amount - taken)
        return taken
