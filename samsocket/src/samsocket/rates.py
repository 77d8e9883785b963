"""The limits on rates: those of the account, of stages' routes, and of API keys."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from samsocket.api import CONNECT
from samsocket.settings import TokenBucket

if TYPE_CHECKING:
    from collections.abc import Iterable

    from samsocket.api import ApiKey, WebSocketApi
    from samsocket.settings import Settings


class Rates:
    """Says whether one more request is let through now.

    All APIs share the account's buckets: one of new connections, and one of handshakes, messages and management
    requests.
    """

    def __init__(self, settings: Settings) -> None:
        """Start with full buckets, and without an API."""
        self._settings = settings
        self.adopt(())

    def adopt(self, apis: Iterable[WebSocketApi]) -> None:
        """Take the throttles of APIs as their templates say now."""
        self._apis = tuple(apis)
        self.reset()

    def reset(self) -> None:
        """Begin anew with the settings as they are now."""
        settings, now = self._settings, time.monotonic()
        self._connects = TokenBucket(settings.connects_per_second, settings.connects_per_second, now)
        self._requests = TokenBucket(settings.requests_per_second, settings.requests_burst, now)
        self._routes = {
            (api.api_id, stage, route_key): TokenBucket(throttle.rate, throttle.burst, now)
            for api in self._apis
            for (stage, route_key), throttle in api.throttles.items()
        }
        self._keys = {
            key.key_id: TokenBucket(key.throttle.rate, key.throttle.burst, now)
            for api in self._apis
            for key in api.api_keys.values()
            if key.throttle is not None
        }

    def admits_handshake(self, api_id: str, stage: str) -> bool:
        """Take a token of each bucket that new connections count in."""
        return self._connects.take(time.monotonic()) and self.admits(api_id, stage, CONNECT)

    def admits(self, api_id: str, stage: str, route_key: str) -> bool:
        """Take a token of a route's own throttle, if it has one, and one of the account's bucket."""
        now = time.monotonic()
        throttle = self._routes.get((api_id, stage, route_key))
        return (throttle is None or throttle.take(now)) and self._requests.take(now)

    def admits_management(self) -> bool:
        """Take a token of the account's bucket."""
        return self._requests.take(time.monotonic())

    def admits_key(self, key: ApiKey) -> bool:
        """Take a token of an API key's usage plan, if that limits it."""
        bucket = self._keys.get(key.key_id)
        return bucket is None or bucket.take(time.monotonic())
