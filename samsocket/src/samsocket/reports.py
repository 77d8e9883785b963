"""What becomes of handshakes, messages and connections: the access log, and what the page shows."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any

from samsocket.activity import TEXT_CHARACTERS, shortened

if TYPE_CHECKING:
    from samsocket.activity import Activity
    from samsocket.events import Handshake

_access = logging.getLogger("samsocket.access")


class Reports:
    """Reports on the clients of a gateway. Without an `activity` there is the access log alone."""

    def __init__(self, activity: Activity | None = None) -> None:
        """Take what the page shows."""
        self._activity = activity

    def end(self) -> None:
        """Let the page know that nothing more will come."""
        if self._activity is not None:
            self._activity.end()

    def answered(
        self, handshake: Handshake, route_key: str, status: int, *, began: float | None = None, of: int | None = None
    ) -> None:
        """Report how an event ended. `began` is a monotonic time, `of` the number of the message's own report.

        Like AWS's, the line of the access log has no query string; it has no headers either.
        """
        _access.info("%s %s %s %s %s", handshake.source_ip, handshake.stage, route_key, status, handshake.connection_id)
        took = None if began is None else round((time.monotonic() - began) * 1000, 1)
        self._add("answered", handshake, route=route_key, status=status, took=took, of=of)

    def opened(self, handshake: Handshake) -> None:
        """Report a connection that is open now."""
        self._add("opened", handshake, ip=handshake.source_ip)

    def closed(self, handshake: Handshake, code: int, reason: str) -> None:
        """Report the end of a connection, with its close code."""
        self._add("closed", handshake, code=code, reason=reason or None)

    def heard(self, handshake: Handshake, route_key: str | None, text: str) -> int | None:
        """Report a client's message, and return the report's number."""
        if self._activity is None:
            return None
        size = len(text.encode(errors="replace"))
        return self._add("heard", handshake, route=route_key, text=shortened(text), bytes=size)

    def sent(self, handshake: Handshake, payload: bytes, origin: str) -> None:
        """Report a frame that was sent to a client; `origin` is a word for what sent it."""
        if self._activity is not None:
            # A character has at most four bytes, so that nothing is decoded which is then cut off.
            text = shortened(payload[: 4 * TEXT_CHARACTERS + 4].decode(errors="replace"))
            self._add("sent", handshake, text=text, bytes=len(payload), origin=origin)

    def _add(self, kind: str, handshake: Handshake, **facts: Any) -> int | None:
        if self._activity is None:
            return None
        at = {"api": handshake.api_id, "stage": handshake.stage, "id": handshake.connection_id}
        return self._activity.add(kind, **at, **facts)
