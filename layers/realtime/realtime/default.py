"""Answer the frames that clients send."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from realtime import messages, positions, snapshots
from realtime.audiences import direct
from realtime.errors import AuthFailed, BadRequest, PermissionDenied, Unavailable
from realtime.farewell import Farewells
from realtime.frame_limits import FrameLimits
from realtime.ids import event_time_ms, make_event_id
from realtime.posting.delivery import Delivery, Frame, Outcome
from realtime.posting.poster import Poster
from realtime.replay import Replay
from realtime.snapshots import Snapshots
from realtime.tables import Tables
from realtime.tables.connections import Connection, Session
from realtime.text import loads
from realtime.watch_state import MAX_WATCHED
from realtime.watching import Watching, check_watchable, parse_user_ids

if TYPE_CHECKING:
    from realtime.contract.to_clients import AuthenticatedData
    from realtime.tokens import Tokens

_ANSWER_SECONDS = 9.0  # of the function's ten
# What a frame costs, in tokens, each about the price of a ping: otherwise a client could make us read, write and post
# any amount for one. A type that is not named costs 1.
_TOKENS = {"sync": 2.0, "resume": 2.0, "authenticate": 2.0, "history": 2.0, "count": 2.0, "status": 2.0}
_USERS_PER_TOKEN = 10  # of `watch` and `unwatch`, in addition
_AUDIENCES_PER_TOKEN = 20  # that are read for `sync` and `resume`, in addition
_FRAMES_PER_TOKEN = 10  # of an answer, in addition


Answerer: TypeAlias = Callable[[Mapping[str, Any], Connection, int], list[str]]
"""Returns the frames that answer one of a kind, whose data, connection and time (ms) it is given."""


@dataclass(frozen=True, slots=True)
class Request:
    """The data of a client's frame, when it came, and its place among the connection's frames (watch_state)."""

    data: dict[str, Any]
    now_ms: int
    revision: str


class _UnknownConnection(NamedTuple):
    """A connection that is not registered, so its age is unknown and `connected_at_ms` is the time of its frame."""

    connection_id: str
    stage: str
    connected_at_ms: int


class FrameHandler:
    """Answer one frame at a time; `others` answer the kinds that need nothing of this module."""

    def __init__(
        self,
        tables: Tables,
        limits: FrameLimits,
        snapshots: Snapshots,
        replay: Replay,
        others: Mapping[str, Answerer],
        *,
        tokens: Callable[[], Tokens],
        poster: Callable[[], Poster],
        farewells: Callable[[], Farewells],
        lease_seconds: int,
    ) -> None:
        self._tables = tables
        self._connections = tables.connections
        self._limits = limits
        self._watching = Watching(tables.connections, tables.watched)
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
            **{kind: _adapted(answer) for kind, answer in others.items()},
        }

    def answer(self, body: str, connection_id: str, stage: str, revision: str, now_ms: int) -> str:
        """Return the last frame of the answer to a client's frame; post the frames before it, if there are any.

        Every frame gets an answer, because API Gateway would send an empty frame, which no client can read, for an
        answer without a body. Raises ClientError if the client is to receive an `error` frame.
        """
        until = time.monotonic() + _ANSWER_SECONDS
        unreadable: BadRequest | None = None
        kind, data = "", dict[str, Any]()
        try:
            kind, data = parse_frame(body)
        except BadRequest as problem:
            unreadable = problem
        tokens = price(kind, data)
        caller = _UnknownConnection(connection_id, stage, now_ms)
        is_known = self._limits.check_here(caller, tokens, now_ms)
        session = self._connections.session(connection_id)
        if session is None:
            return self._send_away(connection_id, stage, now_ms)
        self._limits.check(session, tokens, now_ms, is_known=is_known)
        self._keep_alive(session, kind, now_ms)  # a frame that cannot be read is a sign of life, too
        if unreadable is not None:
            raise unreadable
        handle = self._handlers.get(kind)
        if handle is None:
            raise BadRequest(f"type: unknown; this service understands {', '.join(sorted(self._handlers))}")
        frames = handle(Request(data, now_ms, revision), session.connection)
        if len(frames) > 1:
            self._limits.charge(connection_id, len(frames) / _FRAMES_PER_TOKEN, now_ms)
            self._post(session.connection, frames[:-1], until)
        return frames[-1]

    def _post(self, connection: Connection, frames: list[str], until: float) -> None:
        """Post the frames that do not fit into the function's answer; `until` on the monotonic clock."""
        posts = [Frame(frame.encode()) for frame in frames]
        delivery = Delivery(connection.stage, connection.connection_id, posts, connection.connected_at_ms / 1000)
        for result in self._poster().deliver([delivery], until=until):
            if result.outcome not in {Outcome.DELIVERED, Outcome.GONE}:
                raise Unavailable(f"posting an answer: {result.outcome.name} {result.reason}")

    def _sync(self, request: Request, connection: Connection) -> list[str]:
        check_watchable(connection.endpoints)
        return self._snapshots.of_audiences(connection, self._audiences(request, connection), request.now_ms)

    def _watch(self, request: Request, connection: Connection) -> list[str]:
        check_watchable(connection.endpoints)
        user_ids = parse_user_ids(request.data.get("user_ids"))
        users = self._watching.watch(connection, user_ids, request.revision, request.now_ms)
        return self._snapshots.of_users(connection, users, request.now_ms)

    def _unwatch(self, request: Request, connection: Connection) -> list[str]:
        check_watchable(connection.endpoints)
        user_ids = parse_user_ids(request.data.get("user_ids"))
        self._watching.unwatch(connection, user_ids, request.revision, request.now_ms)
        return snapshots.encode_pages([], request.now_ms, positions.floor(connection.connected_at_ms, request.now_ms))

    def _resume(self, request: Request, connection: Connection) -> list[str]:
        audiences = self._audiences(request, connection)
        if "position" in request.data:
            return self._replay.since_position(connection, audiences, request.data["position"], request.now_ms)
        return self._replay.since_id(connection, audiences, request.data.get("last_id"), request.now_ms)

    def _audiences(self, request: Request, connection: Connection) -> list[str]:
        """Return the audiences that a connection subscribes to, and charge the reads that each will take."""
        audiences = self._watching.subscriptions(connection)
        self._limits.charge(connection.connection_id, len(audiences) / _AUDIENCES_PER_TOKEN, request.now_ms)
        return audiences

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
        for endpoint in connection.endpoints:
            identity.check_endpoint(endpoint)
        for user in self._tables.users.get_many([connection.user_id]):
            if identity.issued_at_s < user.revoked_before_s:
                raise AuthFailed(reason=f"user {user.user_id}: issued before their sessions were revoked")
        self._connections.extend_token(
            connection.connection_id, identity.expires_at_s, may_set_status=identity.may_set_status
        )
        answer: AuthenticatedData = {"expires_at": messages.rfc3339(identity.expires_at_s * 1000)}
        position = positions.floor(connection.connected_at_ms, request.now_ms)
        return [messages.encode("authenticated", answer, request.now_ms, position=position)]

    def _keep_alive(self, session: Session, kind: str | None, now_ms: int) -> None:
        """Renew a lease that is past its half-life: at most one write in half a lease, however much the client sends.

        The first two pings renew it too: if both come within a lease, the client has a heartbeat, whose silence means
        more. `sweep` gives longer leases to the silent; when they speak, they have to renew one of the normal length.
        """
        now_s, lease_s = now_ms // 1000, self._lease_seconds
        is_ping = kind == "ping"
        begins = is_ping and not session.pinged_at_s
        goes_on = is_ping and not session.has_heartbeat and now_s - session.pinged_at_s <= lease_s
        if begins or goes_on or not lease_s / 2 <= session.lease_until_s - now_s <= lease_s:
            self._connections.renew_lease(
                session.connection.connection_id,
                now_s + lease_s,
                heard_at_s=now_s,
                pinged_at_s=now_s if is_ping else None,
                has_heartbeat=goes_on,
            )

    def _send_away(self, connection_id: str, stage: str, now_ms: int) -> str:
        """Send away a client whose connection is not registered, because it would never receive an event.

        A client that was refused or sent away before gets the same last frame again.
        """
        refusals = self._tables.outbox.since(direct(connection_id), make_event_id(0))
        for entry in chain.from_iterable(each.entries for each in refusals):
            if entry.close:
                return entry.message
        message = messages.encode("reconnect", {"within_seconds": 0}, now_ms)
        self._farewells().send_away(_UnknownConnection(connection_id, stage, now_ms), "reconnect", message, now_ms)
        return message


def _adapted(answer: Answerer) -> Callable[[Request, Connection], list[str]]:
    return lambda request, connection: answer(request.data, connection, request.now_ms)


def parse_frame(body: str) -> tuple[str, dict[str, Any]]:
    """Return the type and the data of a frame.

    Raises BadRequest, whose message shows what a frame looks like.
    """
    try:
        message = loads(body)
    except ValueError as error:
        raise BadRequest('not JSON; send {"type": …, "data": {…}}') from error
    if not isinstance(message, dict):
        raise BadRequest('not a JSON object; send {"type": …, "data": {…}}')
    kind, data = message.get("type"), message.get("data", {})
    if not isinstance(kind, str):
        raise BadRequest('type: must be a string, such as "ping"')
    if not isinstance(data, dict):
        raise BadRequest("data: must be a JSON object")
    return kind, data


def price(kind: str, data: Mapping[str, Any]) -> float:
    """Return what is known of a frame's cost before any work, in tokens."""
    if kind in {"watch", "unwatch"}:
        user_ids = data.get("user_ids")
        return 1 + (min(len(user_ids), MAX_WATCHED) if isinstance(user_ids, list) else 0) / _USERS_PER_TOKEN
    return _TOKENS.get(kind, 1.0)


def _pong(request: Request, connection: Connection) -> list[str]:
    position = positions.floor(connection.connected_at_ms, request.now_ms)
    return [messages.encode("pong", {}, request.now_ms, position=position)]
