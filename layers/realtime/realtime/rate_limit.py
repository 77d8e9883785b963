"""Limit how fast a connection may send, by token buckets in memory: no read or write until a bucket is empty."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

_MAX_BUCKETS = 20_000  # about 5 MB; the least recently used is dropped first, and has had time to fill up


@dataclass(frozen=True, slots=True)
class Refusal:
    """A refusal: how long to wait (whole seconds), and whether it is the first since the bucket became empty."""

    wait_s: int
    is_first: bool


@dataclass(slots=True)
class _Bucket:
    tokens: float
    filled_at_s: float
    refused_until_s: float = 0.0


class RateLimit:
    """Token buckets of one function instance, each `burst` deep and filled at `rate` tokens a second.

    A connection that empties its bucket is refused until the wait in its refusal is over.
    """

    def __init__(self, rate: float, burst: float, clock: Callable[[], float]) -> None:
        self._rate = rate
        self._burst = burst
        self._clock = clock
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()

    def take(self, key: str) -> Refusal | None:
        """Take a token from the bucket of this key; return the refusal if it is empty, otherwise None."""
        now_s = self._clock()
        bucket = self._buckets.get(key)
        if bucket is None:
            bucket = self._buckets[key] = _Bucket(self._burst, now_s)
            if len(self._buckets) > _MAX_BUCKETS:
                self._buckets.popitem(last=False)
        else:
            self._buckets.move_to_end(key)
        if now_s < bucket.refused_until_s:
            return Refusal(math.ceil(bucket.refused_until_s - now_s), is_first=False)
        bucket.tokens = min(self._burst, bucket.tokens + (now_s - bucket.filled_at_s) * self._rate)
        bucket.filled_at_s = now_s
        if bucket.tokens < 1:
            wait_s = math.ceil((1 - bucket.tokens) / self._rate)
            bucket.refused_until_s = now_s + wait_s
            return Refusal(wait_s, is_first=True)
        bucket.tokens -= 1
        return None

    def charge(self, key: str, tokens: float) -> None:
        """Take more tokens for a frame that was accepted, even into debt, so that later frames have to wait."""
        bucket = self._buckets.get(key)
        if bucket is not None:
            bucket.tokens -= tokens
