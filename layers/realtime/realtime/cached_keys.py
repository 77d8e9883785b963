"""Cache keys, by their ids, that are stored elsewhere: shared secrets in a store, public keys at a URL.

Many clients at once must not overload that store, and its outage must not become ours. Therefore:

cached keys       are read again after 240 to 360 s, in each instance at a different time, with a single attempt. If it
                  fails they stay in use, at most for an hour since they were last read; the next attempt comes later
no keys yet       are requested repeatedly, with random pauses that differ between instances, as long as a handshake can
                  wait
an unknown id     causes a read at once, but only once in 30 s, because anybody can make up ids to cause reads. In the
                  meantime nobody knows whether the id is good, so its client is told to try again

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

REFRESH_SECONDS = 240  # keys are read again at the earliest after this time,
REFRESH_SPREAD_SECONDS = 120  # and at the latest this much later: then a rotated or revoked key is noticed
SERVE_ON_SECONDS = 3600  # keys are no longer trusted this long after they were last read
MIN_REFRESH_SECONDS = 30  # the shortest time between two reads because of an unknown id or a failed attempt
_JUST_READ_SECONDS = 2  # an id that is missing in keys of this age does not exist
_MAX_UNKNOWN_IDS = 100  # how many such ids are remembered
_PAUSES = (0.1, 0.25, 0.5, 1.0)  # s; the longest pause after each attempt; the last value holds for all later ones
_ATTEMPTS = 40

K = TypeVar("K")


class CachedKeys(Generic[K]):
    """The keys of one place, by id; the id `""` stands for a key that fits every id."""

    def __init__(
        self,
        place: str,
        read: Callable[[], Mapping[str, K]],
        clock: Callable[[], float],
        *,
        patience: float,
        cool_down: float,
    ) -> None:
        """Take the place's name for messages, and a function that reads the keys or raises Unavailable.

        It may also raise ConfigurationError. The first read is attempted for `patience` s; after it has failed, no
        attempt is made for up to `cool_down` s.
        """
        self._place = place
        self._read = read
        self._clock = clock
        self._patience = patience
        self._cool_down = cool_down
        self._lock = threading.Lock()  # one thread reads for all that wait
        self._keys: Mapping[str, K] = {}
        self._read_at = self._refresh_due = self._not_before = float("-inf")
        self._unknown_ids: set[str] = set()

    def get(self, kid: str | None) -> Mapping[str, K]:
        """Return the keys; read them again if they are old or have no key with this id.

        Raises Unavailable if they cannot be read now, or if it is not yet known whether the id exists, and
        ConfigurationError if an operator must do something first.
        """
        with self._lock:
            if not self._keys:
                self._read_first()
            elif self._clock() >= self._refresh_due:
                self._refresh()
            if kid is not None and kid not in self._keys and "" not in self._keys:
                self._look_for_unknown(kid)
            age = self._clock() - self._read_at
            if age > SERVE_ON_SECONDS:
                raise Unavailable(f"{self._place}: the keys were last read {age:.0f} s ago and are no longer trusted")
            return self._keys

    def _read_now(self) -> None:
        self._keys = self._read()
        self._read_at = self._clock()
        self._refresh_due = self._read_at + REFRESH_SECONDS + random.uniform(0, REFRESH_SPREAD_SECONDS)
        self._unknown_ids.clear()

    def _read_first(self) -> None:
        began = self._clock()
        if began < self._not_before:
            raise Unavailable(f"{self._place}: the last attempt to read the keys failed a moment ago")
        for attempt in range(_ATTEMPTS):
            try:
                return self._read_now()
            except Unavailable:
                pause = random.uniform(0, _PAUSES[min(attempt, len(_PAUSES) - 1)])
                if attempt == _ATTEMPTS - 1 or self._clock() + pause - began >= self._patience:
                    self._not_before = self._clock() + random.uniform(0.5, 1) * self._cool_down
                    raise
                time.sleep(pause)
        raise AssertionError("unreachable")  # the last attempt returns or raises

    def _refresh(self) -> None:
        try:
            self._read_now()
        except RealtimeError as problem:
            self._refresh_due = self._clock() + random.uniform(0.5, 1) * MIN_REFRESH_SECONDS
            age = round(self._clock() - self._read_at)
            log = logger().error if isinstance(problem, ConfigurationError) else logger().warning
            log(
                "token keys could not be read again; the cached ones stay in use",
                extra={"reason": str(problem), "age": age},
            )

    def _look_for_unknown(self, kid: str) -> None:
        now = self._clock()
        if now - self._read_at > _JUST_READ_SECONDS:
            if now < self._not_before:
                if kid in self._unknown_ids:
                    return
                raise Unavailable(
                    f"{self._place}: unknown key id; the keys can be read again in {self._not_before - now:.0f} s"
                )
            self._not_before = now + MIN_REFRESH_SECONDS
            self._read_now()
        if kid not in self._keys and len(self._unknown_ids) < _MAX_UNKNOWN_IDS:
            self._unknown_ids.add(kid)
