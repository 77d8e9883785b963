"""Queue of backends' events, filled by EventBridge: take in what a backend says happened."""

from __future__ import annotations

import random
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from realtime import bootstrap, ingest, snapstart
from realtime.aws import retries
from realtime.errors import InvalidEvent, RealtimeError, Rejected, reason_of
from realtime.log import logger

LONGEST_BACK_OFF_SECONDS = 300

snapstart.prepare(bootstrap.ingestion, logger)


@retries.in_time
def handler(event: dict[str, Any], _context: object) -> dict[str, Any]:
    """Record each event of a batch; what cannot be recorded now comes again by itself, later each time."""
    failures = []
    for record in event["Records"]:
        if time.monotonic() > retries.latest():  # the queue brings the rest again: to begin with it would be cut off
            failures.append({"itemIdentifier": record["messageId"]})
            continue
        try:
            _take_in(record)
        except Exception as problem:  # noqa: BLE001  # of one event, and no matter to the others
            _put_off(record, reason_of(problem))
            failures.append({"itemIdentifier": record["messageId"]})
    return {"batchItemFailures": failures}


def _take_in(record: Mapping[str, Any]) -> None:
    """Record an event; one that breaks its schema, or that no table takes, goes whole to a dead-letter queue."""
    described = {"message_id": record["messageId"]}
    try:
        told = ingest.parse(record["body"])
        described |= ingest.described(told)
        outcome = bootstrap.ingestion().ingest(ingest.read(told), int(time.time() * 1000))
    except (InvalidEvent, Rejected) as problem:
        bootstrap.rejected().send_text(record["body"], attributes={"reason": str(problem)[:1000]})
        logger().warning("rejected", extra={**described, "reason": str(problem)})
        return
    logger().info("ingested", extra={**described, "audiences": outcome.audiences, "duplicate": outcome.duplicate})


def _put_off(record: Mapping[str, Any], reason: str) -> None:
    """Have the queue bring an event again after a while; full jitter, longer with each time."""
    times = int(record["attributes"]["ApproximateReceiveCount"])
    longest = min(LONGEST_BACK_OFF_SECONDS, 2 ** min(times, 10))
    seconds = random.randint(1, longest)
    logger().error("failed", extra={"message_id": record["messageId"], "times": times, "reason": reason})
    with suppress(RealtimeError):  # then it comes again when the queue's own time for it is up
        bootstrap.backend_events().put_off(record["receiptHandle"], seconds)
