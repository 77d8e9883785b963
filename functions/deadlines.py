"""Delay queue: do the checks that are due."""

from __future__ import annotations

import json
import time
from typing import Any

from realtime import bootstrap, snapstart
from realtime.aws import retries
from realtime.errors import RealtimeError, last_resort
from realtime.log import logger

snapstart.prepare(bootstrap.deadlines, logger)


@retries.in_time
def handler(event: dict[str, Any], _context: object) -> dict[str, Any]:
    """Do each check; one that fails goes back to the queue alone, and in the end to the dead-letter queue."""
    failures = []
    for record in event["Records"]:
        if time.monotonic() > retries.latest():  # the queue brings the rest again; there is no time to do it
            failures.append({"itemIdentifier": record["messageId"]})
            continue
        described = {"message_id": record["messageId"]}
        try:
            with last_resort():
                order = json.loads(record["body"])
                described |= {name: order[name] for name in ("check", "user_id", "event_id") if name in order}
                found = bootstrap.deadlines().check(order, int(time.time() * 1000))
            logger().info("checked", extra={**described, "found": found})
        except RealtimeError as problem:  # it cannot be done now, or it cannot be read (Unforeseen)
            logger().error("failed", extra={**described, "reason": f"{type(problem).__name__}: {problem}"})
            failures.append({"itemIdentifier": record["messageId"]})
    return {"batchItemFailures": failures}
