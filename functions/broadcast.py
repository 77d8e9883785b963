"""Events stream: post each event to every connection of its audience."""

from __future__ import annotations

import time
from typing import Any

from realtime import bootstrap, snapstart
from realtime.aws import retries
from realtime.invocation import Deadline
from realtime.log import logger

# Of the function's time, the last second is kept for the answer, and two before it for forgetting connections. s
ANSWERING_SECONDS, FORGETTING_SECONDS = 1.0, 2.0

snapstart.prepare(bootstrap.broadcaster, logger)


@retries.in_time
def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Post a batch; the stream goes on from the first record that is not done.

    Raises the problem of the first record if not even that one is done. Lambda then halves the batch, until the record
    that is at fault fails alone and ends in the dead-letter queue, or until the batch is small enough for the time. If
    the record were reported instead, Lambda would try the whole batch again unchanged, and give up all of it.
    docs.aws.amazon.com/lambda/latest/dg/services-ddb-batchfailurereporting.html
    """
    deadline = Deadline.of(context, answering_s=ANSWERING_SECONDS, forgetting_s=FORGETTING_SECONDS)
    records = event["Records"]
    report = bootstrap.broadcaster().handle(records, deadline, now_s=time.time())
    counts = {outcome.value: count for outcome, count in report.outcomes.items()}
    logger().info("broadcast", extra={"records": len(records), "done": report.done, **counts})
    if report.unforgotten:
        logger().warning("connections that are gone are still known", extra={"reasons": report.unforgotten})
    if report.problem is None:
        return {"batchItemFailures": []}
    if report.done == 0:
        raise report.problem
    logger().error("handing back the rest", extra={"reason": str(report.problem)})
    return {"batchItemFailures": [{"itemIdentifier": records[report.done]["dynamodb"]["SequenceNumber"]}]}
