"""Delay queue: do the checks that are due."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any

from realtime import bootstrap, snapstart, trace
from realtime.errors import RealtimeError, last_resort
from realtime.invocation import answer_queue, invoked
from realtime.log import logger

snapstart.prepare(bootstrap.deadlines, logger)


@invoked
def handler(event: dict[str, Any], _context: object) -> dict[str, Any]:
    """Do each check; one that fails goes back to the queue alone, and in the end to the dead-letter queue."""
    return answer_queue(event["Records"], _check)


def _check(record: Mapping[str, Any]) -> bool:
    with trace.of(""):
        return _check_traced(record)


def _check_traced(record: Mapping[str, Any]) -> bool:
    described = {"message_id": record["messageId"]}
    try:
        with last_resort():
            order = json.loads(record["body"])
            trace.begin(str(order.get("trace_id", "")))
            described |= {name: order[name] for name in ("check", "user_id", "event_id") if name in order}
            found = bootstrap.deadlines().check(order, int(time.time() * 1000))
    except RealtimeError as problem:  # it cannot be done now, or it cannot be read (Unforeseen)
        logger().error("failed", extra={**described, "reason": f"{type(problem).__name__}: {problem}"})
        return False
    logger().info("checked", extra={**described, "found": found})
    return True
