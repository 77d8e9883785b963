"""What API Gateway tells a client whose handshake or message gets no answer."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from samsocket.events import new_id

if TYPE_CHECKING:
    from samsocket.events import Handshake


def error_frame(handshake: Handshake, message: str, request_id: str | None = None) -> dict[str, str]:
    """Return what a client is told of a handshake or message without an answer."""
    return {
        "message": message,
        "connectionId": handshake.connection_id,
        "requestId": request_id or new_id(),
    }


def error_text(frame: dict[str, str]) -> str:
    """Return an error frame with API Gateway's own spacing."""
    message = json.dumps(frame["message"])
    return f'{{"message": {message}, "connectionId":"{frame["connectionId"]}", "requestId":"{frame["requestId"]}"}}'
