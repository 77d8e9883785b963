"""$connect: accept a client, or refuse it with a reason."""

from __future__ import annotations

import time
from typing import Any

from realtime import bootstrap, snapstart
from realtime.connect import Answer
from realtime.errors import reason_of
from realtime.handshake import describe, read_handshake
from realtime.invocation import invoked
from realtime.log import logger

snapstart.prepare(bootstrap.admission, logger)


@invoked
def handler(event: dict[str, Any], _context: object) -> dict[str, Any]:
    """Answer a handshake with 200, with a refusal's status (if RejectionMode=handshake) or with 500."""
    handshake = read_handshake(event)
    try:
        answer = bootstrap.admission().answer(handshake, now_ms=int(time.time() * 1000))
    except Exception as problem:  # noqa: BLE001  # the client gets a status, and no detail of our failure
        logger().error("failed", extra=describe(handshake, reason=reason_of(problem)))
        answer = Answer(500, handshake.subprotocol)
    headers = {"Sec-WebSocket-Protocol": answer.subprotocol} if answer.subprotocol else {}
    return {"statusCode": answer.status, "headers": headers}
