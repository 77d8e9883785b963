"""Answers to the frames that clients send."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from realtime import messages, snapshots
from realtime.audiences import direct
from realtime.errors import BadRequest, ClientError, PermissionDenied, RateLimited, Unavailable
from realtime.farewell import Farewells
from realtime.ids import event_time_ms, make_event_id
from realtime.posting.poster import Delivery, Frame, ManagementApi, Outcome
from realtime.rate_limit import RateLimit
from realtime.replay import Replay
from realtime.snapshots import Snapshots
from realtime.tables.connections import Connection, Connections, Session
from realtime.tables.outbox import Outbox
from realtime.watching import Watching, check_watchable, parse_user_ids

if TYPE_CHECKING:
    from realtime.tokens import Tokens

_ANSWER_SECONDS = 9.0  # of the function's ten
_FRAMES_A_TOKEN = 10  # an answer of many frames counts as more than one, or a client could have its fill of them posted


@dataclass(frozen=True, slots=True)
class Request:
    """What a client sent; `now` in ms since the epoch."""

    data: dict[str, Any]
    now: int


class _UnknownConnection(NamedTuple):
    """A connection that is not registered: how old it is, is not known."""

    connection_id: str
    endpoint: str
    connected_at: int


class FrameHandler:
    """Answers one frame at a time."""

    def __init__(
        self,
        connections: Connections,
        outbox: Outbox,
        rate_limit: RateLimit,
        watching: Watching,
        snapshots: Snapshots,
        replay: Replay,
        tokens: Callable[[], Tokens],
        management: Callable[[], ManagementApi],
        farewells: Callable[[], Farewells],
        *,
        lease_seconds: int,
    ) -> None:
        self._connections = connections
        self._outbox = outbox
        self._rate_limit = rate_limit
        self._interest = watching
        self._snapshots = snapshots
        self._replay = replay
        self._tokens = tokens  # made when first used, as the next: few frames bring a token, and most answers are one
        self._management = management
        self._farewells = farewells
        self._lease_seconds = lease_seconds
        self._answers: dict[str, Callable[[Request, Connection], list[str]]] = {
            "ping": _pong,
            "sync": self._sync,
            "watch": self._watch,
            "unwatch": self._unwatch,
            "resume": self._resume,
            "authenticate": self._authenticate,
            "ack": self._acknowledge,
        }

    def answer(self, body: str, connection_id: str, endpoint: str, now: int) -> str:
        """Return the frame that answers a client's, having posted those that come before.

        There always is one: API Gateway sends an empty frame for an answer without a body, which no client can read.

        `now` in ms since the epoch. Raises ClientError where the client is to hear an `error`; its connection lives.
        """
        until = time.monotonic() + _ANSWER_SECONDS
        limited = self._rate_limit.take(connection_id)
        if limited:
            if limited.is_first:  # other function instances serve this connection too, with buckets of their own
                self._connections.limit_until(connection_id, now // 1000 + limited.seconds)
            raise _too_fast(limited.seconds)
        session = self._connections.session(connection_id)
        if session is None:
            return self._send_back(connection_id, endpoint, now)
        wait = session.limited_until - now // 1000
        if wait > 0:
            raise _too_fast(wait)
        self._keep_alive(session, now)
        kind, data = parse_frame(body)
        answer = self._answers.get(kind)
        if answer is None:
            raise BadRequest(f"type: unknown; this service understands {', '.join(sorted(self._answers))}")
        frames = answer(Request(data, now), session.connection)
        if len(frames) > 1:
            self._rate_limit.charge(connection_id, len(frames) / _FRAMES_A_TOKEN)
            self._post(session.connection, frames[:-1], until)
        return frames[-1]

    def _post(self, connection: Connection, frames: list[str], until: float) -> None:
        """Post what a single answer cannot hold; `until` on the monotonic clock."""
        posts = [Frame(frame.encode()) for frame in frames]
        delivery = Delivery(connection.endpoint, connection.connection_id, posts, connection.connected_at / 1000)
        for _, outcome in self._management().deliver([delivery], until=until):
            if outcome not in {Outcome.DELIVERED, Outcome.GONE}:
                raise Unavailable(f"posting an answer: {outcome.name} {delivery.reason}")

    def _sync(self, request: Request, connection: Connection) -> list[str]:
        check_watchable(connection.endpoint)
        return self._snapshots.of_audiences(connection, self._interest.heard(connection), request.now)

    def _watch(self, request: Request, connection: Connection) -> list[str]:
        check_watchable(connection.endpoint)
        audiences = self._interest.watch(connection, parse_user_ids(request.data.get("user_ids")))
        return self._snapshots.of_audiences(connection, audiences, request.now)

    def _unwatch(self, request: Request, connection: Connection) -> list[str]:
        check_watchable(connection.endpoint)
        self._interest.unwatch(connection, parse_user_ids(request.data.get("user_ids")))
        return snapshots.pages([], request.now)

    def _resume(self, request: Request, connection: Connection) -> list[str]:
        audiences = self._interest.heard(connection)
        return self._replay.since(connection, audiences, request.data.get("last_id"), request.now)

    def _acknowledge(self, request: Request, connection: Connection) -> list[str]:
        """Note that a user has got a message; a device of theirs speaks for all."""
        identity = request.data.get("id")
        try:
            event_time_ms(identity)
        except ValueError as error:
            raise BadRequest(f"id: {error}") from error
        self._outbox.settle(connection.user_id, str(identity))
        return [messages.encode("acknowledged", {"id": identity}, request.now)]

    def _authenticate(self, request: Request, connection: Connection) -> list[str]:
        """Let a connection live as long as another token of its user's; what is no good changes nothing."""
        token = request.data.get("token")
        if not isinstance(token, str):
            raise BadRequest("token: must be a string")
        identity = self._tokens().verify(token)
        if identity.user_id != connection.user_id:
            raise PermissionDenied("The token is another user's", reason=f"user {identity.user_id}'s token")
        identity.check(connection.endpoint)
        self._connections.extend_token(connection.connection_id, identity.expires_at)
        answer = {"expires_at": messages.rfc3339(identity.expires_at * 1000)}
        return [messages.encode("authenticated", answer, request.now)]

    def _keep_alive(self, session: Session, now: int) -> None:
        """Renew a lease that is past its half-life: one write in 7.5 minutes, whatever the client sends."""
        seconds = now // 1000
        if session.lease_until - seconds < self._lease_seconds / 2:
            self._connections.renew_lease(session.connection.connection_id, seconds + self._lease_seconds)

    def _send_back(self, connection_id: str, endpoint: str, now: int) -> str:
        """Send away a client whose connection is not registered: it would wait for events that never come.

        One that was refused, or sent away before, is to hear that and nothing else.
        """
        for entry in self._outbox.since(direct(connection_id), make_event_id(0)):
            if entry.close:
                return entry.message
        message = messages.encode("reconnect", {"within_seconds": 0}, now)
        self._farewells().send_away(_UnknownConnection(connection_id, endpoint, now), "reconnect", message, now)
        return message


def parse_frame(body: str) -> tuple[str, dict[str, Any]]:
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


def _pong(request: Request, _connection: Connection) -> list[str]:
    return [messages.encode("pong", {}, request.now)]


def _too_fast(wait: int) -> ClientError:
    return RateLimited("Too many messages; wait before you send more", retry_after=wait)
