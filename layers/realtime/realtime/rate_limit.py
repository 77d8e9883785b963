"""Rates: how fast something may be done, and token buckets in memory that hold one sender to it.

A bucket is kept as the time at which it will be full again: its theoretical arrival time (GCRA). One number says all,
so that the same arithmetic serves a bucket in memory and one in a table (tables/rates).
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

_MAX_BUCKETS = 20_000  # about 5 MB; the least recently used is dropped first, and has had time to fill up


@dataclass(frozen=True, slots=True)
class Rate:
    """A bucket of `burst` tokens, filled at `per_second` tokens a second; it is full at the time `full_at`.

    What is asked for is granted while one token is left, even if it costs more: then later requests have to wait.
    """

    per_second: float
    burst: float

    def cost_ms(self, tokens: float) -> int:
        """Return how long it takes to fill up these tokens."""
        return max(1, round(tokens * 1000 / self.per_second))

    @property
    def room_ms(self) -> int:
        """Return how far in the future `full_at` may be while one token is left."""
        return round((self.burst - 1) * 1000 / self.per_second)

    def wait_s(self, full_at_ms: float, now_ms: float) -> int:
        """Return how long it takes until a token is left, in whole seconds; 0 if one is."""
        return max(0, math.ceil((full_at_ms - now_ms - self.room_ms) / 1000))


@dataclass(frozen=True, slots=True)
class Taken:
    """The answer of a bucket: how long to wait (whole seconds; 0 if it is granted), and whether it was full before."""

    wait_s: int
    was_full: bool = False


@dataclass(slots=True)
class _Bucket:
    full_at_ms: float
    refused_until_ms: float = 0.0


class RateLimit:
    """The token buckets of one function instance.

    Who empties a bucket is refused until the wait in the refusal is over.
    """

    def __init__(self, rate: Rate, clock: Callable[[], float]) -> None:
        """Take the rate, and a clock in seconds."""
        self._rate = rate
        self._clock = clock
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()

    def take(self, key: str, tokens: float = 1) -> Taken:
        """Take tokens from the bucket of this key, if one is left."""
        now_ms = self._clock() * 1000
        bucket = self._bucket(key, now_ms)
        if now_ms < bucket.refused_until_ms:
            return Taken(math.ceil((bucket.refused_until_ms - now_ms) / 1000))
        wait_s = self._rate.wait_s(bucket.full_at_ms, now_ms)
        if wait_s:
            bucket.refused_until_ms = now_ms + wait_s * 1000
            return Taken(wait_s)
        was_full = bucket.full_at_ms <= now_ms
        bucket.full_at_ms = max(bucket.full_at_ms, now_ms) + self._rate.cost_ms(tokens)
        return Taken(0, was_full)

    def charge(self, key: str, tokens: float) -> None:
        """Take more tokens for what was granted, even into debt, so that later requests have to wait."""
        now_ms = self._clock() * 1000
        bucket = self._bucket(key, now_ms)
        bucket.full_at_ms = max(bucket.full_at_ms, now_ms) + self._rate.cost_ms(tokens)

    def refuse(self, key: str, wait_s: int) -> None:
        """Refuse this key for so long, because a bucket that all instances share is empty."""
        now_ms = self._clock() * 1000
        self._bucket(key, now_ms).refused_until_ms = now_ms + wait_s * 1000

    def _bucket(self, key: str, now_ms: float) -> _Bucket:
        bucket = self._buckets.get(key)
        if bucket is None:
            bucket = self._buckets[key] = _Bucket(now_ms)
            if len(self._buckets) > _MAX_BUCKETS:
                self._buckets.popitem(last=False)
        else:
            self._buckets.move_to_end(key)
        return bucket
