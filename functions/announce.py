"""Users stream: tell clients and backends what changed about a user."""

from __future__ import annotations

from typing import Any

from realtime import announcing, bootstrap, retries, snapstart
from realtime.log import logger

snapstart.prepare(bootstrap.announcer, logger)


@retries.in_time
def handler(event: dict[str, Any], _context: object) -> dict[str, Any]:
    """Announce a batch of changes, whole or not at all: repeated, it has the same effect."""
    changes = [announcing.read(record) for record in event["Records"]]
    recorded = bootstrap.announcer().announce(changes)
    logger().info("announced", extra={"changes": len(changes), "messages": recorded})
    return {"batchItemFailures": []}
