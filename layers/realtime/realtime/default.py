"""Answer the frames that clients send."""

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
from realtime.posting.delivery import Delivery, Frame, Outcome
from realtime.posting.poster import Poster
from realtime.rate_limit import RateLimit
from realtime.replay import Replay
from realtime.snapshots import Snapshots
from realtime.tables import Tables
from realtime.tables.connections import Connection, Session
from realtime.watching import Watching, check_watchable, parse_user_ids

if TYPE_CHECKING:
    from realtime.tokens import Tokens

_ANSWER_SECONDS = 9.0  # of the function's ten
# An answer of many frames costs more than one token. Otherwise a client could make us post any number of frames.
_FRAMES_PER_TOKEN = 10


@dataclass(frozen=True, slots=True)
class Request:
    """The data of a client's frame, and when it came."""

    data: dict[str, Any]
    now_ms: int


class _UnknownConnection(NamedTuple):
    """A connection that is not registered, so its age is unknown and `connected_at_ms` is the time of its frame."""

    connection_id: str
    endpoint: str
    connected_at_ms: int


class FrameHandler:
    """Answer one frame at a time."""

    def __init__(
        self,
        tables: Tables,
        rate_limit: RateLimit,
        snapshots: Snapshots,
        replay: Replay,
        *,
        tokens: Callable[[], Tokens],
        poster: Callable[[], Poster],
        farewells: Callable[[], Farewells],
        lease_seconds: int,
    ) -> None:
        self._tables = tables
        self._connections = tables.connections
        self._rate_limit = rate_limit
        self._watching = Watching(tables.connections)
        self._snapshots = snapshots
        self._replay = replay
        # These three are made when they are first used: few frames bring a token, and most answers are a single frame.
        self._tokens = tokens
        self._poster = poster
        self._farewells = farewells
        self._lease_seconds = lease_seconds
        self._handlers: dict[str, Callable[[Request, Connection], list[str]]] = {
            "ping": _pong,
            "sync": self._sync,
            "watch": self._watch,
            "unwatch": self._unwatch,
            "resume": self._resume,
            "authenticate": self._authenticate,
            "ack": self._acknowledge,
        }

    def answer(self, body: str, connection_id: str, endpoint: str, now_ms: int) -> str:
        """Return the last frame of the answer to a client's frame; post the frames before it, if there are any.

        Every frame gets an answer, because API Gateway would send an empty frame, which no client can read, for an
        answer without a body. Raises ClientError if the client is to receive an `error` frame; its connection stays
        open.
        """
        until = time.monotonic() + _ANSWER_SECONDS
        refusal = self._rate_limit.take(connection_id)
        if refusal:
            if refusal.is_first:  # tell the other function instances, which have their own buckets for this connection
                self._connections.limit_until(connection_id, now_ms // 1000 + refusal.wait_s)
            raise _too_fast(refusal.wait_s)
        session = self._connections.session(connection_id)
        if session is None:
            return self._send_away(connection_id, endpoint, now_ms)
        wait_s = session.limited_until_s - now_ms // 1000
        if wait_s > 0:
            raise _too_fast(wait_s)
        self._keep_alive(session, now_ms)
        kind, data = parse_frame(body)
        handle = self._handlers.get(kind)
        if handle is None:
            raise BadRequest(f"type: unknown; this service understands {', '.join(sorted(self._handlers))}")
        frames = handle(Request(data, now_ms), session.connection)
        if len(frames) > 1:
            self._rate_limit.charge(connection_id, len(frames) / _FRAMES_PER_TOKEN)
            self._post(session.connection, frames[:-1], until)
        return frames[-1]

    def _post(self, connection: Connection, frames: list[str], until: float) -> None:
        """Post the frames that do not fit into the function's answer; `until` on the monotonic clock."""
        posts = [Frame(frame.encode()) for frame in frames]
        delivery = Delivery(connection.endpoint, connection.connection_id, posts, connection.connected_at_ms / 1000)
        for result in self._poster().deliver([delivery], until=until):
            if result.outcome not in {Outcome.DELIVERED, Outcome.GONE}:
                raise Unavailable(f"posting an answer: {result.outcome.name} {result.reason}")

    def _sync(self, request: Request, connection: Connection) -> list[str]:
        check_watchable(connection.endpoint)
        return self._snapshots.of_audiences(connection, self._watching.subscriptions(connection), request.now_ms)

    def _watch(self, request: Request, connection: Connection) -> list[str]:
        check_watchable(connection.endpoint)
        audiences = self._watching.watch(connection, parse_user_ids(request.data.get("user_ids")))
        return self._snapshots.of_audiences(connection, audiences, request.now_ms)

    def _unwatch(self, request: Request, connection: Connection) -> list[str]:
        check_watchable(connection.endpoint)
        self._watching.unwatch(connection, parse_user_ids(request.data.get("user_ids")))
        return snapshots.encode_pages([], request.now_ms)

    def _resume(self, request: Request, connection: Connection) -> list[str]:
        audiences = self._watching.subscriptions(connection)
        return self._replay.since(connection, audiences, request.data.get("last_id"), request.now_ms)

    def _acknowledge(self, request: Request, connection: Connection) -> list[str]:
        """Note that a user has received a message; one of their devices answers for all."""
        message_id = request.data.get("id")
        try:
            event_time_ms(message_id)
        except ValueError as error:
            raise BadRequest(f"id: {error}") from error
        self._tables.acknowledgements.settle(connection.user_id, str(message_id))
        return [messages.encode("acknowledged", {"id": message_id}, request.now_ms)]

    def _authenticate(self, request: Request, connection: Connection) -> list[str]:
        """Keep a connection open until another token of its user expires; a token that is refused changes nothing."""
        token = request.data.get("token")
        if not isinstance(token, str):
            raise BadRequest("token: must be a string")
        identity = self._tokens().verify(token)
        if identity.user_id != connection.user_id:
            raise PermissionDenied("The token is another user's", reason=f"user {identity.user_id}'s token")
        identity.check_endpoint(connection.endpoint)
        self._connections.extend_token(connection.connection_id, identity.expires_at_s)
        answer = {"expires_at": messages.rfc3339(identity.expires_at_s * 1000)}
        return [messages.encode("authenticated", answer, request.now_ms)]

    def _keep_alive(self, session: Session, now_ms: int) -> None:
        """Renew a lease that is past its half-life: at most one write in 7.5 minutes, however much the client sends."""
        now_s = now_ms // 1000
        if session.lease_until_s - now_s < self._lease_seconds / 2:
            self._connections.renew_lease(session.connection.connection_id, now_s + self._lease_seconds)

    def _send_away(self, connection_id: str, endpoint: str, now_ms: int) -> str:
        """Send away a client whose connection is not registered, because it would never receive an event.

        A client that was refused or sent away before gets the same last frame again.
        """
        for entry in self._tables.outbox.since(direct(connection_id), make_event_id(0)):
            if entry.close:
                return entry.message
        message = messages.encode("reconnect", {"within_seconds": 0}, now_ms)
        self._farewells().send_away(_UnknownConnection(connection_id, endpoint, now_ms), "reconnect", message, now_ms)
        return message


def parse_frame(body: str) -> tuple[str, dict[str, Any]]:
    """Return the type and the data of a frame.

    Raises BadRequest, whose message shows what a frame looks like.
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
    return [messages.encode("pong", {}, request.now_ms)]


def _too_fast(wait_s: int) -> ClientError:
    return RateLimited("Too many messages; wait before you send more", retry_after=wait_s)
