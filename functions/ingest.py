"""Queue of the backends' events, which EventBridge fills: record each event with its effects."""

from __future__ import annotations

import random
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from typing import Any

from realtime import bootstrap, ingest, metrics, snapstart, trace
from realtime.errors import InvalidEvent, RealtimeError, Rejected, reason_of
from realtime.invocation import answer_queue, invoked
from realtime.log import logger

LONGEST_BACK_OFF_SECONDS = 300

snapstart.prepare(bootstrap.ingestion, logger)


@invoked
def handler(event: dict[str, Any], _context: object) -> dict[str, Any]:
    """Record each event of a batch; one that cannot be recorded now comes again alone, after a random pause."""
    return answer_queue(event["Records"], _ingest_or_put_off)


def _ingest_or_put_off(record: Mapping[str, Any]) -> bool:
    with trace.of(""):
        try:
            _ingest(record)
        except Exception as problem:  # noqa: BLE001  # the fault of one event must not affect the others
            _put_off(record, reason_of(problem))
            return False
        return True


def _ingest(record: Mapping[str, Any]) -> None:
    """Record an event; one that breaks its schema, or that no table takes, goes whole to a dead-letter queue."""
    described = {"message_id": record["messageId"]}
    try:
        event = ingest.parse_body(record["body"])
        trace.begin(str(event["id"]))
        described |= ingest.describe(event)
        valid = ingest.read_event(event)
        outcome = bootstrap.ingestion().ingest(valid, int(time.time() * 1000))
    except (InvalidEvent, Rejected) as problem:
        bootstrap.rejected().send_text(record["body"], attributes={"reason": str(problem)[:1000]})
        metrics.count(metrics.REJECTED)
        logger().warning("rejected", extra={**described, "reason": str(problem)})
        return
    if not outcome.duplicate:
        metrics.count(metrics.EVENTS, value=valid.kind)
    logger().info("ingested", extra={**described, **asdict(outcome)})


def _put_off(record: Mapping[str, Any], reason: str) -> None:
    """Tell the queue to bring an event again after a random pause, whose limit is longer each time."""
    times = int(record["attributes"]["ApproximateReceiveCount"])
    longest = min(LONGEST_BACK_OFF_SECONDS, 2 ** min(times, 10))
    seconds = random.randint(1, longest)
    logger().error("failed", extra={"message_id": record["messageId"], "times": times, "reason": reason})
    with suppress(RealtimeError):  # otherwise it comes again after the queue's visibility timeout
        bootstrap.backend_events().put_off(record["receiptHandle"], seconds)
