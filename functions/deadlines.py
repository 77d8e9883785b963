"""Delay queue: look again at what had to wait."""

from __future__ import annotations

import json
import time
from typing import Any

from realtime import bootstrap
from realtime.deadlines import check
from realtime.errors import RealtimeError
from realtime.log import logger


def handler(event: dict[str, Any], _context: object) -> dict[str, Any]:
    """Do each check; those that fail go back to the queue alone."""
    failures = []
    for record in event["Records"]:
        message = json.loads(record["body"])
        described = {"check": message["check"], "user_id": message["user_id"]}
        try:
            done = check(bootstrap.users(), message, int(time.time() * 1000))
            logger().info("checked", extra={**described, "went_offline": done})
        except RealtimeError as problem:
            logger().error("failed", extra={**described, "reason": str(problem)})
            failures.append({"itemIdentifier": record["messageId"]})
    return {"batchItemFailures": failures}
