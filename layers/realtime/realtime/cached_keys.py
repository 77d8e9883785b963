"""Keys by id that are kept elsewhere and read again now and then: shared secrets in a store, public keys at a URL.

A storm of clients must not become a storm on the store, nor an outage of it one of ours. So:

known keys        are read again after 240 to 360 s, each instance at a time of its own, with a single attempt; when it
                  fails they serve on, for an hour since they were last read at most, and another attempt waits
no keys yet       are asked for again and again, at times that no two instances share, as long as a handshake can wait
an unknown id     has the keys read at once, but once in 30 s alone: others could make ids up to have them read at will.
                  Until then nobody knows if the id is good, so its client is to try again

docs/decisions/0022-token-keys-in-a-storm.md
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Mapping
from typing import Generic, TypeVar

from realtime.errors import ConfigurationError, RealtimeError, Unavailable
from realtime.log import logger

REFRESH_SECONDS = 240  # keys are read again after so long at the earliest,
REFRESH_SPREAD_SECONDS = 120  # and after so much more at the latest: a rotated or revoked key is known by then
SERVE_ON_SECONDS = 3600  # so long after they were last read, keys are good for nothing any more
MIN_REFRESH_SECONDS = 30  # an unknown id has keys read sooner, but not more often; so does a failed attempt
_JUST_READ_SECONDS = 2  # an id that is not among keys as young as that is made up
_ABSENT_AT_MOST = 100  # ids that are remembered as made up
_PAUSES = (0.1, 0.25, 0.5, 1.0)  # s; at most so long between attempts, the last one for ever
_ATTEMPTS = 40

K = TypeVar("K")


class CachedKeys(Generic[K]):
    """Keys by id, of one place; `""` is the id of a key that is good for every id."""

    def __init__(
        self,
        place: str,
        read: Callable[[], Mapping[str, K]],
        clock: Callable[[], float],
        *,
        patience: float,
        cool_down: float,
    ) -> None:
        """Take the place's name for messages, and how to read the keys: it raises Unavailable or ConfigurationError.

        While no keys are known, attempts go on for `patience` s; when they have failed, none is made for `cool_down` s.
        """
        self._place = place
        self._read = read
        self._clock = clock
        self._patience = patience
        self._cool_down = cool_down
        self._lock = threading.Lock()  # one that reads is enough, for all who wait
        self._keys: Mapping[str, K] = {}
        self._read_at = self._due = self._not_before = float("-inf")
        self._absent: set[str] = set()

    def get(self, kid: str | None) -> Mapping[str, K]:
        """Return the keys, read anew where they are old or lack this id.

        Raises Unavailable where they cannot be had now, or it is not known yet whether there is such an id;
        ConfigurationError where an operator must do something first.
        """
        with self._lock:
            if not self._keys:
                self._read_first()
            elif self._clock() >= self._due:
                self._read_again()
            if kid is not None and kid not in self._keys and "" not in self._keys:
                self._look_for(kid)
            age = self._clock() - self._read_at
            if age > SERVE_ON_SECONDS:
                raise Unavailable(f"{self._place}: not read for {age:.0f} s, too long for the keys to be trusted")
            return self._keys

    def _take(self) -> None:
        self._keys = self._read()
        self._read_at = self._clock()
        self._due = self._read_at + REFRESH_SECONDS + random.uniform(0, REFRESH_SPREAD_SECONDS)
        self._absent.clear()

    def _read_first(self) -> None:
        began = self._clock()
        if began < self._not_before:
            raise Unavailable(f"{self._place}: could not be read a moment ago")
        for attempt in range(_ATTEMPTS):
            try:
                return self._take()
            except Unavailable:
                pause = random.uniform(0, _PAUSES[min(attempt, len(_PAUSES) - 1)])
                if attempt == _ATTEMPTS - 1 or self._clock() + pause - began >= self._patience:
                    self._not_before = self._clock() + random.uniform(0.5, 1) * self._cool_down
                    raise
                time.sleep(pause)
        raise AssertionError("unreachable")  # the last attempt returns or raises

    def _read_again(self) -> None:
        try:
            self._take()
        except RealtimeError as problem:
            self._due = self._clock() + random.uniform(0.5, 1) * MIN_REFRESH_SECONDS
            age = round(self._clock() - self._read_at)
            log = logger().error if isinstance(problem, ConfigurationError) else logger().warning
            log("known token keys serve on", extra={"reason": str(problem), "age": age})

    def _look_for(self, kid: str) -> None:
        now = self._clock()
        if now - self._read_at > _JUST_READ_SECONDS:
            if now < self._not_before:
                if kid in self._absent:
                    return
                raise Unavailable(
                    f"{self._place}: an unknown key id; keys are read again in {self._not_before - now:.0f} s"
                )
            self._not_before = now + MIN_REFRESH_SECONDS
            self._take()
        if kid not in self._keys and len(self._absent) < _ABSENT_AT_MOST:
            self._absent.add(kid)
