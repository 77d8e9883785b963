"""Late queue: serve the connections that could not be served in the lane of `broadcast`, or close them."""

from __future__ import annotations

import time
from typing import Any

from realtime import bootstrap, late, snapstart
from realtime.aws import retries
from realtime.invocation import Deadline
from realtime.log import logger

MARGIN_SECONDS = 5.0  # of the function's time, kept to forget connections and to queue again those not served

snapstart.prepare(bootstrap.late_lane, logger)


@retries.in_time
def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Serve a batch of stragglers; the queue brings those again whose connections could not be noted as served.

    A message that cannot be read comes again, too, until it is whole in the dead-letter queue.
    """
    deadline = Deadline.of(context, answering_s=MARGIN_SECONDS)
    messages, unreadable = {}, set()
    for record in event["Records"]:
        try:
            messages[record["messageId"]] = late.read_straggler(record["body"])
        except ValueError as problem:  # none of our functions wrote it
            logger().error("cannot be read", extra={"message_id": record["messageId"], "reason": str(problem)})
            unreadable.add(record["messageId"])
    counts, failed = bootstrap.late_lane().serve(messages, deadline.post_until, int(time.time() * 1000))
    logger().info("served stragglers", extra=dict(counts))
    return {"batchItemFailures": [{"itemIdentifier": name} for name in sorted(failed | unreadable)]}
