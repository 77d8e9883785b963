"""Events stream: post each event to every connection of its audience."""

from __future__ import annotations

import time
from typing import Any

from realtime import bootstrap, fanout, snapstart
from realtime.log import logger

# What stays of the function's time once posting ends, to forget the connections that were gone; and after that, to
# answer. s
FORGETTING_SECONDS, ANSWERING_SECONDS = 2.0, 1.0

snapstart.prepare(bootstrap.fanout, logger)


def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Post a batch; the stream goes on from the first record that is not done.

    Raises what is wrong with the first record if not even that is done. Lambda then halves the batch, until the record
    that is at fault fails alone and ends in the dead-letter queue, or until the time suffices. Had it been reported
    instead, the whole batch would be tried again as it is, and given up with it.
    docs.aws.amazon.com/lambda/latest/dg/services-ddb-batchfailurereporting.html
    """
    end = time.monotonic() + context.get_remaining_time_in_millis() / 1000
    forget_until = end - ANSWERING_SECONDS
    entries, unreadable = fanout.read_all(event["Records"])
    report = bootstrap.fanout().broadcast(
        entries, now=time.time(), until=forget_until - FORGETTING_SECONDS, forget_until=forget_until
    )
    problem = report.problem or unreadable
    counts = {outcome.name.lower(): count for outcome, count in report.outcomes.items()}
    logger().info("broadcast", extra={"records": len(event["Records"]), "done": report.done, **counts})
    if report.unforgotten:
        logger().warning("connections that are gone are still known", extra={"reasons": report.unforgotten})
    if problem is None:
        return {"batchItemFailures": []}
    if report.done == 0:
        raise problem
    logger().error("handing back the rest", extra={"reason": str(problem)})
    return {"batchItemFailures": [{"itemIdentifier": event["Records"][report.done]["dynamodb"]["SequenceNumber"]}]}
