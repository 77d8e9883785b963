"""The values that messages and events have in common."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta

from realtime.backend_events import Id

EventId = Annotated[
    str,
    Meta(
        description="Names an event: the same event has the same id if it comes again. Ids sort by time, as text.",
        extra_json_schema={"pattern": "^[0-9a-f]{28}$"},
    ),
]
Timestamp = Annotated[
    str,
    Meta(
        description="RFC 3339, in UTC.",
        extra_json_schema={"format": "date-time", "pattern": r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d+)?Z$"},
    ),
]
Position = Annotated[
    dict[str, str],
    Meta(
        description="How far a client is, for `resume`: merge it into what you remember. Its texts are not for reading."
    ),
]
Version = Annotated[
    int,
    Meta(ge=0, description="Of two states of a user, the one with the higher version is right."),
]
Empty = Annotated[dict[str, Any], Meta(description="Has no keys yet.")]
UserIds = Annotated[list[Id], Meta(min_length=1, max_length=100, description="The users that you mean.")]
Status = Literal["online", "busy", "away"]
ErrorCode = Literal["AUTH_FAILED", "PERMISSION_DENIED", "CONNECTION_LIMIT", "RATE_LIMITED", "BAD_REQUEST", "INTERNAL"]
Acknowledgeable = Literal[
    "call_started",
    "call_ended",
    "call_billing",
    "favorite_added",
    "favorite_removed",
    "user_blocked",
    "user_unblocked",
    "system_notification",
]
