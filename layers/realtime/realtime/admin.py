"""Answer backends and operators who invoke `admin`: who is online, a user's connections, their end, and counts.

The right to invoke it is IAM's, so it trusts who asks, but not the form of what is asked. `contract/admin.py` has the
requests and the answers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from realtime import messages
from realtime.errors import AuthFailed, InvalidRequest
from realtime.ids import id_as_json, make_event_id, parse_id
from realtime.presence import state
from realtime.revocation import last_frames, revoke, sessions_of
from realtime.tables import Tables
from realtime.tables.connections import Session
from realtime.text import describe_value, parse_name

if TYPE_CHECKING:
    from realtime.contract.admin import ConnectionNow, Counts, Disconnected, UserConnections, UsersNow

MAX_USERS = 1000  # of one request: ten reads, and an answer of at most 0.3 MB
MAX_CONNECTION_ID = 128
DEFAULT_REASON = "Disconnected by the service's operator"
_KEPT_SECONDS = 3600  # a last frame; the stream's mapping gives records up that are so old


class Admin:
    """Answer one request at a time."""

    def __init__(self, tables: Tables, *, feed_role: str) -> None:
        self._tables = tables
        self._feed_role = feed_role
        self._actions: dict[str, Callable[[Mapping[str, Any], int], Mapping[str, Any]]] = {
            "who": self._who,
            "connections": self._connections,
            "disconnect": self._disconnect,
            "counts": self._counts,
        }

    def answer(self, request: object, now_ms: int) -> Mapping[str, Any]:
        """Do what a request asks, and return the result.

        Raises InvalidRequest, whose message says which key is wrong, and how.
        """
        if not isinstance(request, Mapping):
            raise InvalidRequest(f"the request: must be a JSON object; not {describe_value(request)}")
        action = request.get("action")
        act = self._actions.get(action) if isinstance(action, str) else None
        if act is None:
            raise InvalidRequest(f"action: must be one of {', '.join(self._actions)}; not {describe_value(action)}")
        return act(request, now_ms)

    def _who(self, request: Mapping[str, Any], _now_ms: int) -> UsersNow:
        given = request.get("user_ids")
        if not isinstance(given, list) or not 0 < len(given) <= MAX_USERS:
            raise InvalidRequest(f"user_ids: must be a list of 1 to {MAX_USERS} user ids")
        user_ids = list(dict.fromkeys(_id("user_ids: each", each) for each in given))
        found = {user.user_id: user for user in self._tables.users.get_many(user_ids)}
        return {
            "users": [
                {
                    "username": user.username,
                    "role": user.role,
                    **state(user),
                    "version": user.version,
                    "connections": len(user.connection_ids),
                }
                if (user := found.get(user_id))
                else {
                    "username": None,
                    "role": None,
                    "user_id": id_as_json(user_id),
                    "is_online": False,
                    "is_busy": False,
                    "last_seen": None,
                    "version": 0,
                    "connections": 0,
                }
                for user_id in user_ids
            ]
        }

    def _connections(self, request: Mapping[str, Any], _now_ms: int) -> UserConnections:
        user_id = _id("user_id:", request.get("user_id"))
        sessions = sessions_of(self._tables, user_id)
        in_order = sorted(sessions, key=lambda each: each.connection.connected_at_ms)
        return {"user_id": id_as_json(user_id), "connections": [_shown(each) for each in in_order]}

    def _disconnect(self, request: Mapping[str, Any], now_ms: int) -> Disconnected:
        """Close connections as `session_revoked` does: with a last frame, through the outbox."""
        by_user, by_connection = ("user_id" in request, "connection_id" in request)
        if by_user is by_connection:
            raise InvalidRequest("user_id, connection_id: give one of the two")
        reason = _reason(request.get("reason", DEFAULT_REASON))
        revokes = request.get("revoke", False)
        if not isinstance(revokes, bool) or (revokes and by_connection):
            raise InvalidRequest("revoke: must be true or false, and goes with user_id alone")
        if by_user:
            user_id = _id("user_id:", request["user_id"])
            sessions = revoke(self._tables, user_id, now_ms // 1000) if revokes else sessions_of(self._tables, user_id)
        else:
            sessions = self._tables.connections.sessions([_connection_id(request["connection_id"])])
        frame = messages.encode_error(AuthFailed(reason), now_ms)
        event_id = make_event_id(now_ms, "disconnect", reason)
        self._tables.outbox.put_all(last_frames(sessions, frame, event_id, now_ms // 1000 + _KEPT_SECONDS))
        return {"connection_ids": sorted(each.connection.connection_id for each in sessions)}

    def _counts(self, _request: Mapping[str, Any], now_ms: int) -> Counts:
        online = self._tables.census.online(self._feed_role)
        by_stage = self._tables.census.connections(now_ms // 1000)
        return {
            "users_online": online.users,
            "listeners_online": online.listeners,
            "listeners_busy": online.busy,
            "connections": {stage: by_stage.get(stage, 0) for stage in messages.STAGES},
        }


def _shown(session: Session) -> ConnectionNow:
    connection = session.connection
    return {
        "connection_id": connection.connection_id,
        "stage": connection.stage,
        "endpoints": sorted(connection.endpoints),
        "connected_at": messages.rfc3339(connection.connected_at_ms),
        "alive_at": messages.rfc3339(session.alive_at_s * 1000),
        "lease_until": messages.rfc3339(session.lease_until_s * 1000),
        "token_expires_at": messages.rfc3339(connection.token_expires_at_s * 1000),
    }


def _id(name: str, value: object) -> str:
    try:
        return parse_id(value)
    except ValueError as error:
        raise InvalidRequest(f"{name} {error}; not {describe_value(value)}") from error


def _connection_id(value: object) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= MAX_CONNECTION_ID or not value.isascii():
        raise InvalidRequest(f"connection_id: must be the id of a connection; not {describe_value(value)}")
    return value


def _reason(value: object) -> str:
    try:
        return parse_name(value)
    except ValueError as error:
        raise InvalidRequest(f"reason: {error}; not {describe_value(value)}") from error
