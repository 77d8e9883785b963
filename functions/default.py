"""$default: answer one frame of a client; what is returned is sent back to it."""

from __future__ import annotations

import time
from typing import Any

from realtime import bootstrap, messages, snapstart
from realtime.aws import retries
from realtime.errors import ClientError, Internal, RealtimeError, Rejected, last_resort
from realtime.log import logger

snapstart.prepare(bootstrap.frame_handler, logger)


@retries.in_time
def handler(event: dict[str, Any], _context: object) -> dict[str, Any]:
    """Answer a frame, with an `error` frame where it cannot be served, whatever the reason; the connection lives on."""
    context = event["requestContext"]
    now = int(time.time() * 1000)
    connection_id, endpoint = context["connectionId"], context["stage"]
    try:
        with last_resort():
            answer = bootstrap.frame_handler().answer(event.get("body") or "", connection_id, endpoint, now)
        logger().debug("answered", extra={"connection_id": connection_id})
    except ClientError as problem:
        logger().warning("refused", extra={"connection_id": connection_id, "code": problem.code})
        answer = messages.encode_error(problem, now)
    except RealtimeError as problem:
        logger().error("failed", extra={"connection_id": connection_id, "reason": str(problem)})
        # What AWS rejects it would reject again.
        answer = messages.encode_error(Internal(retry_after=None if isinstance(problem, Rejected) else 1), now)
    return {"statusCode": 200, "body": answer}
