"""EventBridge: take in what a backend says happened."""

from __future__ import annotations

import time
from typing import Any

from realtime import bootstrap, ingestion, snapstart
from realtime.errors import InvalidEvent
from realtime.log import logger

snapstart.prepare(bootstrap.ingestion, logger)


def handler(event: dict[str, Any], _context: object) -> None:
    """Record an event; one that breaks its schema goes whole to a dead-letter queue, with the reason.

    What AWS does not do this time leaves as an exception: Lambda tries again, and in the end sends the event there too.
    """
    described = {"event_id": event.get("id"), "detail_type": event.get("detail-type")}
    try:
        outcome = bootstrap.ingestion().ingest(ingestion.read(event), int(time.time() * 1000))
    except InvalidEvent as problem:
        bootstrap.rejected().send(event, attributes={"reason": problem.reason[:1000]})
        logger().warning("rejected", extra={**described, "reason": problem.reason})
        return
    logger().info("ingested", extra={**described, "audiences": outcome.audiences, "duplicate": outcome.duplicate})
