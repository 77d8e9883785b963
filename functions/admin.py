"""Invoked by backends and operators: who is online, a user's connections, their end, and counts."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from realtime import bootstrap, snapstart
from realtime.errors import InvalidRequest, RealtimeError, Rejected, last_resort
from realtime.invocation import invoked
from realtime.log import logger

snapstart.prepare(bootstrap.admin, logger)


@invoked
def handler(event: object, _context: object) -> Mapping[str, Any]:
    """Return the result, or `{"error": {"code", "message"}}`; no exception, whose trace the caller would get."""
    action = str(event.get("action"))[:20] if isinstance(event, Mapping) else ""
    try:
        with last_resort():
            answer = bootstrap.admin().answer(event, int(time.time() * 1000))
    except InvalidRequest as problem:
        logger().warning("refused", extra={"action": action, "reason": str(problem)})
        return _error("BAD_REQUEST", str(problem))
    except RealtimeError as problem:
        logger().error("failed", extra={"action": action, "reason": str(problem)})
        if isinstance(problem, Rejected):
            return _error("INTERNAL", "AWS refuses it every time; the log of admin says why")
        return _error("UNAVAILABLE", "It cannot be done now; try again. The log of admin says why")
    closed = {"closed": answer["connection_ids"]} if action == "disconnect" else {}
    logger().info("answered", extra={"action": action, **closed})
    return answer


def _error(code: str, message: str) -> Mapping[str, Any]:
    return {"error": {"code": code, "message": message}}
