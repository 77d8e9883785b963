"""Delay queue: look again at what had to wait."""

from __future__ import annotations

import json
import time
from typing import Any

from realtime import bootstrap, retries, snapstart
from realtime.errors import RealtimeError
from realtime.log import logger

snapstart.prepare(bootstrap.deadlines, logger)


@retries.in_time
def handler(event: dict[str, Any], _context: object) -> dict[str, Any]:
    """Do each check; those that fail go back to the queue alone."""
    failures = []
    for record in event["Records"]:
        described = {"message_id": record["messageId"]}
        try:
            order = json.loads(record["body"])
            described |= {name: order[name] for name in ("check", "user_id", "event_id") if name in order}
            found = bootstrap.deadlines().check(order, int(time.time() * 1000))
            logger().info("checked", extra={**described, "found": found})
        except (RealtimeError, ValueError, KeyError, TypeError) as problem:  # it cannot be read, or not be done now
            logger().error("failed", extra={**described, "reason": f"{type(problem).__name__}: {problem}"})
            failures.append({"itemIdentifier": record["messageId"]})
    return {"batchItemFailures": failures}
