"""How fast a connection may send: token buckets in memory, which cost nothing until one runs dry."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

_MAX_BUCKETS = 20_000  # about 5 MB; the least recently used goes first, and had time to fill up


@dataclass(frozen=True, slots=True)
class Refusal:
    """A refusal: for how many whole seconds, and whether it is the first of them."""

    seconds: int
    is_first: bool


@dataclass(slots=True)
class _Bucket:
    tokens: float
    filled_at: float
    limited_until: float = 0.0


class RateLimit:
    """Token buckets of one function instance, each `burst` deep and filled at `rate` tokens a second.

    A connection that empties its bucket is refused for the whole seconds that it was told to wait.
    """

    def __init__(self, rate: float, burst: float, clock: Callable[[], float]) -> None:
        self._rate = rate
        self._burst = burst
        self._clock = clock
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()

    def take(self, key: str) -> Refusal | None:
        """Take a token, or be refused."""
        now = self._clock()
        bucket = self._buckets.get(key)
        if bucket is None:
            bucket = self._buckets[key] = _Bucket(self._burst, now)
            if len(self._buckets) > _MAX_BUCKETS:
                self._buckets.popitem(last=False)
        else:
            self._buckets.move_to_end(key)
        if now < bucket.limited_until:
            return Refusal(math.ceil(bucket.limited_until - now), is_first=False)
        bucket.tokens = min(self._burst, bucket.tokens + (now - bucket.filled_at) * self._rate)
        bucket.filled_at = now
        if bucket.tokens < 1:
            seconds = math.ceil((1 - bucket.tokens) / self._rate)
            bucket.limited_until = now + seconds
            return Refusal(seconds, is_first=True)
        bucket.tokens -= 1
        return None

    def charge(self, key: str, tokens: float) -> None:
        """Take more tokens for what was let through, be it into debt: what follows has to wait."""
        bucket = self._buckets.get(key)
        if bucket is not None:
            bucket.tokens -= tokens
