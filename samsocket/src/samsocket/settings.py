"""The settings on the command line, which `/_gateway/settings` can change while the gateway runs."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

MESSAGE_BYTES = 131_072
"""Largest message either way on AWS: 128 KB."""

FRAME_BYTES = 32_768
"""Largest single frame on AWS, of a client or of a post."""

URL_CHARACTERS = 4_096
"""Longest URL of a handshake, query string included."""

HEADER_BYTES = 10_240
"""Most bytes of a handshake's request line and header values."""

_SWITCHES = ("compression", "withhold_disconnect", "withhold_route_response")
_MAY_BE_ZERO = ("latency",)


@dataclass(kw_only=True)
class Settings:
    """API Gateway's quotas, and switches for tests.

    Durations are in seconds, rates in requests a second. `message_bytes` limits messages both ways, `frame_bytes` a
    client's frames, and a post of more than `post_frame_bytes` closes its connection. `requests_per_second` and
    `requests_burst` are the account's one bucket, which handshakes, clients' messages and calls of the management API
    share. `latency` is how long each event is on its way, `decision_seconds` how long the gateway remembers the right
    of a caller of the management API. `compression` negotiates permessage-deflate with clients that offer it. Source of
    the defaults: docs.aws.amazon.com/apigateway/latest/developerguide/
    apigateway-execution-service-websocket-limits-table.html and …/developerguide/limits.html; the buffer's size is not
    documented.
    """

    idle_timeout: float = 600.0
    max_age: float = 7_200.0
    message_bytes: int = MESSAGE_BYTES
    frame_bytes: int = FRAME_BYTES
    connects_per_second: float = 500.0
    requests_per_second: float = 10_000.0
    requests_burst: float = 5_000.0
    buffer_bytes: int = 1_048_576
    post_frame_bytes: int = FRAME_BYTES
    decision_seconds: float = 60.0
    latency: float = 0.0
    compression: bool = True
    withhold_disconnect: bool = False
    withhold_route_response: bool = False

    def __post_init__(self) -> None:
        """Refuse values that mean nothing.

        Raises:
            ValueError: a value has the wrong type or is not positive; the text names the setting.
        """
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.name in _SWITCHES:
                if not isinstance(value, bool):
                    raise ValueError(f"{field.name} must be true or false")
            elif (
                isinstance(value, bool)
                or not isinstance(value, int | float)
                or value < 0
                or (field.name not in _MAY_BE_ZERO and not value)
            ):
                raise ValueError(f"{field.name} must be a positive number")

    def update(self, changes: Mapping[str, Any]) -> None:
        """Take over the named settings, all or none.

        Raises:
            ValueError: a name is unknown or a value is not allowed.
        """
        unknown = changes.keys() - {field.name for field in dataclasses.fields(self)}
        if unknown:
            raise ValueError(f"unknown setting {', '.join(sorted(unknown))}")
        checked = dataclasses.replace(self, **changes)
        self.__dict__.update(checked.__dict__)


class TokenBucket:
    """A rate with a burst, as API Gateway throttles: `take` says whether one more request is let through now."""

    __slots__ = ("_burst", "_level", "_rate", "_updated")

    def __init__(self, rate: float, burst: float, now: float) -> None:
        """Start full. `rate` is in tokens a second, `now` a monotonic time in seconds."""
        self._rate, self._burst = rate, burst
        self._level, self._updated = burst, now

    def take(self, now: float) -> bool:
        """Take a token if there is one."""
        self._level = min(self._burst, self._level + (now - self._updated) * self._rate)
        self._updated = now
        if self._level < 1:
            return False
        self._level -= 1
        return True
