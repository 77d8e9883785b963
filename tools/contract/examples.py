"""An example of each message, frame, event and token, from the story that `events/` tells, too."""

from __future__ import annotations

from typing import Any

from realtime.ids import make_event_id
from realtime.messages import rfc3339
from realtime.positions import Position, floor, hash_of

AT_MS = 1_705_314_600_000
AT = rfc3339(AT_MS)
ID = make_event_id(AT_MS, "example")
SINCE = floor(AT_MS, AT_MS)
AFTER = Position(ID, (hash_of(ID),)).text
_JANE = {"user_id": 123, "username": "jane_smith"}
_STATE = {"user_id": 123, "is_online": True, "is_busy": False, "last_seen": AT}
_LISTENER = {"user_id": 123, "username": "jane_smith", "is_online": True, "is_busy": False, "last_seen": AT}
_CALL = {"call_id": 456, "user_id": 789, "listener_id": 123}
_USER = {"username": "jane_smith", **_STATE, "version": 3}


def _message(kind: str, data: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"type": kind, "data": data, "timestamp": AT, **more}


def _event(kind: str, data: dict[str, Any], audience: str, **more: Any) -> dict[str, Any]:
    return _message(kind, data, id=ID, **more, position={audience: AFTER})


def _presence(kind: str, data: dict[str, Any], endpoint: str) -> dict[str, Any]:
    return _event(kind, data, f"{endpoint}/*/0", version=3)


def _deed(kind: str, action: str, **more: Any) -> dict[str, Any]:
    return _event(kind, {**_JANE, "action": action}, "notifications/789", **more)


RECEIVED: dict[str, dict[str, Any]] = {
    "listener_online": _presence("listener_online", _LISTENER, "feed"),
    "listener_offline": _presence("listener_offline", {**_LISTENER, "is_online": False}, "feed"),
    "listener_busy": _presence("listener_busy", {**_LISTENER, "is_busy": True}, "feed"),
    "listener_available": _presence("listener_available", _LISTENER, "feed"),
    "presence_update": _presence("presence_update", _STATE, "presence"),
    "status_change": _presence("status_change", {**_STATE, "is_busy": True}, "presence"),
    "call_started": _event("call_started", {**_CALL, "call_type": "audio", "status": "ongoing"}, "calls/789"),
    "call_ended": _event("call_ended", {**_CALL, "status": "ended", "duration_seconds": 95}, "calls/789"),
    "call_billing": _event("call_billing", {**_CALL, "amount": "1.50", "currency": "EUR"}, "calls/789"),
    "favorite_added": _deed("favorite_added", "added_you_to_favorites", ack=True),
    "favorite_removed": _deed("favorite_removed", "removed_you_from_favorites"),
    "user_blocked": _deed("user_blocked", "blocked_you"),
    "user_unblocked": _deed("user_unblocked", "unblocked_you"),
    "system_notification": _event("system_notification", {"title": "Maintenance at noon"}, "notifications/*/0"),
    "snapshot": _message("snapshot", {"users": [_USER], "complete": True}, position=SINCE),
    "stale": _message("stale", {"since": "2024-01-15T10:29:48.000Z"}),
    "pong": _message("pong", {}, position=SINCE),
    "resumed": _message("resumed", {"recovered": True, "replayed": 3, "complete": True}, position=SINCE),
    "acknowledged": _message("acknowledged", {"id": ID}),
    "authenticated": _message("authenticated", {"expires_at": "2024-01-15T11:30:00.000Z"}, position=SINCE),
    "status_set": _message("status_set", {"status": "away"}, position=SINCE),
    "occupancy": _message(
        "occupancy",
        {"listeners_online": 42, "listeners_busy": 7, "counted_at": AT, "refresh_after": 5},
        position=SINCE,
    ),
    "history_page": _message(
        "history_page",
        {
            "messages": [_message("favorite_added", {**_JANE, "action": "added_you_to_favorites"}, id=ID)],
            "left_out": [],
            "next": None,
        },
        position=SINCE,
    ),
    "reconnect": _message("reconnect", {"within_seconds": 300}),
    "error": _message("error", {"code": "RATE_LIMITED", "message": "Too many requests", "retry_after": 2}),
}
SENT: dict[str, dict[str, Any]] = {
    "ping": {"type": "ping", "data": {}},
    "resume": {"type": "resume", "data": {"position": {**SINCE, "calls/789": AFTER}}},
    "ack": {"type": "ack", "data": {"id": ID}},
    "authenticate": {"type": "authenticate", "data": {"token": "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9…"}},
    "sync": {"type": "sync", "data": {}},
    "watch": {"type": "watch", "data": {"user_ids": [123, 456]}},
    "unwatch": {"type": "unwatch", "data": {"user_ids": [456]}},
    "status": {"type": "status", "data": {"status": "away"}},
    "count": {"type": "count", "data": {}},
    "history": {"type": "history", "data": {"before": ID, "limit": 20}},
}
_TO_SAM = {"to": [789]}
FROM_BACKENDS: dict[str, dict[str, Any]] = {
    "call_started": {**_CALL, "call_type": "audio", "status": "ongoing"},
    "call_ended": {**_CALL, "status": "ended", "duration_seconds": 95},
    "call_billing": {**_CALL, "amount": "1.50", "currency": "EUR"},
    "favorite_added": {**_JANE, "delivery": {**_TO_SAM, "ack_within": 60}},
    "favorite_removed": {**_JANE, "delivery": _TO_SAM},
    "user_blocked": {**_JANE, "delivery": _TO_SAM},
    "user_unblocked": {**_JANE, "delivery": _TO_SAM},
    "system_notification": {"title": "Maintenance at noon", "delivery": {"to": "everyone", "expires_in": 3600}},
    "status_change": {"user_id": 123, "is_busy": True},
    "session_revoked": {"user_id": 123},
}
_TRANSITION = {"id": ID, **_JANE, "version": 3, "last_seen": AT, "connections": 1}
TO_BACKENDS: dict[str, dict[str, Any]] = {
    "user_online": _TRANSITION,
    "user_offline": {**_TRANSITION, "version": 4, "connections": 0},
    "message_undelivered": {
        "id": ID,
        "user_id": 789,
        "type": "favorite_added",
        "data": {**_JANE, "action": "added_you_to_favorites"},
        "reason": "not_acknowledged",
    },
}
_CONNECTION = "L0SM9cOFvHcCIhw="
ASKED: dict[str, dict[str, Any]] = {
    "who": {"action": "who", "user_ids": [123, 456]},
    "connections": {"action": "connections", "user_id": 123},
    "disconnect": {"action": "disconnect", "user_id": 123, "reason": "Signed out everywhere", "revoke": True},
    "counts": {"action": "counts"},
}
ANSWERED: dict[str, dict[str, Any]] = {
    "UsersNow": {"users": [{**_USER, "role": "listener", "connections": 1}]},
    "UserConnections": {
        "user_id": 123,
        "connections": [
            {
                "connection_id": _CONNECTION,
                "stage": "live",
                "endpoints": ["calls", "notifications"],
                "connected_at": AT,
                "alive_at": AT,
                "lease_until": "2024-01-15T10:31:30.000Z",
                "token_expires_at": "2024-01-15T11:30:00.000Z",
            }
        ],
    },
    "Disconnected": {"connection_ids": [_CONNECTION]},
    "Counts": {
        "users_online": 2,
        "listeners_online": 1,
        "listeners_busy": 0,
        "connections": {"live": 2, "feed": 0, "presence": 0, "calls": 0, "notifications": 0},
    },
    "AdminFailure": {"error": {"code": "BAD_REQUEST", "message": "user_ids: must be a list of 1 to 1000 user ids"}},
}
TOKEN: dict[str, Any] = {
    "sub": "123",
    "username": "jane_smith",
    "role": "listener",
    "scope": "feed presence calls notifications",
    "iat": 1705314600,
    "exp": 1705318200,
}


def bus_event(kind: str, detail: dict[str, Any], source: str) -> dict[str, Any]:
    """Return an event as it is put on the bus."""
    return {"source": source, "detail-type": kind, "detail": detail}
