"""Answers to the frames that clients send."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from realtime import messages
from realtime.connections import Connections, Session
from realtime.errors import BadRequest, ClientError, RateLimited
from realtime.outbox import Outbox
from realtime.rate_limit import RateLimit
from realtime.refusals import close


@dataclass(frozen=True, slots=True)
class Frame:
    """What a client sent over a connection; `now` in ms since the epoch."""

    connection_id: str
    endpoint: str
    body: str
    now: int


class Desk:
    """Answers one frame at a time."""

    def __init__(self, connections: Connections, outbox: Outbox, rate_limit: RateLimit, *, lease_seconds: int) -> None:
        self._connections = connections
        self._outbox = outbox
        self._rate_limit = rate_limit
        self._lease_seconds = lease_seconds
        self._answers: dict[str, Callable[[Frame, dict[str, Any]], str]] = {"ping": _pong}

    def answer(self, frame: Frame) -> str:
        """Return the frame to answer with.

        Raises ClientError where the client is to hear an `error` instead; its connection lives.
        """
        limited = self._rate_limit.take(frame.connection_id)
        if limited:
            if limited.is_new:  # other function instances serve this connection too, with buckets of their own
                self._connections.limit_until(frame.connection_id, frame.now // 1000 + limited.seconds)
            raise _too_fast(limited.seconds)
        session = self._connections.session(frame.connection_id)
        if session is None:
            return self._send_back(frame)
        wait = session.limited_until - frame.now // 1000
        if wait > 0:
            raise _too_fast(wait)
        self._keep_alive(session, frame.now)
        kind, data = parse(frame.body)
        answer = self._answers.get(kind)
        if answer is None:
            raise BadRequest(f"type: unknown; this service understands {', '.join(sorted(self._answers))}")
        return answer(frame, data)

    def _keep_alive(self, session: Session, now: int) -> None:
        """Renew a lease that is past its half-life: one write in 7.5 minutes, whatever the client sends."""
        seconds = now // 1000
        if session.lease_until - seconds < self._lease_seconds / 2:
            self._connections.renew_lease(session.connection_id, seconds + self._lease_seconds)

    def _send_back(self, frame: Frame) -> str:
        """Send away a client whose connection is not registered: it would wait for events that never come."""
        message = messages.encode("reconnect", {"within_seconds": 0}, frame.now)
        close(self._outbox, frame.connection_id, frame.endpoint, "reconnect", message, frame.now)
        return message


def parse(body: str) -> tuple[str, dict[str, Any]]:
    """Return a frame's type and data.

    Raises BadRequest that says what a frame looks like.
    """
    try:
        message = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise BadRequest('not JSON; send {"type": …, "data": {…}}') from error
    if not isinstance(message, dict):
        raise BadRequest('not a JSON object; send {"type": …, "data": {…}}')
    kind, data = message.get("type"), message.get("data", {})
    if not isinstance(kind, str):
        raise BadRequest('type: must be a string, such as "ping"')
    if not isinstance(data, dict):
        raise BadRequest("data: must be a JSON object")
    return kind, data


def _pong(frame: Frame, _data: dict[str, Any]) -> str:
    return messages.encode("pong", {}, frame.now)


def _too_fast(wait: int) -> ClientError:
    return RateLimited("Too many messages; wait before you send more", retry_after=wait)
