"""$connect: let a client in, or tell it why not."""

from __future__ import annotations

import time
from typing import Any

from realtime import bootstrap, connect, snapstart
from realtime.aws import retries
from realtime.errors import ClientError, reason_of
from realtime.log import logger

snapstart.prepare(bootstrap.admission, logger)


@retries.in_time
def handler(event: dict[str, Any], _context: object) -> dict[str, Any]:
    """Answer a handshake: 200, or with RejectionMode=handshake the refusal's own status."""
    request = connect.read(event)
    headers = {"Sec-WebSocket-Protocol": request.subprotocol} if request.subprotocol else {}
    now = int(time.time() * 1000)
    try:
        connection = bootstrap.admission().admit(request, now)
    except ClientError as problem:
        logger().warning("refused", extra=_described(request, code=problem.code, reason=problem.reason))
        return {"statusCode": _refuse(request, problem, now), "headers": headers}
    except Exception as problem:  # noqa: BLE001  # whatever it is, the client hears a status and nothing of it
        logger().error("failed", extra=_described(request, reason=reason_of(problem)))
        return {"statusCode": 500, "headers": headers}
    logger().info("connected", extra=_described(request, user_id=connection.user_id))
    return {"statusCode": 200, "headers": headers}


def _refuse(request: connect.Handshake, problem: ClientError, now: int) -> int:
    """Return the handshake's status: 200 for a client that is let in to be told why it may not stay."""
    if bootstrap.connect_settings().rejection_mode == "handshake":
        return problem.status
    try:
        bootstrap.connect_farewells().refuse(request, problem, now)
    except Exception as failure:  # noqa: BLE001  # it cannot be told by a frame, so at least by the status
        logger().error("cannot tell why", extra=_described(request, reason=reason_of(failure)))
        return problem.status
    return 200


def _described(request: connect.Handshake, **more: str) -> dict[str, str]:
    return {"connection_id": request.connection_id, "endpoint": request.endpoint, **more}
