"""Delay queue: look again at what had to wait."""

from __future__ import annotations

import json
import time
from typing import Any

from realtime import bootstrap, snapstart
from realtime.deadlines import check
from realtime.errors import RealtimeError
from realtime.log import logger

snapstart.prepare(bootstrap.users, logger)


def handler(event: dict[str, Any], _context: object) -> dict[str, Any]:
    """Do each check; those that fail go back to the queue alone."""
    failures = []
    for record in event["Records"]:
        described = {"message_id": record["messageId"]}
        try:
            message = json.loads(record["body"])
            described |= {"check": message["check"], "user_id": message["user_id"]}
            done = check(bootstrap.users(), message, int(time.time() * 1000))
            logger().info("checked", extra={**described, "went_offline": done})
        except (RealtimeError, ValueError, KeyError, TypeError) as problem:  # it cannot be read, or not be done now
            logger().error("failed", extra={**described, "reason": f"{type(problem).__name__}: {problem}"})
            failures.append({"itemIdentifier": record["messageId"]})
    return {"batchItemFailures": failures}
