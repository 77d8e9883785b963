"""Messages: their types, and the envelope `{"type", "data", "timestamp"}`, with an `id` if clients can resume there."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from realtime.audiences import LIVE
from realtime.errors import ClientError
from realtime.text import dumps

if TYPE_CHECKING:
    from realtime.contract.to_clients import ErrorData

# API Gateway's limit on a frame. It is documented for posts too: a larger frame would close its connection with 1009.
# API Gateway also bills frames in steps of this size.
# docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-execution-service-websocket-limits-table.html
MAX_FRAME_BYTES = 32 * 1024

# The types of each endpoint, without answers to clients' own frames, `error` and `reconnect`.
TYPES = {
    "feed": frozenset({"listener_online", "listener_offline", "listener_busy", "listener_available"}),
    "presence": frozenset({"presence_update", "status_change"}),
    "calls": frozenset({"call_started", "call_ended", "call_billing"}),
    "notifications": frozenset(
        {"favorite_added", "favorite_removed", "user_blocked", "user_unblocked", "system_notification"}
    ),
}
# What a message of presence reports. A later one about the same user and the same part of their state supersedes it.
PART_OF = {
    "listener_online": "online",
    "listener_offline": "online",
    "presence_update": "online",
    "listener_busy": "busy",
    "listener_available": "busy",
    "status_change": "busy",
}
ENDPOINTS = tuple(TYPES)  # each is a stage of the API, too
STAGES = (*ENDPOINTS, LIVE)
# After the data, which may have a key of the same name, and before a position, which has none.
_TIME = re.compile(r'.*"timestamp":"([^"]*)"', re.DOTALL)
ENDPOINT_OF = {kind: endpoint for endpoint, kinds in TYPES.items() for kind in kinds}


def rfc3339(at_ms: int) -> str:
    """Format milliseconds since the epoch as RFC 3339 in UTC with `Z`, to the millisecond."""
    moment = datetime.fromtimestamp(at_ms // 1000, UTC).replace(tzinfo=None)
    return f"{moment.isoformat()}.{at_ms % 1000:03d}Z"


def time_ms(frame: str) -> int | None:
    """Return the time of an event, which `encode` wrote (ms since the epoch); None if it wrote the frame otherwise."""
    found = _TIME.search(frame)
    try:
        return int(datetime.fromisoformat(found[1]).timestamp() * 1000) if found else None
    except ValueError:
        return None


def encode(
    kind: str,
    data: Mapping[str, Any],
    at_ms: int,
    event_id: str | None = None,
    version: int | None = None,
    *,
    ack: bool = False,
    position: Mapping[str, str] | None = None,
) -> str:
    """Return the exact frame of a message.

    `version` is the version of the user whose presence it shows; `ack` asks for an acknowledgement; `position` is what
    a client remembers for `resume`.
    """
    message: dict[str, Any] = {"type": kind, "data": data, "timestamp": rfc3339(at_ms)}
    if event_id is not None:
        message["id"] = event_id
    if version is not None:
        message["version"] = version
    if ack:
        message["ack"] = True
    if position is not None:
        message["position"] = position
    return dumps(message)


def with_position(frame: str, position: Mapping[str, str] | None) -> bytes:
    """Return an event's frame with the position that it brings; without it if the frame would be too large."""
    bare = frame.encode()
    if position is None:
        return bare
    whole = bare[:-1] + b',"position":' + dumps(position).encode() + b"}"
    return whole if len(whole) <= MAX_FRAME_BYTES else bare


def encode_error(problem: ClientError, at_ms: int) -> str:
    """Return the `error` frame that tells a client what is wrong and, if waiting helps, how long to wait."""
    data: ErrorData = {"code": problem.code, "message": problem.message}
    if problem.retry_after is not None:
        data["retry_after"] = problem.retry_after
    return encode("error", data, at_ms)
