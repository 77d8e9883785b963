"""Events stream: post each event to every connection of its audience."""

from __future__ import annotations

import time
from typing import Any

from realtime import bootstrap, fanout
from realtime.log import logger

# What stays of the function's time once posting ends: to forget the connections that were gone, and to answer.
MARGIN_SECONDS = 3.0


def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Post a batch; what time did not suffice for is handed back, to be gone on with from its first record."""
    until = time.monotonic() + context.get_remaining_time_in_millis() / 1000 - MARGIN_SECONDS
    records = [fanout.read(record) for record in event["Records"]]
    report = bootstrap.fanout().broadcast(records, now=time.time(), until=until)
    counts = {outcome.name.lower(): count for outcome, count in report.outcomes.items()}
    logger().info("broadcast", extra={"records": len(records), "undone": report.undone, **counts})
    return {"batchItemFailures": [{"itemIdentifier": report.undone}] if report.undone else []}
