"""$default: answer one frame of a client; API Gateway sends the returned body to it."""

from __future__ import annotations

import time
from typing import Any

from realtime import bootstrap, messages, metrics, snapstart
from realtime.errors import ClientError, Internal, RealtimeError, last_resort
from realtime.invocation import invoked
from realtime.log import logger
from realtime.watch_state import make_revision

snapstart.prepare(bootstrap.frame_handler, logger)


@invoked
def handler(event: dict[str, Any], _context: object) -> dict[str, Any]:
    """Answer a frame; after a failure the answer is an `error` frame. Only a long flood closes the connection."""
    context = event["requestContext"]
    now_ms = int(time.time() * 1000)
    connection_id, stage = context["connectionId"], context["stage"]
    try:
        with last_resort():
            revision = make_revision(context["requestTimeEpoch"], context["messageId"])
            body = event.get("body") or ""
            answer = bootstrap.frame_handler().answer(body, connection_id, stage, revision, now_ms)
        logger().debug("answered", extra={"connection_id": connection_id})
    except ClientError as problem:
        metrics.count(metrics.REFUSED, value=problem.code)
        logger().warning("refused", extra={"connection_id": connection_id, "code": problem.code})
        answer = messages.encode_error(problem, now_ms)
    except RealtimeError as problem:
        metrics.count(metrics.REFUSED, value=Internal.code)
        logger().error("failed", extra={"connection_id": connection_id, "reason": str(problem)})
        answer = messages.encode_error(Internal.because_of(problem), now_ms)
    return {"statusCode": 200, "body": answer}
