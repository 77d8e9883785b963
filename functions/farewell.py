"""Farewells queue: tell connections that may not stay the reason, and close them."""

from __future__ import annotations

from typing import Any

from realtime import bootstrap, farewell, log, metrics, snapstart, trace
from realtime.invocation import Deadline, invoked
from realtime.log import logger

MARGIN_SECONDS = 2.0  # of the function's time, kept to queue again the farewells that were not served

snapstart.prepare(bootstrap.farewell_sender, logger)


@invoked
def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Send a batch of farewells; a farewell to be tried again is queued as a new message."""
    deadline = Deadline.of(context, answering_s=MARGIN_SECONDS)
    farewells = []
    for record in event["Records"]:
        try:
            farewells.append(farewell.read_farewell(record["body"], trace.of_message(record)))
        except ValueError as problem:  # none of our functions wrote it
            metrics.count(metrics.DEAD_LETTERS)
            logger().error("giving up a message", extra={"message_id": record["messageId"], "reason": str(problem)})
    counts = bootstrap.farewell_sender().send(farewells, deadline.post_until)
    trace_ids = trace.distinct(trace_id for each in farewells for trace_id in each.trace_ids)
    log.log_batch("sent farewells", trace_ids, **counts)
    return {"batchItemFailures": []}
