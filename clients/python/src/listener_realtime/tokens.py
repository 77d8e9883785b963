"""Tokens: who gives them, when they expire, and when the next one has to be there."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import TYPE_CHECKING, TypeAlias

from listener_realtime.world import LATE_MS

if TYPE_CHECKING:
    from listener_realtime.world import Timers, World

TokenProvider: TypeAlias = Callable[[bool], str | Awaitable[str]]
"""Asked at each connect and before a token expires; the argument is true if the token given before is of no use."""

RENEW_BEFORE_MS = 60_000
RENEW_AGAIN_MS = 10_000
LONGEST_TIMER_MS = 2**31 - 1


async def ask(provider: TokenProvider, *, anew: bool) -> str:
    """Return the provider's token, for which it may have to wait."""
    given = provider(anew)
    return given if isinstance(given, str) else await given


def expiry_of(token: str) -> float | None:
    """Return when a token expires (ms since the epoch, by the service's clock), or None if it does not say."""
    try:
        body = token.split(".")[1]
        expiry = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))["exp"]
    except (IndexError, KeyError, TypeError, ValueError, binascii.Error):
        return None
    return expiry * 1000 if isinstance(expiry, int | float) else None


def time_of(value: object) -> float | None:
    """Return a time of the service in ms since the epoch: it is RFC 3339, or seconds. None if it is no time."""
    if isinstance(value, int | float):
        return value * 1000
    try:
        return datetime.fromisoformat(str(value)).timestamp() * 1000
    except ValueError:
        return None


class Renewal:
    """When to renew, by the service's clock: its answers tell how far ours is off."""

    def __init__(self, world: World, timers: Timers, renew: Callable[[], None]) -> None:
        self._world, self._timers, self._renew = world, timers, renew
        self._expiry_ms: float | None = None
        self._skew_ms = 0.0

    def is_over(self, token: str) -> bool:
        """Return whether a token has expired."""
        expiry = expiry_of(token)
        return expiry is not None and expiry <= self._world.now_ms() + self._skew_ms

    def before(self, expiry_ms: float | None) -> None:
        """Renew the token in time, or never if it does not expire."""
        self._expiry_ms = expiry_ms
        if expiry_ms is None:
            return self._timers.cancel("renew")
        left = expiry_ms - self._world.now_ms() - self._skew_ms
        ms = left - min(RENEW_BEFORE_MS, left / 4) * (1 + self._world.random())
        if ms > LONGEST_TIMER_MS:
            return self._timers.set("renew", LONGEST_TIMER_MS, lambda: self.before(expiry_ms))
        return self._timers.set("renew", max(RENEW_AGAIN_MS, ms), self._renew)

    def again(self) -> None:
        """Renew soon, unless it succeeds meanwhile."""
        self._timers.set("renew", RENEW_AGAIN_MS, self._renew)

    def learn(self, timestamp: str) -> None:
        """Learn the service's clock from an answer that it has just given."""
        at_ms = time_of(timestamp)
        if at_ms is None:
            return
        skew = at_ms - self._world.now_ms()
        is_news = abs(skew - self._skew_ms) > LATE_MS
        self._skew_ms = skew
        if is_news:
            self.before(self._expiry_ms)
