"""Events stream: post each event to every connection of its audience."""

from __future__ import annotations

import time
from typing import Any

from realtime import bootstrap, log, snapstart
from realtime.invocation import Deadline, answer_stream, invoked
from realtime.log import logger

# Of the function's time, the last second is kept for the answer, and two before it for forgetting connections. s
ANSWERING_SECONDS, FORGETTING_SECONDS = 1.0, 2.0

snapstart.prepare(bootstrap.broadcaster, logger)


@invoked
def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Post a batch; the stream goes on from the first record that is not done.

    Raises the problem if not even the first record is done.
    """
    deadline = Deadline.of(context, answering_s=ANSWERING_SECONDS, forgetting_s=FORGETTING_SECONDS)
    records = event["Records"]
    report = bootstrap.broadcaster().handle(records, deadline, now_s=time.time())
    counts = {outcome.value: count for outcome, count in report.outcomes.items()}
    if report.skipped:
        counts["skipped"] = report.skipped
    log.log_batch("broadcast", report.trace_ids, records=len(records), done=report.done, **counts)
    if report.stale:  # a filter in template.yaml counts these lines' recipients for an alarm
        logger().warning("presence is late", extra={"stale": report.stale})
    if report.unforgotten:
        logger().warning("connections that are gone are still known", extra={"reasons": report.unforgotten})
    return answer_stream(records, report.done, report.problem)
