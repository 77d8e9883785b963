"""$connect: let a client in, or tell it why not."""

from __future__ import annotations

import time
from typing import Any

from realtime import bootstrap, handshake, refusals, snapstart
from realtime.errors import ClientError, RealtimeError
from realtime.log import logger

snapstart.prepare(bootstrap.door, logger)


def handler(event: dict[str, Any], _context: object) -> dict[str, Any]:
    """Answer a handshake: 200, or with RejectionMode=handshake the refusal's own status."""
    request = handshake.read(event)
    headers = {"Sec-WebSocket-Protocol": request.subprotocol} if request.subprotocol else {}
    now = int(time.time() * 1000)
    try:
        connection = bootstrap.door().admit(request, now)
    except ClientError as problem:
        logger().warning("refused", extra=_described(request, code=problem.code, reason=problem.reason))
        settings = bootstrap.connect_settings()
        if settings.rejection_mode == "handshake":
            return {"statusCode": problem.status, "headers": headers}
        outbox = bootstrap.outbox(settings.events_table)
        refusals.refuse(outbox, request, problem, now)
        return {"statusCode": 200, "headers": headers}
    except RealtimeError as problem:
        logger().error("failed", extra=_described(request, reason=str(problem)))
        return {"statusCode": 500, "headers": headers}
    logger().info("connected", extra=_described(request, user_id=connection.user_id))
    return {"statusCode": 200, "headers": headers}


def _described(request: handshake.Handshake, **more: str) -> dict[str, str]:
    return {"connection_id": request.connection_id, "endpoint": request.endpoint, **more}
