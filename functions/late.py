"""Late queue: serve the connections that could not be served in the lane of `broadcast`, or close them."""

from __future__ import annotations

import time
from typing import Any

from realtime import bootstrap, late, log, metrics, snapstart, trace
from realtime.invocation import Deadline, invoked
from realtime.log import logger

MARGIN_SECONDS = 5.0  # of the function's time, kept to forget connections and to queue again those not served

snapstart.prepare(bootstrap.late_lane, logger)


@invoked
def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Serve a batch of stragglers; the queue brings those again whose connections could not be noted as served.

    A message that cannot be read comes again, too, until it is whole in the dead-letter queue.
    """
    deadline = Deadline.of(context, answering_s=MARGIN_SECONDS)
    messages, unreadable = {}, set()
    for record in event["Records"]:
        try:
            messages[record["messageId"]] = late.read_straggler(record["body"], trace.of_message(record))
        except ValueError as problem:  # none of our functions wrote it
            metrics.count(metrics.DEAD_LETTERS)
            logger().error("cannot be read", extra={"message_id": record["messageId"], "reason": str(problem)})
            unreadable.add(record["messageId"])
    counts, failed = bootstrap.late_lane().serve(messages, deadline.post_until, int(time.time() * 1000))
    trace_ids = trace.distinct(trace_id for each in messages.values() for trace_id in each.trace_ids)
    log.log_batch("served stragglers", trace_ids, **counts)
    return {"batchItemFailures": [{"itemIdentifier": name} for name in sorted(failed | unreadable)]}
